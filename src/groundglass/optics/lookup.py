"""Sums by table look-up: the fastest exact kernel for processors without integer matrix units."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.optics._threads import for_each
from groundglass.optics.entries import TILE_LANES
from groundglass.optics.kernels import Kernel
from groundglass.optics.matrix import SecretMatrix

# Rows whose sums stay in a level-2 cache while the tables go by.
_ROWS = 1024
NO_READINGS = np.empty((0, 0), dtype=np.uint8)
NO_LIGHT = np.empty((0, 0), dtype=np.float64)


class LookupTables(Kernel):
    """Adds table entries instead of multiplying (the "method of four Russians").

    Inputs are taken in groups of up to 6 bits. For 64 lanes of the matrix and a group, all 2^6 partial sums are
    tabulated; then every row of the batch adds the one entry that its bits name. That is one int16 addition for
    6 multiply-adds, in cache, and a table costs 2^6 additions for the whole batch.

    int16 is exact because `SecretMatrix.narrow` inputs have sums below 2^15; more inputs are summed in such
    chunks, in int32. Squares, gain, rounding and clipping happen on the tile that is in cache.
    """

    name = "lookup tables"

    def intensities(self, bits: Tensor, matrix: SecretMatrix) -> Tensor:
        out = np.empty((len(bits), matrix.out_features), dtype=np.float64)
        _run(bits.numpy(), matrix, 1.0, 0, NO_READINGS, out)
        return torch.from_numpy(out)

    def readings(self, bits: Tensor, matrix: SecretMatrix, *, gain: float, top: int) -> Tensor:
        out = np.empty((len(bits), matrix.out_features), dtype=np.uint8)
        _run(bits.numpy(), matrix, gain, top, out, NO_LIGHT)
        return torch.from_numpy(out)


def _run(
    bits: npt.NDArray[np.uint8],
    matrix: SecretMatrix,
    gain: float,
    top: int,
    readings: npt.NDArray[np.uint8],
    light: npt.NDArray[np.float64],
) -> None:
    # Several pieces a thread, so that one that is held up does not hold up all.
    piece = max(1, len(matrix.tiles) // (4 * torch.get_num_threads()))
    pieces = [slice(first, first + piece) for first in range(0, len(matrix.tiles), piece)]
    for start in range(0, len(bits), _ROWS):
        rows = slice(start, start + _ROWS)
        group = group_of(len(bits[rows]))
        span = _span(matrix, group)
        codes = codes_of(bits[rows], group, span)
        for_each(pieces, partial(_tiles, matrix, codes, group, span, gain, top, readings[rows], light[rows]))


def _tiles(
    matrix: SecretMatrix,
    codes: npt.NDArray[np.uint8],
    group: int,
    span: int,
    gain: float,
    top: int,
    readings: npt.NDArray[np.uint8],
    light: npt.NDArray[np.float64],
    tiles: slice,
) -> None:
    jit = _jit()
    batch = codes.shape[1]
    begin, end, _ = tiles.indices(len(matrix.tiles))
    jit.measure(
        *(matrix.tiles, begin, end, codes, group, span, matrix.parts, gain, float(top)),
        aligned(jit.TABLES * 2**group * TILE_LANES, np.int16),
        aligned(batch * TILE_LANES, np.int16),
        aligned(batch * TILE_LANES, np.int32),
        *(readings, light),
    )


def _jit() -> Any:
    # Here, not above: numba takes as long to import as torch, and many programs never measure.
    from groundglass.optics import _lookup_jit

    return _lookup_jit


def group_of(rows: int) -> int:
    """Bits of a group: a table of 2^group sums has to pay for itself over the rows."""
    for group, least in ((6, 384), (5, 64), (4, 16)):
        if rows >= least:
            return group
    return 2


def _span(matrix: SecretMatrix, group: int) -> int:
    """Inputs that are summed in int16 at a time: all, or whole passes over the tables."""
    unit = _jit().TABLES * group
    return matrix.in_features if matrix.in_features <= matrix.narrow else matrix.narrow // unit * unit


def codes_of(bits: npt.NDArray[np.uint8], group: int, span: int) -> npt.NDArray[np.uint8]:
    """The bits of every group as a number: uint8 [passes, batch, TABLES]; a chunk of `span` inputs fills passes."""
    jit = _jit()
    full, rest = divmod(bits.shape[1], span)
    unit = jit.TABLES * group
    passes = full * -(-span // unit) + -(-rest // unit)
    codes = np.zeros((passes, len(bits), jit.TABLES), dtype=np.uint8)
    jit.pack(bits, group, codes)
    return codes


def aligned(count: int, dtype: Any) -> npt.NDArray[Any]:
    """Uninitialised, and aligned to 64 bytes, as the vectors of the compiled part are."""
    size = count * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype)
