"""The draw: how the secret becomes the integers of U, any block of them at any time."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from functools import cache
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.core.sealed import Seed
from groundglass.kernels import jit
from groundglass.kernels.memory import Output, TensorOutput
from groundglass.kernels.products import TILE_LANES
from groundglass.kernels.tensor.philox import drawn_lanes
from groundglass.kernels.tensor.products import fastest_product
from groundglass.optics.medium import MatrixKind, Medium

# Standard deviation of an entry (of its real and of its imaginary part), in units of the integer. Rounding adds
# an error of sqrt(1/12) = 0.29, 0.9% of it. A Gaussian leaves +-127 in 7 of 100,000 draws.
ENTRY_STD = 32
# Inputs of a block of the first recipe, which could only be drawn whole.
_BLOCK_INPUTS = 1024
# Inputs of a tile that are drawn at once without compiled code.
_DRAWN = 2**13
# Sums that a card works on at a time.
_SUMS = 2**25


class TiledMedium(Medium):
    """U as tiles of integers, each a pure function of (secret, kind of matrix, sizes, tile, input).

    Every tile has 128 bits of its own from the secret (SHAKE-128): key and half of the counter of a Philox4x32-10
    generator (Salmon et al., 2011), whose other half counts inputs and lanes. 16 bits of its output make a number, through the
    inverse of the Gaussian's cumulative distribution, tabulated at 2^16 points. So any inputs of any tile can be made again
    in any order, on any machine, with any version of numpy or torch.

    Rows of U can be retrieved from readings one at a time, and Philox is no cipher: an attacker who has rows of a tile
    might work out the key of that tile. SHAKE keeps that key from giving more than the tile's other outputs.

    Args:
        seed: 128 bits of entropy make it a secret; a small number can be found by trying.
        in_features, out_features: N and M.
        matrix: "complex" or "real".

    Attributes:
        numbers: of the tiles that are seen, int64. The last tile may have lanes for outputs past M, which are not read.
        entries_there: that a card works on at a time.
    """

    __slots__ = ("_columns", "_whole", "numbers")

    entries_there = 2**26

    def __init__(self, seed: Seed, in_features: int, out_features: int, matrix: MatrixKind = "complex") -> None:
        super().__init__(seed, in_features, out_features, matrix)
        self.numbers = np.arange(-(-out_features // self.tile_outputs))
        # Of a region: the outputs that are seen, among all of its tiles. Its tiles are drawn for all M of the device.
        self._columns: npt.NDArray[np.int64] | None = None
        self._whole = out_features

    @property
    def tile_outputs(self) -> int:
        """Outputs of a tile."""
        return TILE_LANES // self.parts

    def keys(self, tiles: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """Key and half of the counter of these tiles' generators: uint32 [tiles, 4]. As good as the tiles themselves."""
        raw = b"".join(self.seed.stream(f"entries/{self._name}/{tile}", 16) for tile in tiles.tolist())
        return np.frombuffer(raw, dtype="<u4").astype(np.uint32).reshape(-1, 4)

    def fill(self, tile: int, out: npt.NDArray[np.int8]) -> None:
        """All inputs of a tile: int8 `out` [N, TILE_LANES]; the lanes are [parts, outputs of a tile]."""
        if self.draw == 1:
            self._fill_by_shake(tile, out)
        elif jit.available():
            inputs = np.arange(self.in_features, dtype=np.int32)
            jit.philox.fill(gaussian_table(), self.keys(np.array([tile]))[0], inputs, out)
        else:
            table, keys = (
                torch.from_numpy(gaussian_table()),
                torch.from_numpy(self.keys(np.array([tile])).astype(np.int64)),
            )
            for first in range(0, self.in_features, _DRAWN):
                last = min(first + _DRAWN, self.in_features)
                out[first:last] = drawn_lanes(table, keys, first, last).t().numpy()
        # No light at outputs past M.
        out.reshape(len(out), self.parts, -1)[:, :, max(0, self._whole - tile * self.tile_outputs) :] = 0

    def region(self, outputs: npt.NDArray[np.int64]) -> Self:
        """Costs the tiles that hold the outputs."""
        if self._columns is not None:
            outputs = self._columns[outputs]
        places, place = np.unique(outputs // self.tile_outputs, return_inverse=True)
        part = self._twin(len(outputs))
        part._columns = place * self.tile_outputs + outputs % self.tile_outputs
        part._keep(places)
        return part

    def dense(self) -> npt.NDArray[np.complex64]:
        width = self.tile_outputs
        dense = np.zeros((len(self.numbers) * width, self.in_features), dtype=np.complex64)
        for rows, tile in zip(dense.reshape(-1, width, self.in_features), self._each_tile(), strict=True):
            lanes = tile.reshape(self.in_features, self.parts, width).transpose(1, 2, 0)
            rows.real = lanes[0]
            if self.parts == 2:
                rows.imag = lanes[1]
        return dense[: self.out_features] if self._columns is None else dense[self._columns]

    def _filled(self, bits: Tensor, out: Output) -> Tensor:
        if self._columns is None:
            self._fill(bits, out)
            return out.tensor
        whole = out.of_width(len(self.numbers) * self.tile_outputs)
        self._fill(bits, whole)
        return whole.tensor[:, torch.from_numpy(self._columns)]

    def _put(self, bits: Tensor, held: tuple[Tensor, ...], out: TensorOutput) -> None:
        product = fastest_product(len(bits), self.in_features, bits.device)
        columns = None if self._columns is None else torch.from_numpy(self._columns).to(bits.device, non_blocking=True)
        whole = out if columns is None else out.of_width(len(self.numbers) * self.tile_outputs)
        span = min(self.in_features, product.inputs)
        step = max(1, min(_SUMS // max(1, len(bits)), self.entries_there // span) // TILE_LANES)
        for first in range(0, len(self.numbers), step):
            tiles = slice(first, first + step)
            total = None
            for low in range(0, self.in_features, span):
                inputs = slice(low, min(low + span, self.in_features))
                sums = product.sums(bits[:, inputs], self._lanes(held, tiles, inputs)).to(torch.float64)
                total = sums if total is None else total.add_(sums)
            assert total is not None  # a device has inputs
            squares = total.square_().unflatten(1, (-1, self.parts, self.tile_outputs))
            start = first * self.tile_outputs
            light = squares.sum(2).flatten(1)[:, : whole.tensor.shape[1] - start]
            whole.put(slice(start, start + light.shape[1]), light)
        if columns is not None:
            torch.index_select(whole.tensor, 1, columns, out=out.tensor)

    @property
    def _name(self) -> str:
        return f"{self.matrix}/{self.in_features}x{self._whole}"

    def _fill_by_shake(self, tile: int, out: npt.NDArray[np.int8]) -> None:
        """The first recipe, of device files of format 1: 16 bits of SHAKE-128 for every number."""
        table = gaussian_table()
        for start in range(0, self.in_features, _BLOCK_INPUTS):
            block = out[start : start + _BLOCK_INPUTS]
            raw = self.seed.stream(f"matrix/{self._name}/{tile}/{start}", 2 * block.size)
            draws = np.frombuffer(raw, dtype="<u2").reshape(block.shape)
            # mode="wrap" skips the check of the bounds: 16 bits cannot leave a table of 2^16.
            np.take(table, draws, mode="wrap", out=block)

    @abstractmethod
    def _fill(self, bits: Tensor, out: Output) -> None:
        """Measure all outputs of the tiles."""

    @abstractmethod
    def _lanes(self, held: tuple[Tensor, ...], tiles: slice, inputs: slice) -> Tensor:
        """These inputs of some tiles on a card, int8 [lanes of the tiles, inputs]."""

    def _keep(self, places: npt.NDArray[np.int64]) -> None:
        """Of the tiles these alone."""
        self.numbers = self.numbers[places]

    @abstractmethod
    def _each_tile(self) -> Iterator[npt.NDArray[np.int8]]:
        """The tiles in their order, int8 [N, TILE_LANES]."""


@cache
def gaussian_table() -> npt.NDArray[np.int8]:
    """int8 [65536]: 16 uniform bits -> a Gaussian of std `ENTRY_STD`, rounded, cut at +-127.

    Every integer is there as often as the Gaussian asks for, to the nearest 2^-16.
    """
    edges = ((k + 0.5) / ENTRY_STD for k in range(-127, 127))
    below = [round(2**16 * 0.5 * math.erfc(-edge / math.sqrt(2))) for edge in edges]
    return np.repeat(np.arange(-127, 128, dtype=np.int8), np.diff([0, *below, 2**16]))
