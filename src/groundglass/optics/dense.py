"""A medium whose matrix lies in memory: complex Gaussian entries, held as small integers."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.core.sealed import Seed
from groundglass.core.secret_memory import secret_empty
from groundglass.kernels.kernel_choice import fastest_kernel
from groundglass.kernels.memory import Output
from groundglass.kernels.products import TILE_LANES
from groundglass.kernels.threads import for_each
from groundglass.optics.medium import MatrixKind, Medium
from groundglass.optics.tiled import TiledMedium

# Entries that go to a card at a time.
_PIECE = 2**26


class DenseMedium(TiledMedium):
    """U as integers: real + 1j * imaginary, each a Gaussian of std `ENTRY_STD`, rounded, cut at +-127.

    Integers make every sum over binary inputs exact, so a measurement does not depend on batch, kernel or
    machine, and take 2 bytes a complex entry instead of complex64's 8.

    Args:
        draw: the recipe. 1 is that of the first device files, which stay readable. The others are those of `Medium`.

    Attributes:
        tiles: int8 [tiles, N, TILE_LANES], see `kernels.products.Tiles`. Outputs past M are zero.
        narrow: so many inputs in a row, or fewer, have sums that fit int16, whatever the bits.
    """

    __slots__ = ("draw", "narrow", "tiles")

    kind = "dense"

    def __init__(
        self,
        seed: Seed,
        in_features: int,
        out_features: int,
        matrix: MatrixKind = "complex",
        draw: int = Medium.draw,
    ) -> None:
        super().__init__(seed, in_features, out_features, matrix)
        self.draw = draw
        self.tiles = secret_empty((len(self.numbers), in_features, TILE_LANES), np.int8)
        for_each(range(len(self.tiles)), lambda tile: self.fill(tile, self.tiles[tile]))
        self.narrow = _narrow(self.tiles)

    @property
    def nbytes(self) -> int:
        return int(self.tiles.nbytes)

    def _fill(self, bits: Tensor, out: Output) -> None:
        fastest_kernel(len(bits), self).fill(bits, self, out)

    @property
    def _bytes_there(self) -> int:
        return self.tiles.nbytes + min(2 * self.tiles.nbytes, 2 * _PIECE)

    def _placed(self, device: torch.device) -> tuple[Tensor, ...]:
        """int8 [lanes, N]: a lane's inputs side by side, as products of cards like them."""
        count, inputs, lanes = self.tiles.shape
        planes = torch.empty(count, lanes, inputs, dtype=torch.int8, device=device)
        step = max(1, _PIECE // (inputs * lanes))
        for first in range(0, count, step):
            planes[first : first + step] = torch.from_numpy(self.tiles[first : first + step]).to(device).transpose(1, 2)
        return (planes.flatten(0, 1),)

    def _lanes(self, held: tuple[Tensor, ...], tiles: slice, inputs: slice) -> Tensor:
        (planes,) = held
        return planes[tiles.start * TILE_LANES : tiles.stop * TILE_LANES, inputs]

    def _keep(self, places: npt.NDArray[np.int64]) -> None:
        super()._keep(places)
        shape = len(places), *self.tiles.shape[1:]
        # mode="clip": without a copy on the way. All places are there.
        self.tiles = np.take(self.tiles, places, axis=0, out=secret_empty(shape, np.int8), mode="clip")

    def _each_tile(self) -> Iterator[npt.NDArray[np.int8]]:
        return iter(self.tiles)


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
