"""How many images an attack passes through a model at a time, where the caller leaves that to memory."""

from typing import Any

from torch import Tensor

from groundglass.attacks.same_function import answers
from groundglass.core.batch_size import FEW, fitting


def fitting_size(model: Any, images: Tensor, *, usual: int) -> int:
    """As many as fit into the free memory with their gradients; see `groundglass.core.batch_size.fitting`.

    A few of the images, which are in the model's range, pass through it, and nobody counts them. What it draws is drawn again
    afterwards, and no optical device is asked.
    """
    few = images[:FEW]
    return fitting(lambda: answers(model, few), len(few), few.device, usual=usual)
