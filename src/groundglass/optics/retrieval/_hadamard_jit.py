"""The compiled part of `hadamard.py`: fast Walsh-Hadamard transforms of eight rows at once, and what is done between two.

A "cell" is 16 float32 side by side, 64 bytes: the real parts of eight rows, then their imaginary parts. All that is done
to a row is done in its own lanes, so a result does not hang on which rows share a cell, nor on threads.
"""
# mypy: ignore-errors
# (numba and llvmlite have no types, and compiled functions take theirs from the first call)

from llvmlite import ir
from numba import types, uintp
from numba.core import cgutils
from numba.extending import intrinsic

from groundglass.core.compiled import compiled

#: Rows of a cell.
LANES = 8
# Bytes of a cell.
_CELL = 8 * LANES
# Cells whose transform stays in a level-2 cache.
_CACHED = 2048

_FLOAT = ir.FloatType()
_HALF = ir.VectorType(_FLOAT, LANES)
_WHOLE = ir.VectorType(_FLOAT, 2 * LANES)


def _load(builder, address, kind):
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=4)


def _store(builder, value, address):
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=4)


def _both(builder, half):
    """A vector of eight, twice: for the real and for the imaginary parts."""
    return builder.shuffle_vector(half, half, ir.Constant(ir.VectorType(ir.IntType(32), 16), list(range(LANES)) * 2))


def _parts(builder, whole):
    """The real and the imaginary parts."""
    index = ir.VectorType(ir.IntType(32), LANES)
    return tuple(
        builder.shuffle_vector(whole, whole, ir.Constant(index, [first + i for i in range(LANES)]))
        for first in (0, LANES)
    )


@intrinsic
def _butterfly2(typingctx, at, step):
    """Cells at, at + step (bytes) -> their sum, their difference."""

    def codegen(context, builder, signature, args):
        at, step = args
        other = builder.add(at, step)
        a, b = _load(builder, at, _WHOLE), _load(builder, other, _WHOLE)
        _store(builder, builder.fadd(a, b), at)
        _store(builder, builder.fsub(a, b), other)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), codegen


@intrinsic
def _butterfly4(typingctx, at, step):
    """Two levels at once, of four cells that are `step` bytes apart: half the traffic."""

    def codegen(context, builder, signature, args):
        at, step = args
        places = [at]
        for _ in range(3):
            places.append(builder.add(places[-1], step))
        a, b, c, d = (_load(builder, place, _WHOLE) for place in places)
        e, f, g, h = builder.fadd(a, b), builder.fsub(a, b), builder.fadd(c, d), builder.fsub(c, d)
        results = builder.fadd(e, g), builder.fadd(f, h), builder.fsub(e, g), builder.fsub(f, h)
        for value, place in zip(results, places, strict=True):
            _store(builder, value, place)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), codegen


@intrinsic
def _scaled(typingctx, to, source, factor):
    """Cell at `to` = factor * cell at `source`."""

    def codegen(context, builder, signature, args):
        to, source, factor = args
        spread = _spread(builder, factor)
        _store(builder, builder.fmul(_load(builder, source, _WHOLE), spread), to)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.float32), codegen


@intrinsic
def _add_scaled(typingctx, to, source, factor):
    """Cell at `to` += factor * cell at `source`."""

    def codegen(context, builder, signature, args):
        to, source, factor = args
        term = builder.fmul(_load(builder, source, _WHOLE), _spread(builder, factor))
        _store(builder, builder.fadd(_load(builder, to, _WHOLE), term), to)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.float32), codegen


def _spread(builder, factor):
    one = builder.insert_element(ir.Constant(_WHOLE, ir.Undefined), factor, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), 16), [0] * 16))


@intrinsic
def _weigh(typingctx, at, weights):
    """Cell at `at` *= eight weights, one a row."""

    def codegen(context, builder, signature, args):
        at, weights = args
        factor = _both(builder, _load(builder, weights, _HALF))
        _store(builder, builder.fmul(_load(builder, at, _WHOLE), factor), at)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), codegen


@intrinsic
def _to_interval(typingctx, at, constant, low, high, trust, total, energy):
    """A transformed cell w -> z = (constant + w) / 2 -> what takes z to the nearest intensity in [low, high].

    The cell becomes that step, r = z (sqrt(clip(|z|^2)) / |z| - 1) min(1, trust high); `total` (a cell) += r, `energy`
    (eight) += |r|^2.
    """

    def codegen(context, builder, signature, args):
        at, constant, low, high, trust, total, energy = args
        half = ir.Constant(_WHOLE, [0.5] * (2 * LANES))
        z = builder.fmul(builder.fadd(_load(builder, at, _WHOLE), _load(builder, constant, _WHOLE)), half)
        real, imaginary = _parts(builder, z)
        light = builder.fadd(builder.fmul(real, real), builder.fmul(imaginary, imaginary))
        # So that a dark field divides by something.
        light = builder.fadd(light, ir.Constant(_HALF, [1e-12] * LANES))
        low, high = _load(builder, low, _HALF), _load(builder, high, _HALF)
        clipped = builder.select(builder.fcmp_ordered("<", light, low), low, light)
        clipped = builder.select(builder.fcmp_ordered(">", clipped, high), high, clipped)
        root = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_HALF, [_HALF]), f"llvm.sqrt.v{LANES}f32")
        one = ir.Constant(_HALF, [1.0] * LANES)
        weight = builder.fmul(high, _load(builder, trust, _HALF))
        weight = builder.select(builder.fcmp_ordered("<", weight, one), weight, one)
        step = builder.fmul(builder.fsub(builder.call(root, [builder.fdiv(clipped, light)]), one), weight)
        r = builder.fmul(z, _both(builder, step))
        _store(builder, r, at)
        _store(builder, builder.fadd(_load(builder, total, _WHOLE), r), total)
        moved = builder.fmul(light, builder.fmul(step, step))
        _store(builder, builder.fadd(_load(builder, energy, _HALF), moved), energy)
        return context.get_dummy_value()

    return types.void(*[types.uintp] * 7), codegen


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
