"""Adaptive attackers: backward rules that replace the derivative which the defence hides."""

from groundglass.adaptive.past_readout import collapse
from groundglass.adaptive.registry import FITTED, RULES, Pairs, check_rules, fit_facts, make_rule, observe

__all__ = ["FITTED", "RULES", "Pairs", "check_rules", "collapse", "fit_facts", "make_rule", "observe"]
