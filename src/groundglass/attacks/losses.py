"""What an attack climbs: one number an image, larger is worse for the model."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from groundglass.attacks.tensors import Labels, Logits, PerImage
from groundglass.core import lookup

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Logits, labels: Labels) -> PerImage:
    """-log p(label), the paper's loss."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Logits, labels: Labels) -> PerImage:
    """The largest other logit minus the label's: above 0 when fooled. It does not fade as cross-entropy does."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return other - own


def dlr(logits: Logits, labels: Labels) -> PerImage:
    """The difference of logits ratio: the margin over the distance from the largest logit to the third largest.

    A scale or a shift of the logits does not change it (Croce and Hein 2020). At least -1; above 0 when fooled.
    """
    _need_classes(logits, 3, "loss 'dlr'", "use loss='margin'")
    top = logits.topk(3).values
    return margin(logits, labels) / _floored(top[:, 0] - top[:, 2], logits)


def targeted_dlr(logits: Logits, labels: Labels, targets: Labels) -> PerImage:
    """The target's logit minus the label's, over the distance from the largest to the mean of the third and the fourth.

    `dlr` for one other class; scale and shift change it as little (Croce and Hein 2020).
    """
    _need_classes(logits, 4, "the targeted loss 'dlr'", "use it untargeted (targets=0), or loss='margin'")
    top = logits.topk(4).values
    lead = (logits.gather(1, targets[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)
    return lead / _floored(top[:, 0] - (top[:, 2] + top[:, 3]) / 2, logits)


def _need_classes(logits: Tensor, least: int, what: str, instead: str) -> None:
    if logits.shape[1] < least:
        raise ValueError(f"{what} needs at least {least} classes, and the model has {logits.shape[1]}: {instead}")


def _floored(distance: Tensor, logits: Tensor) -> Tensor:
    """At least a millionth of the logits' range: where logits tie for the first places, the margin is left."""
    low, high = logits.detach().aminmax(dim=1)
    return torch.maximum(distance, (1e-6 * (high - low)).clamp_min(1e-12))


_LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


def find_loss(name: str) -> Loss:
    """The loss called "ce", "margin" or "dlr"; an unknown name is refused with the nearest one."""
    return lookup("loss", name, _LOSSES)
