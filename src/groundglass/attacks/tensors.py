"""The tensors that attacks pass around, with their shapes. A row is an image."""

from jaxtyping import Bool, Float, Int64
from torch import Tensor

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
