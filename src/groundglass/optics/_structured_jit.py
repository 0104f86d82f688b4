"""The compiled part of `structured.py`: Walsh-Hadamard transforms, quarter turns, and the camera's arithmetic.

Every addition of a transform is the butterfly (a + b, a - b) of its level, levels from the nearest pairs to the farthest;
which are done together, for the caches' sake, changes no operand. Turns only move numbers and flip signs. So a result is
the same bit for bit on every machine, as plain loops over the levels have it.
"""
# mypy: ignore-errors
# (numba and llvmlite have no types, and compiled functions take theirs from the first call)

import numpy as np
from llvmlite import ir
from numba import types, uintp
from numba.extending import intrinsic

from groundglass.core.compiled import compiled

# Numbers of a vector.
_LANES = 8
# Numbers that stay in a level-1 and in a level-2 cache.
_NEAR = 2**12
_FAR = 2**15

_INT = ir.VectorType(ir.IntType(32), _LANES)
_FLOAT = ir.VectorType(ir.FloatType(), _LANES)
_BYTES = ir.VectorType(ir.IntType(8), _LANES)
_SHORTS = ir.VectorType(ir.IntType(16), _LANES)

#: Transforms of a chain, and the one whose diagonal has the magnitudes, from 0.
STAGES = 6
_MIDDLE = 3


def _load(builder, address, kind):
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _store(builder, value, address):
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=4)


def _all(number):
    return ir.Constant(_INT, [number] * _LANES)


def _picked(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(_INT, lanes))


def _level(builder, values, step):
    """One level: butterflies of vectors that are `step` apart."""
    out = list(values)
    for i in range(len(values)):
        if not i & step:
            a, b = values[i], values[i + step]
            out[i], out[i + step] = builder.fadd(a, b), builder.fsub(a, b)
    return out


@intrinsic
def _inside(typingctx, at):
    """The three levels within one vector."""

    def codegen(context, builder, signature, args):
        value = _load(builder, args[0], _FLOAT)
        lanes = range(_LANES)
        for step in (1, 2, 4):
            a = _picked(builder, value, value, [i & ~step for i in lanes])
            b = _picked(builder, value, value, [i | step for i in lanes])
            chosen = [i + _LANES if i & step else i for i in lanes]
            value = _picked(builder, builder.fadd(a, b), builder.fsub(a, b), chosen)
        _store(builder, value, args[0])
        return context.get_dummy_value()

    return types.void(types.uintp), codegen


def _butterflies(count):
    """An intrinsic (address, step in bytes): log2(count) levels of `count` vectors that are a step apart."""

    @intrinsic
    def butterflies(typingctx, at, step):
        def codegen(context, builder, signature, args):
            places = [args[0]]
            for _ in range(count - 1):
                places.append(builder.add(places[-1], args[1]))
            values = [_load(builder, place, _FLOAT) for place in places]
            apart = 1
            while apart < count:
                values = _level(builder, values, apart)
                apart *= 2
            for value, place in zip(values, places, strict=True):
                _store(builder, value, place)
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp), codegen

    return butterflies


_butterflies2, _butterflies4, _butterflies8 = _butterflies(2), _butterflies(4), _butterflies(8)


@intrinsic
def _turn(typingctx, real, imaginary, phases, shift):
    """Addresses of real and imaginary parts: times i^k, k the two bits of each phase at `shift`."""

    def codegen(context, builder, signature, args):
        a, b = (_load(builder, place, _INT) for place in args[:2])
        odd, minus = _bits(builder, args[2], args[3])
        swapped = builder.icmp_unsigned("!=", odd, _all(0))
        # i (a + ib) = -b + ia.
        flip = builder.xor(minus, builder.shl(odd, _all(31)))
        _store(builder, builder.xor(builder.select(swapped, b, a), flip), args[0])
        _store(builder, builder.xor(builder.select(swapped, a, b), minus), args[1])
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, types.int32), codegen


@intrinsic
def _flip(typingctx, real, phases, shift):
    """As `_turn`, of even phases: times a sign."""

    def codegen(context, builder, signature, args):
        _, minus = _bits(builder, args[1], args[2])
        _store(builder, builder.xor(_load(builder, args[0], _INT), minus), args[0])
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.int32), codegen


def _bits(builder, phases, shift):
    """The lower of the two bits, and the upper one where a float has its sign."""
    one = builder.insert_element(ir.Constant(_INT, ir.Undefined), shift, ir.Constant(ir.IntType(32), 0))
    shifts = _picked(builder, one, one, [0] * _LANES)
    moved = builder.lshr(builder.zext(_load(builder, phases, _SHORTS), _INT), shifts)
    odd = builder.and_(moved, _all(1))
    return odd, builder.shl(builder.lshr(moved, _all(1)), _all(31))


