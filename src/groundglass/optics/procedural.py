"""A medium whose matrix is never in memory: its entries are made for each measurement, a block at a time."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.kernels import jit
from groundglass.kernels.memory import Output, aligned
from groundglass.kernels.products import TILE_LANES, Codes
from groundglass.kernels.tensor.philox import drawn_lanes
from groundglass.kernels.threads import for_each
from groundglass.optics.tiled import TiledMedium, gaussian_table

# Inputs that are drawn, summed in int16 and forgotten at a time. Of 1024 Gaussian integers the positive ones sum to
# 13,000 +- 600 and the negative ones to as much: 2^15 is 33 standard deviations away.
_SPAN = 1024
# Rows that one drawing of the entries serves: few enough for their sums to stay in cache, enough to make drawing cheap.
_ROWS = 4096
# Entries between two looks at whether the user wants to stop: about a tenth of a second.
_PIECE = 2**27
# Below this share of inputs that are on in any row of the batch, the others are left out.
_SPARSE = 0.9


class ProceduralMedium(TiledMedium):
    """The same U as `DenseMedium`'s, bit for bit, at any N and M: 64 KiB of it at a time are in memory.

    A measurement makes N M entries, whatever the batch (up to 4096 rows): a row of a large batch is cheap, a row alone is
    not. Where many inputs are off in every row of a batch, those are not drawn. Sums are integers, in int16 over 1024
    inputs and in int32 over all.
    """

    __slots__ = ()

    kind = "procedural"
    entries_there = 2**24

    @property
    def nbytes(self) -> int:
        return 0

    @property
    def _bytes_there(self) -> int:
        # The table, the keys, and what the drawing of some tiles works in: some 30 bytes an entry.
        return 2**16 + 32 * len(self.numbers) + 32 * self.entries_there

    def _placed(self, device: torch.device) -> tuple[Tensor, ...]:
        """The table of the draw and the keys of the tiles; entries are made for every measurement, there as here."""
        keys = self.keys(self.numbers).astype(np.int64)
        return torch.from_numpy(gaussian_table()).to(device), torch.from_numpy(keys).to(device)

    def _lanes(self, held: tuple[Tensor, ...], tiles: slice, inputs: slice) -> Tensor:
        table, keys = held
        return drawn_lanes(table, keys[tiles], inputs.start, inputs.stop)

    def _each_tile(self) -> Iterator[npt.NDArray[np.int8]]:
        tile = np.empty((self.in_features, TILE_LANES), dtype=np.int8)
        for number in self.numbers.tolist():
            self.fill(number, tile)
            yield tile

    def _filled(self, bits: Tensor, out: Output) -> Tensor:
        return super()._filled(bits, out) if jit.available() else self._filled_plainly(bits, out)

    def _fill(self, batch: Tensor, out: Output) -> None:
        bits = batch.numpy()
        for start in range(0, len(bits), _ROWS):
            rows = slice(start, start + _ROWS)
            lit = np.flatnonzero(bits[rows].any(axis=0)).astype(np.int32)
            if len(lit) < _SPARSE * self.in_features:
                some = np.ascontiguousarray(bits[rows][:, lit])
            else:
                lit, some = np.arange(self.in_features, dtype=np.int32), bits[rows]
            codes = Codes(some, _SPAN)
            size = max(
                1, min(_PIECE // (TILE_LANES * max(1, len(lit))), len(self.numbers) // (4 * torch.get_num_threads()))
            )
            pieces = [slice(first, first + size) for first in range(0, len(self.numbers), size)]
            for_each(pieces, partial(self._fill_tiles, lit, codes, out[rows]))

    def _fill_tiles(self, inputs: npt.NDArray[np.int32], codes: Codes, out: Output, tiles: slice) -> None:
        jit.lookup.measure_drawn(
            *(gaussian_table(), self.keys(self.numbers[tiles]), tiles.start),
            *(inputs, codes.numbers, codes.group, codes.span, self.parts),
            aligned(codes.span * TILE_LANES, np.int8).reshape(1, codes.span, TILE_LANES),
            *(*codes.scratch(), *out.arguments),
        )
