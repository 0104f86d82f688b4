"""Walsh-Hadamard transforms, quarter turns, the camera. The plain one: `references.chain_of_transforms` of the tests.

Every addition of a transform is the butterfly (a + b, a - b) of its level, levels from the nearest pairs to the farthest.
Which of them are done together, for the caches' sake, changes no operand. Turns only move numbers and flip signs. So a
result is the same bit for bit on every machine, as plain loops over the levels have it.
"""

import numpy as np
from numba import types, uintp

from groundglass.kernels.jit import llvm
from groundglass.kernels.jit.llvm import compiled, every, load, picked, spread, step, store

# Numbers of a vector.
_LANES = 8
# Numbers that stay in a level-1 and in a level-2 cache.
_NEAR = 2**12
_FAR = 2**15

_INTS, _FLOATS, _BYTES, _SHORTS = (llvm.vector(kind, _LANES) for kind in (llvm.INT, llvm.FLOAT, llvm.BYTE, llvm.SHORT))

# Transforms of a chain, and the one whose diagonal has the magnitudes, from 0.
_STAGES = 6
_MIDDLE = 3


@step()
def _inside(b, place):
    """The three levels within one vector."""
    value = load(b, place, _FLOATS)
    lanes = range(_LANES)
    for width in (1, 2, 4):
        x = picked(b, value, value, [i & ~width for i in lanes])
        y = picked(b, value, value, [i | width for i in lanes])
        value = picked(b, b.fadd(x, y), b.fsub(x, y), [i + _LANES if i & width else i for i in lanes])
    store(b, value, place)


_butterflies2, _butterflies4, _butterflies8 = (llvm.butterflies(count, _FLOATS) for count in (2, 4, 8))


@step(types.int32)
def _turn(b, real, imaginary, phases, shift):
    """Real and imaginary parts, times i^k, k the two bits of each phase at `shift`."""
    x, y = load(b, real, _INTS), load(b, imaginary, _INTS)
    odd, minus = _bits(b, phases, shift)
    swapped = b.icmp_unsigned("!=", odd, every(_INTS, 0))
    # i (x + iy) = -y + ix.
    flip = b.xor(minus, b.shl(odd, every(_INTS, 31)))
    store(b, b.xor(b.select(swapped, y, x), flip), real)
    store(b, b.xor(b.select(swapped, x, y), minus), imaginary)


@step(types.int32)
def _flip(b, real, phases, shift):
    """As `_turn`, of even phases: times a sign."""
    _, minus = _bits(b, phases, shift)
    store(b, b.xor(load(b, real, _INTS), minus), real)


def _bits(b, phases, shift):
    """The lower of the two bits, and the upper one where a float has its sign."""
    moved = b.lshr(b.zext(load(b, phases, _SHORTS), _INTS), spread(b, shift, _INTS))
    return b.and_(moved, every(_INTS, 1)), b.shl(b.lshr(moved, every(_INTS, 1)), every(_INTS, 31))


@step()
def _scale(b, place, levels):
    """Numbers, times the bytes at `levels`."""
    store(b, b.fmul(load(b, place, _FLOATS), b.uitofp(load(b, levels, _BYTES), _FLOATS)), place)


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
    for stage in range(_STAGES):
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
def measure(bits, phases, levels, blocks, scale, picks, places, z, gain, top, readings, light):
    """Rows of bits through some blocks, into `readings` or `light`.

    Args:
        bits: uint8 [batch, N].
        phases, levels: uint16 and uint8 [all blocks, n].
        blocks: int64, which of them.
        scale: intensity = scale (re^2 + im^2).
        picks, places: int64, outputs in ascending order, and the column that each goes to; empty for all, in order.
        z: float32 [parts, n], scratch; parts is 2, complex, or 1, real.
        gain, top, readings, light: see `kernels.memory.Output`.
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
