"""Translation invariance: a gradient that is smoothed over the image."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F

from groundglass.attacks.tensors import Images
from groundglass.core.settings import Count, In, Settings


@dataclass(frozen=True, kw_only=True)
class GaussianKernel(Settings):
    """A gradient smoothed over the image: that of a loss averaged over shifts, nearly (TI; Dong et al. 2019).

    Differences from the original, 15 x 15 on 299 pixels: 7 x 7 with sigma 1, the same bell that ends at three sigma.
    The same share of 32 pixels would be 1.6 pixels, a kernel that does nothing; 15 x 15 would be half the image, and
    smooth away what the early layers of a small network look at. Sweep this setting; do not trust the default.

    Attributes:
        size: pixels, odd.
        sigma: pixels.
    """

    size: Count = 7
    sigma: Annotated[float, In("(0, inf)", "pixels")] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2 == 0:
            raise ValueError(f"`size` (={self.size}) must be odd, so that the kernel has a middle")

    def weights(self) -> list[float]:
        """The kernel along one axis, sum 1; over the image it is the product of two."""
        middle = self.size // 2
        bell = [math.exp(-0.5 * ((k - middle) / self.sigma) ** 2) for k in range(self.size)]
        return [w / sum(bell) for w in bell]

    def __call__(self, grad: Images) -> Images:
        """The gradient, smoothed in each channel; it counts as zero beyond the border."""
        # Shifted copies, not a convolution: that may round differently in a batch of another size.
        middle = self.size // 2
        for dim, pad in ((2, (0, 0, middle, middle)), (3, (middle, middle))):
            length, padded = grad.shape[dim], F.pad(grad, pad)
            grad = torch.zeros_like(grad)
            for shift, weight in enumerate(self.weights()):
                grad = grad + padded.narrow(dim, shift, length) * weight
        return grad
