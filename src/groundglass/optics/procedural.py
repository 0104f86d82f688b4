"""A medium whose matrix is never in memory: its entries are made for each measurement, a block at a time."""

from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from groundglass.kernels import jit
from groundglass.kernels.memory import Output, aligned
from groundglass.kernels.products import TILE_LANES, codes_of, group_of, scratch, whole_passes
from groundglass.kernels.threads import for_each
from groundglass.optics.entries import Entries, gaussian_table
from groundglass.optics.medium import CompiledMedium, MatrixKind, Medium, Picked
from groundglass.optics.sealed import Seed

# Inputs that are drawn, summed in int16 and forgotten at a time. Of 1024 Gaussian integers the positive ones sum to
# 13,000 +- 600 and the negative ones to as much: 2^15 is 33 standard deviations away.
_SPAN = 1024
# Rows that one drawing of the entries serves: few enough for their sums to stay in cache, enough to make drawing cheap.
_ROWS = 4096
# Entries between two looks at whether the user wants to stop: about a tenth of a second.
_PIECE = 2**27
# Below this share of inputs that are on in any row of the batch, the others are left out.
_SPARSE = 0.9


class ProceduralMedium(CompiledMedium):
    """The same U as `DenseMedium`'s, bit for bit, at any N and M: 64 KiB of it at a time are in memory.

    A measurement makes N M entries, whatever the batch (up to 4096 rows): a row of a large batch is cheap, a row alone is
    not. Where many inputs are off in every row of a batch, those are not drawn. Sums are integers, in int16 over 1024
    inputs and in int32 over all.

    Args:
        tiles: int64; the tiles that are seen, in this order. None: all. The other arguments are those of `Medium`.
    """

    __slots__ = ("_entries", "_tiles")

    kind = "procedural"

    def __init__(
        self,
        seed: Seed,
        in_features: int,
        out_features: int,
        matrix: MatrixKind = "complex",
        tiles: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self._entries = Entries(seed, in_features, out_features, matrix)
        self._tiles = np.arange(self._entries.tiles) if tiles is None else tiles
        seen = out_features if tiles is None else len(tiles) * self._entries.tile_outputs
        super().__init__(seed, in_features, seen, matrix)

    def region(self, outputs: npt.NDArray[np.int64]) -> Medium:
        entries, width = self._entries, self._entries.tile_outputs
        tiles, place = np.unique(outputs // width, return_inverse=True)
        some = ProceduralMedium(self.seed, entries.in_features, entries.out_features, self.matrix, self._tiles[tiles])
        return Picked(some, place * width + outputs % width)

    def dense(self) -> npt.NDArray[np.complex64]:
        width = self._entries.tile_outputs
        dense = np.empty((len(self._tiles) * width, self.in_features), dtype=np.complex64)
        tile = np.empty((self.in_features, TILE_LANES), dtype=np.int8)
        for position, number in enumerate(self._tiles.tolist()):
            self._entries.fill(number, tile)
            lanes = tile.reshape(self.in_features, self._entries.parts, width).transpose(1, 2, 0)
            rows = dense[position * width : (position + 1) * width]
            rows.real = lanes[0]
            rows.imag = lanes[1] if self._entries.parts == 2 else 0
        return dense[: self.out_features]

    @property
    def nbytes(self) -> int:
        return 0

    def _fill(self, bits: npt.NDArray[np.uint8], out: Output) -> None:
        for start in range(0, len(bits), _ROWS):
            rows = slice(start, start + _ROWS)
            lit = np.flatnonzero(bits[rows].any(axis=0)).astype(np.int32)
            if len(lit) < _SPARSE * self.in_features:
                some = np.ascontiguousarray(bits[rows][:, lit])
            else:
                lit, some = np.arange(self.in_features, dtype=np.int32), bits[rows]
            group = group_of(len(some))
            span = whole_passes(_SPAN, group)
            codes = codes_of(some, group, span)
            size = max(
                1, min(_PIECE // (TILE_LANES * max(1, len(lit))), len(self._tiles) // (4 * torch.get_num_threads()))
            )
            pieces = [slice(first, first + size) for first in range(0, len(self._tiles), size)]
            for_each(pieces, partial(self._fill_tiles, lit, codes, group, span, out[rows]))

    def _fill_tiles(
        self,
        inputs: npt.NDArray[np.int32],
        codes: npt.NDArray[np.uint8],
        group: int,
        span: int,
        out: Output,
        tiles: slice,
    ) -> None:
        jit.lookup.measure_drawn(
            *(gaussian_table(), self._entries.keys(self._tiles[tiles]), tiles.start),
            *(inputs, codes, group, span, self._entries.parts),
            aligned(span * TILE_LANES, np.int8).reshape(1, span, TILE_LANES),
            *scratch(codes.shape[1], group),
            *out.arguments,
        )
