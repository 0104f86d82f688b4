"""The optical device as a layer: bits in, normalised readings out."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.optics.device import OpticalDevice


def binarise(features: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
    """One bit a feature, 1. where it is above the mean of its own sample.

    The threshold is the sample's alone: the published code subtracts the mean over the whole batch, which makes a
    prediction depend on the other images that happen to be asked about.
    """
    return (features > features.mean(dim=1, keepdim=True)).to(features.dtype)


class OpticalLayer(nn.Module):
    """device -> readings with mean 0 and a spread of about 1. No gradient passes: see `backward.stitch`.

    The device is an attribute, not a buffer: nothing of it enters a `state_dict`, and a pickle of the module fails.

    Shapes: bits [batch, in_features], 0. or 1., -> [batch, out_features], float32.
    """

    def __init__(self, device: OpticalDevice) -> None:
        super().__init__()
        self.device = device

    def forward(self, bits: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        with torch.no_grad():
            readings = self.device.measure(bits.to(torch.uint8))
            # A speckle's intensity is exponential: its spread is its mean.
            # In place: fresh memory for thousands of readings an image takes longer than the arithmetic.
            return readings.to(torch.float32).div_(self.device.mean_reading).sub_(1)

    def extra_repr(self) -> str:
        return f"in_features={self.device.in_features}, out_features={self.device.out_features}"
