"""The secret matrix in memory: complex Gaussian entries, held as small integers."""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from groundglass.kernels.products import TILE_LANES
from groundglass.kernels.threads import for_each
from groundglass.optics.entries import Entries
from groundglass.optics.medium import MatrixKind
from groundglass.optics.sealed import Sealed


class SecretMatrix(Sealed):
    """U, or some of its tiles, as integers: real + 1j * imaginary, each a Gaussian of std `ENTRY_STD`, rounded, cut at +-127.

    Integers make every sum over binary inputs exact, so a measurement does not depend on batch, kernel or
    machine, and take 2 bytes a complex entry instead of complex64's 8.

    Args:
        tiles: int8 [tiles, N, TILE_LANES]; the lanes are [parts, outputs of a tile]. Outputs past M are zero.
        out_features: M.
        matrix: "complex", or "real" (the imaginary part is zero and not held).

    Attributes:
        parts: 2, real and imaginary; 1 when real.
        narrow: so many inputs in a row, or fewer, have sums that fit int16, whatever the bits.
    """

    __slots__ = ("in_features", "matrix", "narrow", "out_features", "parts", "tiles")

    def __init__(self, tiles: npt.NDArray[np.int8], out_features: int, matrix: MatrixKind = "complex") -> None:
        self.tiles = tiles
        self.in_features = tiles.shape[1]
        self.out_features = out_features
        self.matrix: MatrixKind = matrix
        self.parts = 2 if matrix == "complex" else 1
        self.narrow = _narrow(tiles)

    @classmethod
    def draw(cls, entries: Entries, *, by_shake: bool = False) -> "SecretMatrix":
        """All of U. `by_shake`: by the recipe of device files of format 1."""
        tiles = np.empty((entries.tiles, entries.in_features, TILE_LANES), dtype=np.int8)
        fill: Callable[[int, npt.NDArray[np.int8]], None] = entries.fill_by_shake if by_shake else entries.fill
        for_each(range(entries.tiles), partial(_fill, fill, tiles))
        return cls(tiles, entries.out_features, entries.matrix)

    @property
    def tile_outputs(self) -> int:
        """Outputs of a tile."""
        return TILE_LANES // self.parts

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return int(self.tiles.nbytes)

    def dense(self) -> npt.NDArray[np.complex64]:
        """U [M, N] in units of the integer. For `true_matrix` alone."""
        lanes = self.tiles.reshape(-1, self.in_features, self.parts, self.tile_outputs)
        rows = lanes.transpose(2, 0, 3, 1).reshape(self.parts, -1, self.in_features)[:, : self.out_features]
        dense = rows[0].astype(np.complex64)
        if self.parts == 2:
            dense.imag = rows[1]
        return dense


def _fill(fill: Callable[[int, npt.NDArray[np.int8]], None], tiles: npt.NDArray[np.int8], tile: int) -> None:
    fill(tile, tiles[tile])


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
