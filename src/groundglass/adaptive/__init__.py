"""Adaptive attackers: what an attacker who knows the defence puts in place of the derivative it hides."""

from groundglass.adaptive.past_readout import collapse
from groundglass.adaptive.registry import FITTED, RULES, Pairs, check_rules, fit_facts, make_rule, observe

__all__ = ["FITTED", "RULES", "Pairs", "check_rules", "collapse", "fit_facts", "make_rule", "observe"]
