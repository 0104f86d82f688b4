"""|Ux|^2 of features that are no bits: a random projection that no binary device can make. For ablation alone."""

import torch
from jaxtyping import Float
from torch import Tensor

from groundglass.optics.device import OpticalDevice
from groundglass.optics.layer import OpticalLayer
from groundglass.optics.oracle import true_matrix
from groundglass.optics.sealed import Sealed


class _Planes(Sealed):
    """U as float32 planes, real and imaginary, that nothing prints, pickles or saves."""

    __slots__ = ("planes",)

    def __init__(self, device: OpticalDevice) -> None:
        matrix = true_matrix(device)
        self.planes = [plane.contiguous() for plane in (matrix.real, matrix.imag)]


class FloatInputLayer(OpticalLayer):
    """The projection of a simulated device without its binary input and without its camera: |Ux|^2 in float32.

    The published code calls a network with this in it RP, for random projection. Readings are divided by `mean`, at
    first the device's; features have no fixed number of ones, so whoever fits a classifier on them sets it anew.

    Attributes:
        mean: the mean reading, saved with the network.

    Shapes: features [batch, in_features], float32, -> [batch, out_features], float32.

    Raises:
        TypeError: the device is not a simulated one: nobody has its matrix.
    """

    mean: Tensor

    def __init__(self, device: OpticalDevice) -> None:
        super().__init__(device)
        self._sealed = _Planes(device)
        self.register_buffer("mean", torch.tensor(device.mean_reading))

    @property
    def scale(self) -> float:
        return float(self.mean)

    @torch.no_grad()
    def measure(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        real, imaginary = (plane.to(inputs.device) for plane in self._sealed.planes)
        out = (inputs @ real.t()).square_()
        return out.add_((inputs @ imaginary.t()).square_())
