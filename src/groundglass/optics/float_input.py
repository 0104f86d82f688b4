"""|Ux|^2 of features that are not bits: a random projection that no binary device can make. For ablation alone."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from groundglass.optics.device import OpticalDevice
from groundglass.optics.layer import OpticalLayer
from groundglass.optics.sealed import Sealed
from groundglass.optics.simulated import SimulatedOPU
from groundglass.optics.true_matrix import true_matrix


class _Planes(Sealed):
    """U as float32 planes, real and imaginary, that nothing prints, pickles or saves."""

    __slots__ = ("planes",)

    def __init__(self, device: OpticalDevice) -> None:
        matrix = true_matrix(device)
        self.planes = [plane.contiguous() for plane in (matrix.real, matrix.imag)]


class FloatInputLayer(OpticalLayer):
    """The projection of a simulated device without its binary input and without its camera: |Ux|^2 in float32.

    The published code calls a network with this in it RP, for random projection. Each input is scaled to the length that
    inputs have at calibration, so that readings have the device's mean: unscaled features have no fixed total
    light, and their squares make training diverge.

    Attributes:
        length: of every input, once it is scaled.

    Shapes: features [batch, in_features], float32, -> [batch, out_features], float32.

    Raises:
        TypeError: the device is not a simulated one, so its matrix is not known.
    """

    def __init__(self, device: OpticalDevice) -> None:
        super().__init__(device)
        self._sealed = _Planes(device)
        assert isinstance(device, SimulatedOPU)  # the planes refused any other
        self.length = (device.in_features * device.camera.density) ** 0.5

    @torch.no_grad()
    def measure(self, inputs: Float[Tensor, "batch n"]) -> Float[Tensor, "batch m"]:
        scaled = F.normalize(inputs, dim=1) * self.length
        real, imaginary = (plane.to(inputs.device) for plane in self._sealed.planes)
        out = (scaled @ real.t()).square_()
        return out.add_((scaled @ imaginary.t()).square_())
