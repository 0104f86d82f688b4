"""foolbox's calls on our attacks: `from groundglass.compat.foolbox import LinfPGD, PyTorchModel, accuracy`.

    attack = LinfPGD()
    raw, clipped, success = attack(fmodel, images, labels, epsilons=[0.01, 0.03])

`fmodel` is foolbox's own PyTorchModel or the one here; tensors are torch's or eagerpy's, and come back as they were given.
Constructors and defaults are those of foolbox 3.3. What differs: an image stops when it is fooled, and the best iterate is
kept; an image that is fooled at one epsilon is not attacked again at a larger one; draws come from `seed=` (0).
"""

from groundglass.compat.foolbox import attacks, criteria
from groundglass.compat.foolbox.attacks import (
    FGM,
    FGSM,
    L2PGD,
    PGD,
    HopSkipJumpAttack,
    L2CarliniWagnerAttack,
    L2DeepFoolAttack,
    L2FastGradientAttack,
    L2ProjectedGradientDescentAttack,
    LinfBasicIterativeAttack,
    LinfDeepFoolAttack,
    LinfFastGradientAttack,
    LinfPGD,
    LinfProjectedGradientDescentAttack,
)
from groundglass.compat.foolbox.criteria import Misclassification, TargetedMisclassification
from groundglass.compat.foolbox.models import PyTorchModel, accuracy, samples
from groundglass.compat.missing import missing

__all__ = [
    "FGM",
    "FGSM",
    "L2PGD",
    "PGD",
    "HopSkipJumpAttack",
    "L2CarliniWagnerAttack",
    "L2DeepFoolAttack",
    "L2FastGradientAttack",
    "L2ProjectedGradientDescentAttack",
    "LinfBasicIterativeAttack",
    "LinfDeepFoolAttack",
    "LinfFastGradientAttack",
    "LinfPGD",
    "LinfProjectedGradientDescentAttack",
    "Misclassification",
    "PyTorchModel",
    "TargetedMisclassification",
    "accuracy",
    "attacks",
    "criteria",
    "samples",
]

__getattr__ = missing(__name__, "foolbox", __all__)
