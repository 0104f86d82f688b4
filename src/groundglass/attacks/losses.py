"""What an attack climbs: one number an image, larger is worse for the model."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.core import lookup

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Float[Tensor, "batch k"], labels: Int64[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """-log p(label), the paper's loss."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Float[Tensor, "batch k"], labels: Int64[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """The largest other logit minus the label's: above 0 when fooled. It does not fade as cross-entropy does."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return other - own


_LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin}


def find_loss(name: str) -> Loss:
    """The loss called "ce" or "margin"; an unknown name is refused with the nearest one."""
    return lookup("loss", name, _LOSSES)
