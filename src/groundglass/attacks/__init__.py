"""Attacks: an attack is its configuration, sees a model only through the access it is given, and leaves one record."""

from groundglass.attacks.access import GradientAccess, Gradients
from groundglass.attacks.adversarial_files import (
    AdversarialSet,
    Origin,
    check_adversarial,
    load_adversarial,
    save_adversarial,
)
from groundglass.attacks.apgd import APGD
from groundglass.attacks.array_models import numpy_model
from groundglass.attacks.attack import Attack
from groundglass.attacks.averaged import Averaged, AveragedAccess
from groundglass.attacks.backward_rules import DrawnMatrix, Exact, LinearMatrix, Mixture, Normalised, StraightThrough
from groundglass.attacks.balls import L2, Ball, Each, Linf
from groundglass.attacks.bandits import Bandits
from groundglass.attacks.carlini_wagner import CarliniWagnerL2
from groundglass.attacks.checkpoint import AttackCheckpoint
from groundglass.attacks.criteria import Criterion, Targeted, Untargeted
from groundglass.attacks.deepfool import DeepFool
from groundglass.attacks.ensemble import Ensemble
from groundglass.attacks.fab import FAB
from groundglass.attacks.fgsm import FGSM
from groundglass.attacks.fitted_rules import FittedLinear, FittedNetwork
from groundglass.attacks.frozen import frozen_for_attack
from groundglass.attacks.gradient_attack import GradientAttack
from groundglass.attacks.gradient_smoothing import GaussianKernel
from groundglass.attacks.hop_skip_jump import HopSkipJump
from groundglass.attacks.input_diversity import InputDiversity
from groundglass.attacks.low_precision import LowPrecisionAccess
from groundglass.attacks.minimum_norm import MinimumNormAttack
from groundglass.attacks.nearest import NearestImageAttack
from groundglass.attacks.nes import NES
from groundglass.attacks.noise import RandomNoise
from groundglass.attacks.paper_units import paper_eps_to_pixels, pixels_to_paper_eps
from groundglass.attacks.parsimonious import Parsimonious
from groundglass.attacks.pgd import PGD
from groundglass.attacks.query_access import LabelAccess, QueryAccess, ScoreAccess
from groundglass.attacks.questions import Answer, Ask, Live
from groundglass.attacks.rays import RayS
from groundglass.attacks.result import AttackResult, Setup, worst_case
from groundglass.attacks.search import LabelAttack, QueryAttack, ScoreAttack
from groundglass.attacks.sparse_balls import L0, L1
from groundglass.attacks.sparse_rs import SparseRS
from groundglass.attacks.square import Square
from groundglass.attacks.surfree import SurFree
from groundglass.attacks.sweep import Sweep
from groundglass.attacks.tiled_es import TiledES
from groundglass.attacks.transfer import SurrogatePGD, TransferPGD
from groundglass.attacks.zeroth_order import ZOO
from groundglass.core import BudgetExceededError, NonFiniteError

__all__ = [
    "APGD",
    "FAB",
    "FGSM",
    "L0",
    "L1",
    "L2",
    "NES",
    "PGD",
    "ZOO",
    "AdversarialSet",
    "Answer",
    "Ask",
    "Attack",
    "AttackCheckpoint",
    "AttackResult",
    "Averaged",
    "AveragedAccess",
    "Ball",
    "Bandits",
    "BudgetExceededError",
    "CarliniWagnerL2",
    "Criterion",
    "DeepFool",
    "DrawnMatrix",
    "Each",
    "Ensemble",
    "Exact",
    "FittedLinear",
    "FittedNetwork",
    "GaussianKernel",
    "GradientAccess",
    "GradientAttack",
    "Gradients",
    "HopSkipJump",
    "InputDiversity",
    "LabelAccess",
    "LabelAttack",
    "LinearMatrix",
    "Linf",
    "Live",
    "LowPrecisionAccess",
    "MinimumNormAttack",
    "Mixture",
    "NearestImageAttack",
    "NonFiniteError",
    "Normalised",
    "Origin",
    "Parsimonious",
    "QueryAccess",
    "QueryAttack",
    "RandomNoise",
    "RayS",
    "ScoreAccess",
    "ScoreAttack",
    "Setup",
    "SparseRS",
    "Square",
    "StraightThrough",
    "SurFree",
    "SurrogatePGD",
    "Sweep",
    "Targeted",
    "TiledES",
    "TransferPGD",
    "Untargeted",
    "check_adversarial",
    "frozen_for_attack",
    "load_adversarial",
    "numpy_model",
    "paper_eps_to_pixels",
    "pixels_to_paper_eps",
    "save_adversarial",
    "worst_case",
]
