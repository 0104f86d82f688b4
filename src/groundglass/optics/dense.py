"""A medium whose matrix lies in memory: complex Gaussian entries, held as small integers."""

from functools import partial

import numpy as np
import numpy.typing as npt
from torch import Tensor

from groundglass.kernels.kernel_choice import fastest_kernel
from groundglass.kernels.products import TILE_LANES
from groundglass.kernels.threads import for_each
from groundglass.optics.entries import Entries
from groundglass.optics.medium import MatrixKind, Medium, Picked
from groundglass.optics.sealed import Seed


class DenseMedium(Medium):
    """U as integers: real + 1j * imaginary, each a Gaussian of std `ENTRY_STD`, rounded, cut at +-127.

    Integers make every sum over binary inputs exact, so a measurement does not depend on batch, kernel or
    machine, and take 2 bytes a complex entry instead of complex64's 8.

    Args:
        seed: the secret.
        tiles: int8 [tiles, N, TILE_LANES], see `kernels.products.Tiles`. Outputs past M are zero.
        out_features: M.
        matrix: "complex", or "real" (the imaginary part is zero and not held).
        draw: the recipe that made the tiles. 1 is that of the first device files, which stay readable.

    Attributes:
        parts: 2, real and imaginary; 1 when real.
        narrow: so many inputs in a row, or fewer, have sums that fit int16, whatever the bits.
    """

    __slots__ = ("draw", "narrow", "parts", "tiles")

    kind = "dense"

    def __init__(
        self,
        seed: Seed,
        tiles: npt.NDArray[np.int8],
        out_features: int,
        matrix: MatrixKind = "complex",
        draw: int = Medium.draw,
    ) -> None:
        super().__init__(seed, tiles.shape[1], out_features, matrix)
        self.tiles, self.draw = tiles, draw
        self.parts = 2 if matrix == "complex" else 1
        self.narrow = _narrow(tiles)

    @classmethod
    def make(
        cls, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind, draw: int = Medium.draw
    ) -> "DenseMedium":
        """Draw all of U, by this recipe."""
        entries = Entries(seed, in_features, out_features, matrix)
        tiles = np.empty((entries.tiles, in_features, TILE_LANES), dtype=np.int8)
        for_each(range(entries.tiles), partial(_fill, entries, draw == 1, tiles))
        return cls(seed, tiles, out_features, matrix, draw)

    def intensities(self, bits: Tensor) -> Tensor:
        return fastest_kernel(len(bits), self).intensities(bits, self)

    def readings(self, bits: Tensor, *, gain: float, top: int) -> Tensor:
        return fastest_kernel(len(bits), self).readings(bits, self, gain=gain, top=top)

    def region(self, outputs: npt.NDArray[np.int64]) -> Medium:
        width = TILE_LANES // self.parts
        tiles, place = np.unique(outputs // width, return_inverse=True)
        some = DenseMedium(self.seed, self.tiles[tiles], len(tiles) * width, self.matrix, self.draw)
        return Picked(some, place * width + outputs % width)

    def dense(self) -> npt.NDArray[np.complex64]:
        lanes = self.tiles.reshape(len(self.tiles), self.in_features, self.parts, -1)
        rows = lanes.transpose(2, 0, 3, 1).reshape(self.parts, -1, self.in_features)[:, : self.out_features]
        dense = rows[0].astype(np.complex64)
        if self.parts == 2:
            dense.imag = rows[1]
        return dense

    @property
    def nbytes(self) -> int:
        return int(self.tiles.nbytes)


def _fill(entries: Entries, by_shake: bool, tiles: npt.NDArray[np.int8], tile: int) -> None:
    (entries.fill_by_shake if by_shake else entries.fill)(tile, tiles[tile])


def _narrow(tiles: npt.NDArray[np.int8]) -> int:
    """How many inputs' sum int16 holds: 2048 Gaussian ones, by a wide margin. That is checked here, not assumed."""
    for tile in tiles:
        for start in range(0, len(tile), 2048):
            rows = tile[start : start + 2048]
            largest = np.maximum(rows, 0).sum(0, dtype=np.int32).max()
            smallest = np.minimum(rows, 0).sum(0, dtype=np.int32).min()
            if max(largest, -smallest) >= 2**15:
                return 256  # 256 * 127 < 2^15, always
    return 2048
