"""Adaptive attackers: backward rules that replace the derivative which the defence hides."""

from typing import TYPE_CHECKING

from groundglass.core.lazy import lazily

if TYPE_CHECKING:
    from groundglass.adaptive.past_readout import collapse
    from groundglass.adaptive.rules import FITTED, RULES, Pairs, check_rules, fit_facts, make_rule, observe

__all__ = ["FITTED", "RULES", "Pairs", "check_rules", "collapse", "fit_facts", "make_rule", "observe"]

__getattr__ = lazily(
    __name__,
    {"collapse": "groundglass.adaptive.past_readout"}
    | dict.fromkeys(
        ("FITTED", "RULES", "Pairs", "check_rules", "fit_facts", "make_rule", "observe"),
        "groundglass.adaptive.rules",
    ),
)
