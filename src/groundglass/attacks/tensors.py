"""The tensors that attacks pass around, with their shapes. A row is an image."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.core.reading import free_to_read

Images = Float[Tensor, "batch c h w"]
"""Images in [0, 1], or what has their shape: perturbations, gradients."""
Logits = Float[Tensor, "batch classes"]
PerImage = Float[Tensor, "batch"]
"""A loss, a norm or a step size for each image."""
Labels = Int64[Tensor, "batch"]
Rows = Int64[Tensor, "batch"]
"""Which images, or a count for each."""
Flags = Bool[Tensor, "batch"]


def per_image(values: Tensor) -> Tensor:
    """One value an image, [b], with dimensions for channels, rows and columns."""
    return values.view(-1, 1, 1, 1)


def keep_better(best: Images, candidate: Images, better: Flags) -> None:
    """Put the candidates that are better in place of the best, there."""
    if free_to_read(better):
        rows = better.nonzero().squeeze(1)
        best[rows] = candidate[rows]
    else:
        best.copy_(torch.where(per_image(better), candidate, best))
