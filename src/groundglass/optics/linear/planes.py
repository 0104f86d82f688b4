"""Numbers as sums of bits: what a linear map of bits makes of whole numbers and floats."""

from dataclasses import dataclass

import torch
from torch import Tensor

# Bits of the whole numbers that are taken; above that weights and sums would not be exact.
_WIDEST = 32
# Magnitudes of floats, with room for the sums.
_SMALL, _GREAT = 1e-30, 1e30


@dataclass(frozen=True)
class Planes:
    """x = scale * sum over planes of weight * bits, row by row.

    Attributes:
        bits: uint8 [planes, n], those of a row after each other; a plane without a one is left out.
        row: the row of each, int64 [planes].
        weight: float64 [planes].
        scale: float64 [rows].
    """

    bits: Tensor
    row: Tensor
    weight: Tensor
    scale: Tensor

    def total(self, fields: Tensor) -> Tensor:
        """The rows from fields of the planes, [planes, m] -> [rows, m]."""
        rows = torch.zeros(len(self.scale), fields.shape[1], dtype=fields.dtype, device=fields.device)
        # In the order of the planes: the same sum in any batch.
        for plane in range(len(fields)):
            rows[self.row[plane]] += self.weight[plane] * fields[plane]
        return rows * self.scale[:, None]


def as_planes(x: Tensor, bits: int) -> Planes:
    """The bit planes of a batch [rows, n]: booleans and whole numbers as they are, floats rounded to `bits` bits a row.

    A row of whole numbers has as many planes as its largest needs, and one more with a weight below 0 if any is negative
    (two's complement). Floats are multiples of the row's largest magnitude over 2^(bits - 1) - 1; a row of floats that are
    whole and at most that is taken as it is: 0.0 and 1.0 are one plane.

    Raises:
        TypeError: complex numbers.
        ValueError: not [rows, n]; a float that is no number, or beyond 1e-30 or 1e30, where float32 results end; a whole number
            of more than 32 bits.
    """
    if x.ndim != 2:
        raise ValueError(f"inputs must be [batch, inputs], not {list(x.shape)}: use x[None] for one")
    if x.is_complex():
        raise TypeError("inputs must be real: give linear(x.real) + 1j * linear(x.imag)")
    scale = torch.ones(len(x), dtype=torch.float64, device=x.device)
    if x.is_floating_point():
        x = x.to(torch.float64)
        if not x.isfinite().all():
            raise ValueError("inputs must be finite: there is a NaN or an infinity among them")
        steps = 2 ** (bits - 1) - 1
        largest = x.abs().amax(1) if x.shape[1] else scale
        if ((largest > _GREAT) | ((largest > 0) & (largest < _SMALL))).any():
            raise ValueError(
                f"a row's largest magnitude must be {_SMALL} to {_GREAT}, as results are float32: scale the inputs"
            )
        as_it_is = (largest == 0) | ((largest <= steps) & (x == x.round()).all(1))
        scale = torch.where(as_it_is, 1.0, largest / steps)
        x = (x / scale[:, None]).round()
    whole = x.to(torch.int64)
    if x.dtype == torch.uint64 and bool((whole < 0).any()):
        raise ValueError(f"whole numbers must be -2^{_WIDEST - 1} to 2^{_WIDEST - 1} - 1: scale them, or give floats")
    low, high = whole.amin(1), whole.amax(1)
    if len(whole) and max(int(high.max()), -1 - int(low.min())) >= 2 ** (_WIDEST - 1):
        raise ValueError(f"whole numbers must be -2^{_WIDEST - 1} to 2^{_WIDEST - 1} - 1: scale them, or give floats")
    width = torch.maximum(_lengths(high), _lengths(-1 - low)) + (low < 0)
    places = torch.arange(int(width.max()) if len(width) else 0, dtype=torch.int64, device=x.device)
    planes = (whole[:, None] >> places[None, :, None]) & 1
    taken = (places < width[:, None]) & planes.any(2)
    signed = (low < 0)[:, None] & (places == width[:, None] - 1)
    weight = torch.where(signed, -1.0, 1.0).to(torch.float64) * 2.0 ** places.to(torch.float64)
    return Planes(planes[taken].to(torch.uint8), taken.nonzero()[:, 0], weight[taken], scale)


def _lengths(values: Tensor) -> Tensor:
    """Bits of each whole number; 0 for what is not above 0."""
    return sum(((values >> place) > 0).to(torch.int64) for place in range(_WIDEST))  # type: ignore[return-value]
