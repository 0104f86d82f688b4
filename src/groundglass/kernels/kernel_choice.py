"""Which kernel to use. All give the same bits, so this is a question of speed alone, and a clock may answer it."""

import threading
import time
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.kernels import jit
from groundglass.kernels.memory import Output
from groundglass.kernels.products import TILE_LANES, FloatGemm, Int8Gemm, Kernel, LookupTables, MaskedSum, Tiles

_FLOAT = FloatGemm()
# Multiply-adds below which compiling, or loading, or timing another kernel costs more than it saves.
_SMALL = 2**27
# Batches that a masked sum may win have at most so many bits in their number of rows: up to 64 rows or so.
_FEW_LOG2 = 6
_TURNS = 4
_lock = threading.Lock()


def fastest_kernel(rows: int, matrix: Tiles) -> Kernel:
    """The fastest exact kernel of this machine for such a batch, found once for each class of sizes and kept.

    Timing it makes the choice, and only the choice, differ from run to run: every kernel gives the same integers.
    """
    # A row costs its own products; a call costs the widening of the whole matrix besides.
    if (rows + 32) * matrix.tiles.size < _SMALL:
        return _FLOAT
    size = (min(rows, 1024).bit_length(), min(matrix.tiles.shape[1], 4096).bit_length(), torch.get_num_threads())
    with _lock:
        return _race(*size)


@cache
def _race(rows_log2: int, inputs_log2: int, threads: int) -> Kernel:
    """The winner on a public matrix, wide enough for what a call costs beside its products not to decide."""
    inputs = 3 * 2**inputs_log2 // 4
    tiles = 64 if rows_log2 < 7 else 16
    public = _public_matrix(inputs, tiles * threads)
    bits = _any_bits(max(1, 3 * 2**rows_log2 // 4), inputs)
    candidates: list[Kernel] = [_FLOAT]
    if jit.available():
        candidates.append(LookupTables())
        if rows_log2 <= _FEW_LOG2:
            candidates.append(MaskedSum())
    if _int8_is_worth_a_look():
        candidates.append(Int8Gemm())
    # Only those that give this machine's float32 products: compiled code and matrix units are others' work.
    right = _light(_FLOAT, bits, public)
    candidates = [
        kernel for kernel in candidates if kernel is _FLOAT or torch.equal(_light(kernel, bits, public), right)
    ]
    # In turns: another process that comes by slows all of them, not one.
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(_TURNS):
        for kernel in candidates:
            best[kernel] = min(best[kernel], _seconds(kernel, bits, public, 1))
    return min(candidates, key=best.__getitem__)


@cache
def _int8_is_worth_a_look() -> bool:
    """Whether `torch._int_mm` is there, right, and not hopeless. It is the fastest of all on some processors, and some 30
    times slower than float32 on others, where it would make a race very long."""
    matrix = _public_matrix(512, 4)
    bits = _any_bits(32, 512)
    try:
        right = torch.equal(*(_light(kernel, bits, matrix) for kernel in (Int8Gemm(), _FLOAT)))
    except (RuntimeError, AttributeError):
        return False
    return right and _seconds(Int8Gemm(), bits, matrix, 3) < 2 * _seconds(_FLOAT, bits, matrix, 3)


@dataclass(frozen=True, eq=False)
class _Public:
    """A real matrix that is no secret. Of 2048 of its entries the positive ones sum to some 16,000: that fits int16."""

    tiles: npt.NDArray[np.int8]
    parts: int = 1
    narrow: int = 2048


def _public_matrix(inputs: int, tiles: int) -> _Public:
    return _Public(np.random.default_rng(0).integers(-32, 32, (tiles, inputs, TILE_LANES), dtype=np.int8))


def _any_bits(rows: int, inputs: int) -> Tensor:
    # No draw from torch's own stream: a training run that is repeated, or resumed, may race at another moment.
    return torch.from_numpy(np.random.default_rng(0).integers(0, 2, (rows, inputs), dtype=np.uint8))


def _light(kernel: Kernel, bits: Tensor, matrix: _Public) -> Tensor:
    out = Output.of_light(len(bits), len(matrix.tiles) * TILE_LANES)
    kernel.fill(bits, matrix, out)
    return out.tensor


def _seconds(kernel: Kernel, bits: Tensor, matrix: _Public, repeats: int) -> float:
    """The least of some timings, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        out = Output.of_readings(len(bits), len(matrix.tiles) * TILE_LANES, gain=1e-4, top=255)
        start = time.perf_counter()
        kernel.fill(bits, matrix, out)
        times.append(time.perf_counter() - start)
    return min(times[1:])
