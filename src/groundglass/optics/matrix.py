"""The secret matrix: complex Gaussian entries, held as small integers, drawn from a seed."""

import math
from functools import cache
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from groundglass.optics.sealed import Sealed, Seed

MatrixKind = Literal["complex", "real"]

# Standard deviation of an entry (of its real and of its imaginary part), in units of the integer. Rounding adds
# an error of sqrt(1/12) = 0.29, 0.9% of it. A Gaussian leaves +-127 in 7 of 100,000 draws.
ENTRY_STD = 32
# Numbers of a tile, side by side in memory: 32 outputs' real parts, then their imaginary parts; or 64 real
# outputs. Part of the recipe that makes U from a seed: another value is another matrix.
TILE_LANES = 64
# Inputs of a block, the unit of generation; part of the recipe as well.
_BLOCK_INPUTS = 1024
# The intensity of N inputs is at most 2 (127 N)^2, and float64 holds every integer up to 2^53.
MAX_INPUTS = 2**19


class SecretMatrix(Sealed):
    """U, as integers: entry = real + 1j * imaginary, each a Gaussian of std `ENTRY_STD`, rounded, cut at +-127.

    Integers make every sum over binary inputs exact, so a measurement does not depend on batch, kernel or
    machine, and take 2 bytes a complex entry instead of complex64's 8.

    The draw: SHAKE-128 of (seed, kind, sizes, tile, block) gives 16 random bits for every number, and the
    inverse of the Gaussian's cumulative distribution, tabulated at 2^16 points, maps them to an integer. It is
    the same on every machine and under every version of numpy or torch. A cryptographic stream, because rows
    of U can be retrieved from readings one at a time: knowing some must not give the key, and so the rest.

    Args:
        seed: 128 bits of entropy make it a secret; a small number can be found by trying.
        in_features: N, up to `MAX_INPUTS`.
        out_features: M.
        kind: "complex", or "real" (the imaginary part is zero and not held).

    Attributes:
        parts: 2, real and imaginary; 1 when real.
        tiles: int8 [tiles, N, TILE_LANES]; the lanes are [parts, outputs of a tile]. Outputs past M are zero.
        narrow: so many inputs in a row, or fewer, have sums that fit int16, whatever the bits.

    Raises:
        ValueError: a size out of range, or another kind.
    """

    __slots__ = ("in_features", "kind", "narrow", "out_features", "parts", "seed", "tiles")

    def __init__(self, seed: Seed, in_features: int, out_features: int, kind: MatrixKind = "complex") -> None:
        if kind not in get_args(MatrixKind):
            raise ValueError(f"`matrix` (={kind!r}) must be one of {', '.join(get_args(MatrixKind))}")
        if not 1 <= in_features <= MAX_INPUTS:
            raise ValueError(f"`in_features` (={in_features}) must be 1 to {MAX_INPUTS}")
        if out_features < 1:
            raise ValueError(f"`out_features` (={out_features}) must be at least 1")
        self.seed = seed
        self.in_features = in_features
        self.out_features = out_features
        self.kind: MatrixKind = kind
        self.parts = 2 if kind == "complex" else 1
        self.tiles = _draw(seed, in_features, out_features, kind, self.parts)
        self.narrow = _narrow(self.tiles)

    @property
    def tile_outputs(self) -> int:
        """Outputs of a tile."""
        return TILE_LANES // self.parts

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return int(self.tiles.nbytes)

    def dense(self) -> npt.NDArray[np.complex64]:
        """U [M, N] in units of the integer. For the oracle alone."""
        lanes = self.tiles.reshape(-1, self.in_features, self.parts, self.tile_outputs)
        rows = lanes.transpose(2, 0, 3, 1).reshape(self.parts, -1, self.in_features)[:, : self.out_features]
        dense = rows[0].astype(np.complex64)
        if self.parts == 2:
            dense.imag = rows[1]
        return dense


def _draw(seed: Seed, inputs: int, outputs: int, kind: MatrixKind, parts: int) -> npt.NDArray[np.int8]:
    count = -(-outputs * parts // TILE_LANES)
    tiles = np.empty((count, inputs, TILE_LANES), dtype=np.int8)
    table = gaussian_table()
    for tile in range(count):
        for start in range(0, inputs, _BLOCK_INPUTS):
            block = tiles[tile, start : start + _BLOCK_INPUTS]
            raw = seed.stream(f"matrix/{kind}/{inputs}x{outputs}/{tile}/{start}", 2 * block.size)
            draws = np.frombuffer(raw, dtype="<u2").reshape(block.shape)
            # mode="wrap" skips the check of the bounds: 16 bits cannot leave a table of 2^16.
            np.take(table, draws, mode="wrap", out=block)
    left = outputs - (count - 1) * (TILE_LANES // parts)
    tiles[-1].reshape(inputs, parts, -1)[:, :, left:] = 0
    return tiles


def _narrow(tiles: npt.NDArray[np.int8]) -> int:
    """How many inputs' sum int16 holds: 2048 Gaussian ones, by a wide margin, but looked at, not believed."""
    for tile in tiles:
        for start in range(0, len(tile), 2048):
            rows = tile[start : start + 2048]
            largest = np.maximum(rows, 0).sum(0, dtype=np.int32).max()
            smallest = np.minimum(rows, 0).sum(0, dtype=np.int32).min()
            if max(largest, -smallest) >= 2**15:
                return 256  # 256 * 127 < 2^15, always
    return 2048


@cache
def gaussian_table() -> npt.NDArray[np.int8]:
    """int8 [65536]: 16 uniform bits -> a Gaussian of std `ENTRY_STD`, rounded, cut at +-127.

    Every integer is there as often as the Gaussian asks for, to the nearest 2^-16.
    """
    edges = ((k + 0.5) / ENTRY_STD for k in range(-127, 127))
    below = [round(2**16 * 0.5 * math.erfc(-edge / math.sqrt(2))) for edge in edges]
    return np.repeat(np.arange(-127, 128, dtype=np.int8), np.diff([0, *below, 2**16]))
