"""Exact products of bits with a matrix of small integers: several ways, one result."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.kernels import jit
from groundglass.kernels.memory import Output, aligned
from groundglass.kernels.threads import for_each

#: Numbers of a tile, side by side in memory: 32 outputs' real parts, then their imaginary parts; or 64 real outputs. Part
#: of the recipe that makes U from a seed: another value is another matrix.
TILE_LANES = 64
#: Tables that one pass over the rows adds up. Four of 2^6 sums of 64 lanes are 32 KiB, a level-1 cache.
TABLES = 4
# Rows whose sums stay in a level-2 cache while the tables go by.
_ROWS = 1024
# Entries of the matrix, times rows, that are worth a piece of their own: threads take a tenth of a millisecond to start.
_STARTING = 2**22


class Tiles(Protocol):
    """A matrix of integers, as the kernels read it.

    Attributes:
        tiles: int8 [tiles, N, TILE_LANES]; the lanes are [parts, outputs of a tile], the parts 2 or, when real, 1.
        narrow: so many inputs in a row, or fewer, have sums that fit int16, whatever the bits.
    """

    @property
    def tiles(self) -> npt.NDArray[np.int8]: ...

    @property
    def parts(self) -> int: ...

    @property
    def narrow(self) -> int: ...


class Kernel(ABC):
    """A way to compute |Ux|^2 for the bits of a batch.

    Every kernel gives the same integers, whatever the batch and the number of threads: which one is used can change
    the time it takes and nothing else.
    """

    name: str

    @abstractmethod
    def fill(self, bits: Tensor, matrix: Tiles, out: Output) -> None:
        """Measure uint8 bits [batch, N], contiguous, on the CPU; the first lanes that `out` has room for."""


class _Gemm(Kernel):
    """A matrix product over some tiles at a time, so that the widened copy of the matrix stays small."""

    tiles = 8
    # Inputs whose sum the product can take.
    inputs: int

    @abstractmethod
    def product(self, bits: Tensor, weights: Tensor) -> Tensor:
        """bits [batch, n], int8 weights [n, lanes] -> exact sums [batch, lanes]."""

    def fill(self, bits: Tensor, matrix: Tiles, out: Output) -> None:
        count, in_features, _ = matrix.tiles.shape
        outputs = TILE_LANES // matrix.parts
        for start in range(0, count, self.tiles):
            span = torch.from_numpy(matrix.tiles[start : start + self.tiles]).transpose(0, 1)
            total = torch.zeros(len(bits), span.shape[1] * TILE_LANES, dtype=torch.float64, device="cpu")
            for low in range(0, in_features, self.inputs):
                high = low + self.inputs
                total += self.product(bits[:, low:high], span[low:high].flatten(1))
            squares = total.square_().view(len(bits), span.shape[1], matrix.parts, outputs)
            out.put(start * outputs, squares.sum(2).flatten(1))


class FloatGemm(_Gemm):
    """float32 products of integers: every partial sum, in whatever order, is an integer below 2^24, so exact.

    Settings that let a float32 product use TF32 or bfloat16 inputs change nothing: 7 bits and a sign fit both.
    """

    name = "float32 gemm"
    inputs = 2**24 // 127

    def product(self, bits: Tensor, weights: Tensor) -> Tensor:
        # Autocast would round the sums to bfloat16.
        with torch.autocast("cpu", enabled=False):
            return bits.float() @ weights.float()


class Int8Gemm(_Gemm):
    """`torch._int_mm`: int8 products summed in int32. Fast with integer matrix units (AMX, VNNI), slow without."""

    name = "int8 gemm"
    inputs = 2**31 // 127
    tiles = 16

    def product(self, bits: Tensor, weights: Tensor) -> Tensor:
        return torch._int_mm(bits.view(torch.int8), weights)


class LookupTables(Kernel):
    """Adds table entries instead of multiplying (the "method of four Russians"): the fastest where there are no integer
    matrix units.

    Inputs are taken in groups of up to 6 bits. For 64 lanes of the matrix and a group, all 2^6 partial sums are
    tabulated; then every row of the batch adds the one entry that its bits name. That is one int16 addition for
    6 multiply-adds, in cache, and a table costs 2^6 additions for the whole batch.

    int16 is exact because `narrow` inputs have sums below 2^15; more inputs are summed in such chunks, in int32. Squares,
    gain, rounding and clipping happen on the tile that is in cache.
    """

    name = "lookup tables"

    def fill(self, bits: Tensor, matrix: Tiles, out: Output) -> None:
        count = len(matrix.tiles)
        # Several pieces a thread, so that one that is held up does not hold up all.
        piece = max(1, count // (4 * torch.get_num_threads()))
        pieces = [(first, min(first + piece, count)) for first in range(0, count, piece)]
        for start in range(0, len(bits), _ROWS):
            rows = slice(start, start + _ROWS)
            codes = Codes(bits.numpy()[rows], matrix.narrow)
            for_each(pieces, partial(_measure, matrix, codes, out[rows]))


def _measure(matrix: Tiles, codes: "Codes", out: Output, tiles: tuple[int, int]) -> None:
    jit.lookup.measure(
        *(matrix.tiles, *tiles, codes.numbers, codes.group, codes.span, matrix.parts),
        *(*codes.scratch(), *out.arguments),
    )


class MaskedSum(Kernel):
    """Adds up the rows of the matrix whose bits are on: the fastest for a few rows of bits.

    One alone is bound by the bytes of the matrix. A product has to widen them first, and tables cost additions for every
    group of inputs before they save one. So the first row of bits goes through a tile in the order of memory, and masks
    what is off; the tile is in cache then, and the others add what their bits name, half as many rows.

    Sums of `narrow` inputs are in int16 and stay in registers; of all, in int32.
    """

    name = "masked sum"

    def fill(self, bits: Tensor, matrix: Tiles, out: Output) -> None:
        if not len(bits):
            return
        count, inputs, others = len(matrix.tiles), bits.shape[1], len(bits) - 1
        on = np.empty((others, inputs), dtype=np.int32)
        ends = np.empty((others, -(-inputs // matrix.narrow)), dtype=np.int64)
        if others:
            jit.rows.places(bits.numpy()[1:], matrix.narrow, on, ends)
        least = -(-_STARTING * count // max(1, matrix.tiles.size * len(bits)))
        piece = max(1, least, count // (4 * torch.get_num_threads()))
        for_each(
            [(first, min(first + piece, count)) for first in range(0, count, piece)],
            partial(_add_rows, matrix, -bits.numpy()[0].astype(np.int32), on, ends, out),
        )


def _add_rows(
    matrix: Tiles,
    masks: npt.NDArray[np.int32],
    on: npt.NDArray[np.int32],
    ends: npt.NDArray[np.int64],
    out: Output,
    tiles: tuple[int, int],
) -> None:
    jit.rows.measure(matrix.tiles, *tiles, masks, matrix.narrow, on, ends, matrix.parts, *out.arguments)


class Codes:
    """The bits of a batch, [batch, N], as numbers of a few bits each: which entries of the tables they name.

    Attributes:
        group: bits of a number. A table of 2^group sums has to pay for itself over the rows.
        span: inputs that are summed in int16 at a time, at most `narrow`: all, or whole passes over the tables.
        numbers: uint8 [passes, batch, TABLES]; `span` inputs fill passes.
    """

    def __init__(self, bits: npt.NDArray[np.uint8], narrow: int) -> None:
        batch, inputs = bits.shape
        self.group = group_of(batch)
        unit = TABLES * self.group
        self.span = inputs if inputs <= narrow else narrow // unit * unit
        full, rest = divmod(inputs, max(1, self.span))
        passes = full * -(-self.span // unit) + -(-rest // unit)
        self.numbers = np.zeros((passes, batch, TABLES), dtype=np.uint8)
        jit.lookup.pack(bits, self.group, self.numbers)

    def scratch(self) -> tuple[npt.NDArray[Any], ...]:
        """What a look-up works in: tables, and the sums of a tile in int16 and int32."""
        batch = self.numbers.shape[1]
        sizes = (TABLES * 2**self.group, np.int16), (batch, np.int16), (batch, np.int32)
        return tuple(aligned(rows * TILE_LANES, dtype) for rows, dtype in sizes)


def group_of(rows: int) -> int:
    """Bits of a group for a batch of so many rows."""
    for group, least in ((6, 384), (5, 64), (4, 16)):
        if rows >= least:
            return group
    return 2
