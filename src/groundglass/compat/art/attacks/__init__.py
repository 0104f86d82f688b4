"""`art.attacks`: those that evade a classifier."""

from groundglass.compat.art.attacks import evasion

__all__ = ["evasion"]
