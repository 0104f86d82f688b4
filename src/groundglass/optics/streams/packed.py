"""Bit vectors at eight bits a byte, as numpy.packbits lays them out."""

import numpy as np
import torch
from torch import Tensor

from groundglass.optics.device import Array, OpticalDevice, alike, as_bits, no_readings

# Bytes of unpacked bits, and of the light that readings are made of, that are in memory at a time.
_MEMORY = 2**28
# A procedural device draws its entries once a batch: more rows than this no longer make a row cheaper.
_MOST_ROWS = 1024


def packed_width(in_features: int) -> int:
    """Bytes of `in_features` packed bits: the last one is filled up with zeros."""
    return -(-in_features // 8)


def rows_at_a_time(in_features: int, out_features: int) -> int:
    """Rows that go through a device in bounded memory, 256 MiB: a byte a bit, a float64 an output. At least 1."""
    return max(1, min(_MOST_ROWS, _MEMORY // (in_features + 8 * out_features)))


def batch_bytes(in_features: int, out_features: int) -> int:
    """Bytes of the bits and the light of the largest batch that is in memory at a time."""
    return rows_at_a_time(in_features, out_features) * (in_features + 8 * out_features)


def pack_bits(bits: Array) -> Array:
    """[batch, N] of 0 and 1 -> uint8 [batch, ceil(N / 8)], where `bits` lie; a tensor or a numpy array, as in `measure`.

    The same bytes as `numpy.packbits(bits, axis=1)`: the first bit is the highest of the first byte.

    Raises:
        TypeError: not booleans or whole numbers.
        ValueError: not [batch, N], or a value that is neither 0 nor 1.
    """

    def packed(given: Tensor) -> Tensor:
        checked = as_bits(given, given.shape[1] if given.ndim == 2 else 0)
        return torch.from_numpy(np.packbits(checked.detach().cpu().numpy(), axis=1)).to(given.device)

    return alike(bits, packed)


def unpack_bits(packed: Array, in_features: int) -> Array:
    """uint8 [batch, ceil(N / 8)] -> the bits, uint8 [batch, N] of 0 and 1, where `packed` lies; a tensor or a numpy array.

    Raises:
        TypeError: not uint8.
        ValueError: another width, or bits past N that are not zero.
    """

    def unpacked(given: Tensor) -> Tensor:
        check_packed(given, in_features)
        return torch.from_numpy(np.unpackbits(given.detach().cpu().numpy(), axis=1, count=in_features)).to(given.device)

    return alike(packed, unpacked)


def measure_packed(device: OpticalDevice, packed: Array) -> Array:
    """`device.measure(unpack_bits(packed, device.in_features))`, bit for bit, with few rows unpacked at a time.

    Args:
        device: any `OpticalDevice`; a noisy one counts its frames as if it were asked once.
        packed: uint8 [batch, ceil(N / 8)], as `pack_bits` and `numpy.packbits` make them; a tensor or a numpy array.

    Returns:
        Readings, [batch, M], where `packed` lies, and in the same library.

    Raises:
        TypeError, ValueError: see `unpack_bits`; said before a frame is taken.
    """
    return alike(packed, lambda given: _measured(device, given))


def _measured(device: OpticalDevice, packed: Tensor) -> Tensor:
    n, m = device.in_features, device.out_features
    check_packed(packed, n)
    step = rows_at_a_time(n, m)
    if not len(packed):
        return no_readings(device, packed.device)
    # The first piece gives the dtype of the readings.
    first = device.measure(unpack_bits(packed[:step], n))
    if len(packed) <= step:
        return first
    readings = first.new_empty(len(packed), m)
    readings[:step] = first
    del first
    for start in range(step, len(packed), step):
        readings[start : start + step] = device.measure(unpack_bits(packed[start : start + step], n))
    return readings


def check_packed(packed: Tensor, in_features: int) -> None:
    """Refuse anything but a uint8 tensor [batch, ceil(in_features / 8)] with zeros past the last bit; says what to do."""
    if packed.dtype != torch.uint8:
        raise TypeError(f"packed bits must be uint8, not {packed.dtype}: pack_bits or numpy.packbits makes them")
    width = packed_width(in_features)
    if packed.ndim != 2:
        hint = ": use packed[None] for one input" if packed.ndim == 1 else ""
        raise ValueError(f"packed bits must be [batch, {width}], not {list(packed.shape)}{hint}")
    if packed.shape[1] != width:
        hint = ": these look unpacked, measure them as they are" if packed.shape[1] == in_features else ""
        raise ValueError(
            f"packed bits must have {width} columns, 8 of the device's {in_features} inputs a byte, "
            f"not {packed.shape[1]}{hint}"
        )
    unused = 8 * width - in_features
    if unused and len(packed) and int((packed[:, -1] & (2**unused - 1)).max()):
        raise ValueError(
            f"the last {unused} bits of a row must be 0: they are past the last of {in_features} inputs. Pack with the "
            "first bit highest, as pack_bits and numpy.packbits do, not bitorder='little'"
        )
