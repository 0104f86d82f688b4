"""What an optical device is to everyone but its owner: bits go in, camera readings come out, no matrix is shown."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


@runtime_checkable
class OpticalDevice(Protocol):
    """A device that measures |Ux|^2 of binary inputs with a camera (the paper's equation 1). U is not shown.

    Attributes:
        in_features: N, bits of an input.
        out_features: M, pixels of the camera that are read.
        fingerprint: hex; the same for the same device, so that a model finds the one it was trained with.
        mean_reading: the mean reading at calibration; public, used to normalise.
    """

    @property
    def in_features(self) -> int: ...

    @property
    def out_features(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def mean_reading(self) -> float: ...

    def measure(self, bits: UInt8[Tensor, "batch n"]) -> UInt8[Tensor, "batch m"] | Float[Tensor, "batch m"]:
        """One camera frame a row. uint8 readings, or float32 ones from a device without an 8-bit camera.

        Raises:
            TypeError: `bits` is not a uint8 tensor.
            ValueError: not [batch, in_features], or a value that is neither 0 nor 1.
        """
        ...


def no_readings(device: OpticalDevice, where: torch.device) -> Tensor:
    """Readings of no inputs, [0, M]. A device takes no frame without an input, so it is not asked."""
    camera = getattr(device, "camera", None)
    dtype = torch.float32 if camera is not None and camera.bits is None else torch.uint8
    return torch.zeros(0, device.out_features, dtype=dtype, device=where)


def check_bits(bits: Tensor, in_features: int) -> None:
    """Refuse anything but a uint8 tensor [batch, in_features] of zeros and ones; says what to do."""
    if not isinstance(bits, Tensor):
        raise TypeError(f"bits must be a torch.Tensor, not {type(bits).__name__}: torch.as_tensor(bits) makes one")
    if bits.dtype != torch.uint8:
        if bits.is_floating_point() or bits.is_complex():
            hint = "the device takes binary inputs: binarise first, (features > threshold).to(torch.uint8)"
        elif bits.dtype == torch.bool:
            hint = "use bits.to(torch.uint8)"
        else:
            hint = "if all are 0 or 1 use bits.to(torch.uint8); signs -1 and 1 are (bits > 0).to(torch.uint8)"
        raise TypeError(f"bits must be uint8, 0 or 1, not {bits.dtype}: {hint}")
    if bits.ndim != 2:
        hint = ": use bits[None] for one input" if bits.ndim == 1 else ": use bits.flatten(1)" if bits.ndim > 2 else ""
        raise ValueError(f"bits must be [batch, {in_features}], not {list(bits.shape)}{hint}")
    if bits.shape[1] != in_features:
        raise ValueError(
            f"bits must have {in_features} columns, one an input of the device, not {bits.shape[1]}: "
            "this is a device of another size, or the features are not the ones it was made for"
        )
    if bits.numel() and int(bits.max()) > 1:
        raise ValueError(
            f"bits must be 0 or 1, not up to {int(bits.max())}: "
            "bytes of an image are not bits, binarise them first, (values > threshold).to(torch.uint8)"
        )
