"""What an optical device is to everyone but its owner: bits go in, camera readings come out, no matrix is shown."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from groundglass.core.given import as_tensor

#: Bits in, readings out, in the caller's own library.
Array = TypeVar("Array", Tensor, npt.NDArray[Any])


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

        This is what the package asks of a device. Its own devices, and `DeviceAccess` before any device, take more: booleans
        and whole numbers of any width too, in a tensor, which gives a tensor where the bits lie, or in a numpy array, which
        gives a numpy array.

        Raises:
            TypeError, ValueError: what is not bits; see `as_bits`.
        """
        ...


def check_device(device: Any, name: str = "device") -> None:
    """Refuse what is no optical device: a class, a number, a path.

    Raises:
        TypeError: says what a device is.
    """
    if isinstance(device, type) or not isinstance(device, OpticalDevice):
        raise TypeError(
            f"`{name}` must be an optical device, as SimulatedOPU.create(512, 8000) makes one, not {device!r:.60}; one of your "
            "own has in_features, out_features, fingerprint, mean_reading and measure(bits)"
        )


# A name that can be printed and stand in a file: hex digits of a simulated device, words of its owner's for a real one.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")


def is_fingerprint(text: str) -> bool:
    """Whether a device may be known by this: at most 64 letters, digits, spaces, dots, hyphens and underscores."""
    return _NAME.fullmatch(text) is not None


def check_same_device(device: OpticalDevice, fingerprint: str) -> None:
    """Refuse a device that is not the one with this fingerprint, which a network was trained with.

    Raises:
        ValueError: another one; says what to do.
    """
    if device.fingerprint != fingerprint:
        raise ValueError(
            f"this device ({device.fingerprint:.80}) is not the one that the network was trained with ({fingerprint:.80}): its "
            "predictions would be noise. Give that device; for another one, load the network with that one first, then "
            "place_device(network, other) and fit the classifier again (`groundglass redraw`)"
        )


def no_readings(device: OpticalDevice, where: torch.device) -> Tensor:
    """Readings of no inputs, [0, M]. A device takes no frame without an input, so it is not asked."""
    camera = getattr(device, "camera", None)
    dtype = torch.float32 if camera is not None and camera.bits is None else torch.uint8
    return torch.zeros(0, device.out_features, dtype=dtype, device=where)


def alike(bits: Array, answer: Callable[[Tensor], Tensor], *, name: str = "bits") -> Array:
    """`answer(bits)` for bits in either library: of a numpy array it is a numpy array, of a tensor a tensor.

    Args:
        name: what an error calls them.
    """
    if not isinstance(bits, np.ndarray):
        return answer(_checked(bits, name))
    try:
        given = as_tensor(bits)
    except ValueError:
        raise ValueError(
            f"{name} must be below 2^63: bits are 0 or 1; other numbers divided, or as floats, x.astype(float)"
        ) from None
    found: npt.NDArray[Any] = answer(_checked(given, name)).numpy(force=True)
    return found


def _checked(bits: Any, name: str = "bits") -> Tensor:
    if isinstance(bits, Tensor):
        return bits
    what = f"array of {bits.dtype}" if isinstance(bits, np.ndarray) else type(bits).__name__
    raise TypeError(
        f"{name} must be a tensor or a numpy array of numbers, not {what}: torch.as_tensor({name}) makes a tensor of a list"
    )


_known: ContextVar[bool] = ContextVar("numbers are known to be bits", default=False)


@contextmanager
def known_bits() -> Iterator[None]:
    """In this block, in this thread, `as_bits` takes values for 0 or 1 unseen: on a card a look waits for all it has to do."""
    token = _known.set(True)
    try:
        yield
    finally:
        _known.reset(token)


def as_bits(bits: Tensor, in_features: int) -> UInt8[Tensor, "batch n"]:
    """Booleans or whole numbers [batch, in_features], all 0 or 1, as uint8; anything else is refused with what to do.

    Floats are refused even if they are all 0 or 1: whether features pass must not depend on the batch they are in.

    Raises:
        TypeError: not a tensor of booleans or whole numbers.
        ValueError: not [batch, in_features], or a value that is neither 0 nor 1.
    """
    if _checked(bits).is_floating_point() or bits.is_complex():
        raise TypeError(
            f"bits must be booleans or whole numbers, 0 or 1, not {bits.dtype}: the device takes binary inputs, so binarise "
            "first, (features > threshold)"
        )
    if bits.ndim != 2:
        hint = ": use bits[None] for one input" if bits.ndim == 1 else ": use bits.flatten(1)" if bits.ndim > 2 else ""
        raise ValueError(f"bits must be [batch, {in_features}], not {list(bits.shape)}{hint}")
    if bits.shape[1] != in_features:
        raise ValueError(
            f"bits must have {in_features} columns, one an input of the device, not {bits.shape[1]}: "
            "this is a device of another size, or the features are not the ones it was made for"
        )
    if bits.numel() and bits.dtype != torch.bool and not _known.get():
        values = (
            bits if bits.dtype == torch.uint8 else bits.to(torch.int64)
        )  # torch has no `max` of wider unsigned numbers
        low, high = torch.stack(torch.aminmax(values)).tolist()
        if low < 0:
            raise ValueError(f"bits must be 0 or 1, not {low}: signs -1 and 1 become bits by (signs > 0)")
        if high > 1:
            raise ValueError(
                f"bits must be 0 or 1, not up to {high}: bytes of an image are not bits, binarise them first, "
                "(values > threshold)"
            )
    return bits.to(torch.uint8)
