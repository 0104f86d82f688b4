"""torchattacks' calls on our attacks: `import groundglass.compat.torchattacks as torchattacks`.

    atk = torchattacks.PGD(model, eps=8/255, alpha=2/255, steps=10)
    adversarial = atk(images, labels)

Constructors, defaults, modes (`set_mode_targeted_by_label`, ...), `set_normalization_used`, `MultiAttack`, `save` and `load` are
those of torchattacks 3.5. What differs: an image stops when it is fooled, and the best iterate is kept; images that the
model gets wrong are returned as they are; draws come from `atk.seed` (0), not from torch's stream, and are new in every
call. `atk.result` has the last call's `AttackResult`.
"""

from groundglass.compat.missing import missing
from groundglass.compat.torchattacks.bound import Attack, MultiAttack
from groundglass.compat.torchattacks.named import (
    APGD,
    APGDT,
    BIM,
    CW,
    DIFGSM,
    EOTPGD,
    FAB,
    FGSM,
    MIFGSM,
    PGD,
    PGDL2,
    TIFGSM,
    AutoAttack,
    DeepFool,
    Square,
)

__all__ = [
    "APGD",
    "APGDT",
    "BIM",
    "CW",
    "DIFGSM",
    "EOTPGD",
    "FAB",
    "FGSM",
    "MIFGSM",
    "PGD",
    "PGDL2",
    "TIFGSM",
    "Attack",
    "AutoAttack",
    "DeepFool",
    "MultiAttack",
    "Square",
]

__getattr__ = missing(__name__, "torchattacks", __all__)
