"""Walsh-Hadamard transforms of eight rows at once, and what is done between two. The plain one: `references.sweep` of the tests.

The rows lie in cells, see `cells.py`. All that is done to a row is done in its own lanes, so a result does not depend on
which rows share a cell, nor on threads.
"""

from llvmlite import ir
from numba import types, uintp
from numba.core import cgutils

from groundglass.kernels.cells import LANES
from groundglass.kernels.jit import llvm
from groundglass.kernels.jit.llvm import compiled, every, load, picked, spread, step, store

# Bytes of a cell.
_CELL = 8 * LANES
# Cells whose transform stays in a level-2 cache.
_CACHED = 2048

_HALF, _WHOLE = llvm.vector(llvm.FLOAT, LANES), llvm.vector(llvm.FLOAT, 2 * LANES)
# Two levels at once are half the traffic.
_butterfly2, _butterfly4 = llvm.butterflies(2, _WHOLE), llvm.butterflies(4, _WHOLE)


def _both(b, half):
    """A vector of eight, twice: for the real and for the imaginary parts."""
    return picked(b, half, half, [*range(LANES)] * 2)


@step(types.float32)
def _scaled(b, to, source, factor):
    """Cell at `to` = factor * cell at `source`."""
    store(b, b.fmul(load(b, source, _WHOLE), spread(b, factor, _WHOLE)), to)


@step(types.float32)
def _add_scaled(b, to, source, factor):
    """Cell at `to` += factor * cell at `source`."""
    term = b.fmul(load(b, source, _WHOLE), spread(b, factor, _WHOLE))
    store(b, b.fadd(load(b, to, _WHOLE), term), to)


@step()
def _weigh(b, place, weights):
    """Cell at `place` *= eight weights, one a row."""
    store(b, b.fmul(load(b, place, _WHOLE), _both(b, load(b, weights, _HALF))), place)


@step()
def _to_interval(b, place, constant, low, high, trust, total, energy):
    """A transformed cell w -> z = (constant + w) / 2 -> what takes z to the nearest intensity in [low, high].

    The cell becomes that step, r = z (sqrt(clip(|z|^2)) / |z| - 1) min(1, trust high); `total` (a cell) += r, `energy`
    (eight) += |r|^2.
    """
    z = b.fmul(b.fadd(load(b, place, _WHOLE), load(b, constant, _WHOLE)), every(_WHOLE, 0.5))
    real, imaginary = (picked(b, z, z, range(first, first + LANES)) for first in (0, LANES))
    light = b.fadd(b.fmul(real, real), b.fmul(imaginary, imaginary))
    # So that a dark field divides by something.
    light = b.fadd(light, every(_HALF, 1e-12))
    low, high, one = load(b, low, _HALF), load(b, high, _HALF), every(_HALF, 1.0)
    clipped = b.select(b.fcmp_ordered("<", light, low), low, light)
    clipped = b.select(b.fcmp_ordered(">", clipped, high), high, clipped)
    root = cgutils.get_or_insert_function(b.module, ir.FunctionType(_HALF, [_HALF]), f"llvm.sqrt.v{LANES}f32")
    weight = b.fmul(high, load(b, trust, _HALF))
    weight = b.select(b.fcmp_ordered("<", weight, one), weight, one)
    moved = b.fmul(b.fsub(b.call(root, [b.fdiv(clipped, light)]), one), weight)
    r = b.fmul(z, _both(b, moved))
    store(b, r, place)
    store(b, b.fadd(load(b, total, _WHOLE), r), total)
    store(b, b.fadd(load(b, energy, _HALF), b.fmul(light, b.fmul(moved, moved))), energy)


@compiled
def _transform(at, size):
    """The Walsh-Hadamard transform of `size` cells (a power of 2), unnormalised, in place."""
    width = size
    while width > _CACHED:
        half = width // 2
        for first in range(0, size, width):
            for i in range(first, first + half):
                _butterfly2(at + uintp(i * _CELL), uintp(half * _CELL))
        width = half
    for first in range(0, size, width):
        part = width
        while part >= 4:
            quarter = part // 4
            for begin in range(first, first + width, part):
                for i in range(begin, begin + quarter):
                    _butterfly4(at + uintp(i * _CELL), uintp(quarter * _CELL))
            part = quarter
        if part == 2:
            for i in range(first, first + width, 2):
                _butterfly2(at + uintp(i * _CELL), uintp(_CELL))


@compiled
def _spread_out(rows, signs, block, work):
    """work = H (signs of the block * rows): rows [n, 16], signs [blocks, n], work [size, 16]."""
    n, size = rows.shape[0], work.shape[0]
    source, to = uintp(rows.ctypes.data), uintp(work.ctypes.data)
    for i in range(n):
        _scaled(to + uintp(i * _CELL), source + uintp(i * _CELL), signs[block, i])
    work[n:] = 0
    _transform(to, size)


@compiled
def _gather(work, signs, block, rows):
    """rows += signs of the block * (H work)."""
    source, to = uintp(work.ctypes.data), uintp(rows.ctypes.data)
    _transform(source, work.shape[0])
    for i in range(rows.shape[0]):
        _add_scaled(to + uintp(i * _CELL), source + uintp(i * _CELL), signs[block, i])


@compiled
def sweep(rows, signs, low, high, trust, work, back, total, energy):
    """One pass of eight rows over all frames: how far their fields are from the intervals, and back through the inputs.

    With fields z_k = (sum of the row + s_k . row) / 2 and r_k the shortest step from z_k to an intensity in its interval,
    shortened to min(1, trust * high) of itself:

    Args:
        rows: float32 [n, 16].
        signs: float32 [blocks, n], the diagonals D of s = H D.
        low, high: float32 [blocks, size, 8], intensities.
        trust: float32 [8], above 0.
        work: float32 [size, 16], scratch.
        back: float32 [n, 16], out: sum over frames of s_k r_k.
        total: float32 [16], out: sum over frames of r_k.
        energy: float32 [8], out: sum over frames of |r_k|^2.
    """
    constant = rows[0].copy()
    for i in range(1, rows.shape[0]):
        constant += rows[i]
    back[:] = 0
    total[:] = 0
    energy[:] = 0
    at, place = uintp(work.ctypes.data), uintp(constant.ctypes.data)
    at_total, at_energy, at_trust = uintp(total.ctypes.data), uintp(energy.ctypes.data), uintp(trust.ctypes.data)
    for block in range(signs.shape[0]):
        _spread_out(rows, signs, block, work)
        lows, highs = uintp(low[block].ctypes.data), uintp(high[block].ctypes.data)
        for k in range(work.shape[0]):
            here = uintp(k * (_CELL // 2))
            _to_interval(at + uintp(k * _CELL), place, lows + here, highs + here, at_trust, at_total, at_energy)
        _gather(work, signs, block, back)


@compiled
def weighted(rows, signs, weights, work, back):
    """back = sum over frames of weight_k s_k (s_k . row): a step of the power iteration. weights: [blocks, size, 8]."""
    back[:] = 0
    at = uintp(work.ctypes.data)
    for block in range(signs.shape[0]):
        _spread_out(rows, signs, block, work)
        here = uintp(weights[block].ctypes.data)
        for k in range(work.shape[0]):
            _weigh(at + uintp(k * _CELL), here + uintp(k * (_CELL // 2)))
        _gather(work, signs, block, back)
