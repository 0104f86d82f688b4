"""groundglass: what does a secret analog layer buy a neural network, and what does it cost to break?

    import groundglass as gg

    result = gg.PGD()(model, images, labels, gg.Linf(8 / 255))

The names of a first script are here, each imported when it is first asked for; all others are in their packages.
"""

import sys

from groundglass.core.lazy import Absent, lazily

TYPE_CHECKING = False  # as type checkers know it; `typing` takes longer to import than all else that is imported here
if TYPE_CHECKING:
    from groundglass.attacks import APGD as APGD
    from groundglass.attacks import FAB as FAB
    from groundglass.attacks import FGSM as FGSM
    from groundglass.attacks import L0 as L0
    from groundglass.attacks import L1 as L1
    from groundglass.attacks import L2 as L2
    from groundglass.attacks import NES as NES
    from groundglass.attacks import PGD as PGD
    from groundglass.attacks import ZOO as ZOO
    from groundglass.attacks import AttackResult as AttackResult
    from groundglass.attacks import Bandits as Bandits
    from groundglass.attacks import CarliniWagnerL2 as CarliniWagnerL2
    from groundglass.attacks import DeepFool as DeepFool
    from groundglass.attacks import GradientAccess as GradientAccess
    from groundglass.attacks import HopSkipJump as HopSkipJump
    from groundglass.attacks import LabelAccess as LabelAccess
    from groundglass.attacks import Linf as Linf
    from groundglass.attacks import Parsimonious as Parsimonious
    from groundglass.attacks import RayS as RayS
    from groundglass.attacks import ScoreAccess as ScoreAccess
    from groundglass.attacks import SparseRS as SparseRS
    from groundglass.attacks import Square as Square
    from groundglass.attacks import SurFree as SurFree
    from groundglass.attacks import Sweep as Sweep
    from groundglass.attacks import Targeted as Targeted
    from groundglass.attacks import TiledES as TiledES
    from groundglass.attacks import TransferPGD as TransferPGD
    from groundglass.attacks import Untargeted as Untargeted
    from groundglass.audit import STANDARD as STANDARD
    from groundglass.audit import AuditConfig as AuditConfig
    from groundglass.audit import audit as audit
    from groundglass.certify import smooth as smooth
    from groundglass.models import accuracy as accuracy
    from groundglass.models import defend as defend
    from groundglass.models import load_defended as load_defended
    from groundglass.models import load_model as load_model
    from groundglass.models import save_defended as save_defended
    from groundglass.models.zoo import load as load
    from groundglass.optics import SimulatedOPU as SimulatedOPU
    from groundglass.training import BackProp as BackProp
    from groundglass.training import HybridDFA as HybridDFA
    from groundglass.training import TrainingConfig as TrainingConfig
    from groundglass.training import harden as harden
    from groundglass.training import train as train

__version__ = "0.3.0"

_FROM = {
    "groundglass.attacks": (
        *(
            "APGD",
            "FAB",
            "FGSM",
            "L0",
            "L1",
            "L2",
            "NES",
            "PGD",
            "ZOO",
            "AttackResult",
            "Bandits",
            "CarliniWagnerL2",
            "DeepFool",
            "GradientAccess",
            "HopSkipJump",
        ),
        *(
            "LabelAccess",
            "Linf",
            "Parsimonious",
            "RayS",
            "ScoreAccess",
            "SparseRS",
            "Square",
            "SurFree",
            "Sweep",
            "Targeted",
            "TiledES",
            "TransferPGD",
        ),
        "Untargeted",
    ),
    "groundglass.audit": ("STANDARD", "AuditConfig"),
    "groundglass.certify": ("smooth",),
    "groundglass.models": ("accuracy", "defend", "load_defended", "load_model", "save_defended"),
    "groundglass.models.zoo": ("load",),
    "groundglass.optics": ("SimulatedOPU",),
    "groundglass.training": ("BackProp", "HybridDFA", "TrainingConfig", "harden", "train"),
}
_NAMES = {name: package for package, names in _FROM.items() for name in names} | {"audit": "groundglass.audit"}

__all__ = [*_NAMES]

__getattr__ = lazily(__name__, _NAMES)

if Absent not in sys.meta_path:
    sys.meta_path.append(Absent)


def __dir__() -> list[str]:
    return [*_NAMES, "__version__"]
