"""Attacks: an attack is its configuration, sees a model only through the access it is given, and leaves one record."""

from groundglass.attacks.access import (
    BudgetExceededError,
    GradientAccess,
    Gradients,
    LabelAccess,
    NonFiniteError,
    ScoreAccess,
)
from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.attacks.carlini_wagner import CarliniWagnerL2
from groundglass.attacks.fgsm import FGSM
from groundglass.attacks.frozen import frozen_for_attack
from groundglass.attacks.noise import RandomNoise
from groundglass.attacks.pgd import PGD
from groundglass.attacks.result import AttackResult, worst_case
from groundglass.attacks.rules import DrawnMatrix, Exact, LinearMatrix
from groundglass.attacks.surrogates import FittedLinear, FittedNetwork
from groundglass.attacks.units import paper_eps_to_pixels, pixels_to_paper_eps

__all__ = [
    "FGSM",
    "L2",
    "PGD",
    "AttackResult",
    "Ball",
    "BudgetExceededError",
    "CarliniWagnerL2",
    "DrawnMatrix",
    "Exact",
    "FittedLinear",
    "FittedNetwork",
    "GradientAccess",
    "Gradients",
    "LabelAccess",
    "LinearMatrix",
    "Linf",
    "NonFiniteError",
    "RandomNoise",
    "ScoreAccess",
    "frozen_for_attack",
    "paper_eps_to_pixels",
    "pixels_to_paper_eps",
    "worst_case",
]
