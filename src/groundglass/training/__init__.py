"""Training: credit assignments over one loop."""

from groundglass.training.adversarial import TRADES, AdversarialTraining, PGDTraining
from groundglass.training.by_name import CREDITS, Credit, make_credit
from groundglass.training.classifier import fit_classifier, place_device
from groundglass.training.config import TrainingConfig
from groundglass.training.credit_assignment import BackProp, CreditAssignment, HybridDFA
from groundglass.training.encoding import encode_bits, encode_features
from groundglass.training.estimated import EstimatedDerivative
from groundglass.training.following import Following
from groundglass.training.freezing import Freezing
from groundglass.training.growing import Growing
from groundglass.training.hardening import HARDENING, fine_tune, fit_block, harden, insert
from groundglass.training.layerwise import DirectFeedback, FeedbackAlignment, SignSymmetry
from groundglass.training.loop import train
from groundglass.training.optimiser_steps import DivergedError
from groundglass.training.precision import Precision, fastest_precision, times_slower
from groundglass.training.schedule import Both, OneCycle, Plateau, Schedule, Steps
from groundglass.training.state import EpochResult

__all__ = [
    "CREDITS",
    "HARDENING",
    "TRADES",
    "AdversarialTraining",
    "BackProp",
    "Both",
    "Credit",
    "CreditAssignment",
    "DirectFeedback",
    "DivergedError",
    "EpochResult",
    "EstimatedDerivative",
    "FeedbackAlignment",
    "Following",
    "Freezing",
    "Growing",
    "HybridDFA",
    "OneCycle",
    "PGDTraining",
    "Plateau",
    "Precision",
    "Schedule",
    "SignSymmetry",
    "Steps",
    "TrainingConfig",
    "encode_bits",
    "encode_features",
    "fastest_precision",
    "fine_tune",
    "fit_block",
    "fit_classifier",
    "harden",
    "insert",
    "make_credit",
    "place_device",
    "times_slower",
    "train",
]