@intrinsic
def _scale(typingctx, at, levels):
    """Address of numbers: times the bytes at `levels`."""

    def codegen(context, builder, signature, args):
        factor = builder.uitofp(_load(builder, args[1], _BYTES), _FLOAT)
        _store(builder, builder.fmul(_load(builder, args[0], _FLOAT), factor), args[0])
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp), codegen


@compiled
def _levels(at, size, begin, end):
    """Levels `begin`, 2 begin, ... end / 2 of `size` numbers at address `at`."""
    while begin < end:
        radix = min(8, end // begin)
        step = uintp(4 * begin)
        for first in range(0, size, radix * begin):
            for i in range(first, first + begin, _LANES):
                place = at + uintp(4 * i)
                if radix == 8:
                    _butterflies8(place, step)
                elif radix == 4:
                    _butterflies4(place, step)
                else:
                    _butterflies2(place, step)
        begin *= radix


@compiled
def transform(values):
    """float32 [n], n a power of 2 and at least 8: its Walsh-Hadamard transform, unnormalised, in place."""
    at, n = uintp(values.ctypes.data), len(values)
    near, far = min(n, _NEAR), min(n, _FAR)
    for outer in range(0, n, far):
        for inner in range(outer, outer + far, near):
            for i in range(inner, inner + near, _LANES):
                _inside(at + uintp(4 * i))
            _levels(at + uintp(4 * inner), near, _LANES, near)
        _levels(at + uintp(4 * outer), far, near, far)
    _levels(at, n, far, n)


@compiled
def field(bits, phases, levels, z):
    """z [parts, n] = H D5 H D4 H G H D3 H D2 H D1 bits.

    Args:
        bits: uint8 [N], one row.
        phases: uint16 [n], one block's; the turns of the first diagonal lowest.
        levels: uint8 [n].
        z: float32 [parts, n]; 2 parts, complex, or 1, real.
    """
    parts, n = z.shape
    z[:] = 0
    for i in range(len(bits)):
        z[0, i] = bits[i]
    real, imaginary = uintp(z.ctypes.data), uintp(z[parts - 1].ctypes.data)
    at_phases, at_levels = uintp(phases.ctypes.data), uintp(levels.ctypes.data)
    for stage in range(STAGES):
        for i in range(0, n, _LANES):
            a, b, phase = real + uintp(4 * i), imaginary + uintp(4 * i), at_phases + uintp(2 * i)
            if parts == 2:
                _turn(a, b, phase, np.int32(2 * stage))
            else:
                _flip(a, phase, np.int32(2 * stage))
            if stage == _MIDDLE:
                _scale(a, at_levels + uintp(i))
                if parts == 2:
                    _scale(b, at_levels + uintp(i))
        for part in range(parts):
            transform(z[part])


@compiled
def measure(bits, phases, levels, blocks, scale, picks, places, gain, top, z, readings, light):
    """Rows of bits through some blocks, into `readings` or `light`; the one that is not asked for is empty.

    Args:
        bits: uint8 [batch, N].
        phases, levels: uint16 and uint8 [all blocks, n].
        blocks: int64, which of them.
        scale: intensity = scale (re^2 + im^2).
        picks, places: int64, outputs in ascending order, and the column that each goes to; empty for all, in order.
        gain, top: reading = floor(min(intensity * gain + 0.5, top)).
        z: float32 [parts, n], scratch; parts is 2, complex, or 1, real.
        readings, light: uint8 and float64 [batch, M].
    """
    n = z.shape[1]
    outputs = max(readings.shape[1], light.shape[1])
    for block in blocks:
        start = block * n
        low, high = np.searchsorted(picks, start), np.searchsorted(picks, start + n)
        for row in range(len(bits)):
            field(bits[row], phases[block], levels[block], z)
            if len(picks) > 0:
                for p in range(low, high):
                    value = _light(z, picks[p] - start, scale)
                    if len(readings) > 0:
                        readings[row, places[p]] = _digit(value, gain, top)
                    else:
                        light[row, places[p]] = value
            elif len(readings) > 0:
                out = readings[row, start : min(start + n, outputs)]
                for m in range(len(out)):
                    out[m] = _digit(_light(z, m, scale), gain, top)
            else:
                bright = light[row, start : min(start + n, outputs)]
                for m in range(len(bright)):
                    bright[m] = _light(z, m, scale)


@compiled
def _light(z, m, scale):
    last = z.shape[0] - 1
    real, imaginary = np.float64(z[0, m]), np.float64(z[last, m]) * last
    return (real * real + imaginary * imaginary) * scale


@compiled
def _digit(value, gain, top):
    value = value * gain + 0.5
    value = top if value > top else value
    return np.uint8(np.int32(value))
