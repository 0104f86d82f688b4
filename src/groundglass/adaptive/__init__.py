"""Adaptive attackers: backward rules that replace the derivative which the defence hides, and attacks that need no such thing."""

from typing import TYPE_CHECKING

from groundglass.core.lazy import lazily

if TYPE_CHECKING:
    from groundglass.adaptive.detection import Detection, Identification, detect, identify
    from groundglass.adaptive.draws import Redrawn, draw_seed, over_draws, redrawn, redrawn_attack
    from groundglass.adaptive.past_readout import collapse
    from groundglass.adaptive.rules import FITTED, RULES, Pairs, check_rules, fit_facts, make_rule, observe
    from groundglass.adaptive.signs import Again, Border, Flat, Jump, Repeat, Sign
    from groundglass.adaptive.stand_ins import STAND_INS, BitFlip, OwnHead, StandInAccess, stand_in, unasked

__all__ = [
    "FITTED",
    "RULES",
    "STAND_INS",
    "Again",
    "BitFlip",
    "Border",
    "Detection",
    "Flat",
    "Identification",
    "Jump",
    "OwnHead",
    "Pairs",
    "Redrawn",
    "Repeat",
    "Sign",
    "StandInAccess",
    "check_rules",
    "collapse",
    "detect",
    "draw_seed",
    "fit_facts",
    "identify",
    "make_rule",
    "observe",
    "over_draws",
    "redrawn",
    "redrawn_attack",
    "stand_in",
    "unasked",
]

__getattr__ = lazily(
    __name__,
    {"collapse": "groundglass.adaptive.past_readout"}
    | dict.fromkeys(
        ("FITTED", "RULES", "Pairs", "check_rules", "fit_facts", "make_rule", "observe"),
        "groundglass.adaptive.rules",
    )
    | dict.fromkeys(
        ("STAND_INS", "BitFlip", "OwnHead", "StandInAccess", "stand_in", "unasked"), "groundglass.adaptive.stand_ins"
    )
    | dict.fromkeys(("Again", "Border", "Flat", "Jump", "Repeat", "Sign"), "groundglass.adaptive.signs")
    | dict.fromkeys(("Detection", "Identification", "detect", "identify"), "groundglass.adaptive.detection")
    | dict.fromkeys(("Redrawn", "draw_seed", "over_draws", "redrawn", "redrawn_attack"), "groundglass.adaptive.draws"),
)
