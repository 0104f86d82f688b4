"""The one door to a device's matrix. For upper bounds: no attacker of the threat model comes through here."""

import math

import torch
from jaxtyping import Complex64
from torch import Tensor

from groundglass.core.sealed import without_locals
from groundglass.optics.device import OpticalDevice
from groundglass.optics.drifting import DriftingDevice
from groundglass.optics.moving import MovingDevice
from groundglass.optics.simulated import SimulatedOPU
from groundglass.optics.tiled import ENTRY_STD


@without_locals
def true_matrix(device: OpticalDevice) -> Complex64[Tensor, "m n"]:
    """U of a simulated device, complex64 [out_features, in_features] as in equation (1), exposure included.

    Scaled so that `(U @ x).abs() ** 2` is the reading of x before noise, rounding and saturation; `** power`, that of its
    camera, where it has another. The imaginary part of a "real" device is zero.

    Raises:
        TypeError: not a simulated device. Nobody has the matrix of a real one.
    """
    found = _simulated(device)
    return torch.from_numpy(found._medium.dense()) * _scale(found)


def entry_size(device: OpticalDevice) -> float:
    """Root mean square of an entry of `true_matrix`, by the law that it is drawn from: public, as the exposure is.

    Raises:
        TypeError: as `true_matrix`.
    """
    found = _simulated(device)
    return ENTRY_STD * (2 if found.matrix == "complex" else 1) ** 0.5 * _scale(found)


def _simulated(device: OpticalDevice) -> SimulatedOPU:
    if isinstance(device, SimulatedOPU):
        return device
    if isinstance(device, MovingDevice):
        raise TypeError(f"a MovingDevice has {len(device)} matrices: call true_matrix for each of its `devices`")
    if isinstance(device, DriftingDevice):
        raise TypeError("a DriftingDevice has another matrix at every time: call true_matrix for `device.now()`")
    raise TypeError(
        f"the matrix of a {type(device).__name__} is not known to anybody: only a SimulatedOPU has one to show"
    )


def _scale(device: SimulatedOPU) -> float:
    power = device.camera.power
    return math.sqrt(device.exposure.gain) if power == 2 else float(device.exposure.gain ** (1 / power))
