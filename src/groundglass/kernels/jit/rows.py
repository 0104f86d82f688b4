"""Sums of the rows of a matrix that bits name, for a few rows of bits. The plain one: `FloatGemm`."""

import numpy as np
from numba import uintp

from groundglass.kernels.jit.llvm import BYTE, INT, SHORT, at, compiled, load, spread, step, store, vector
from groundglass.kernels.jit.lookup import write
from groundglass.kernels.products import TILE_LANES

# Rows of the matrix that are added while the sums stay in registers.
_TOGETHER = 8
_WIDE, _NARROW = vector(SHORT, TILE_LANES), vector(BYTE, TILE_LANES)


def _masked(rows):
    """A step: total[64 int16] += those of int8 matrix[rows, 64] whose uint8 bits[rows] are 1."""

    @step()
    def add(b, total, matrix, bits):
        value = load(b, total, _WIDE, 2)
        for j in range(rows):
            mask = spread(b, b.neg(load(b, at(b, bits, j), BYTE, 1)), _NARROW)
            row = load(b, at(b, matrix, j * TILE_LANES), _NARROW, 1)
            value = b.add(value, b.sext(b.and_(row, mask), _WIDE))
        store(b, value, total, 2)

    return add


def _named(rows):
    """A step: total[64 int16] += the rows of an int8 matrix [n, 64] that int32 places[rows] name."""

    @step()
    def add(b, total, matrix, places):
        value = load(b, total, _WIDE, 2)
        for j in range(rows):
            place = b.zext(load(b, at(b, places, 4 * j), INT), matrix.type)
            row = load(b, b.add(matrix, b.mul(place, place.type(TILE_LANES))), _NARROW, 1)
            value = b.add(value, b.sext(row, _WIDE))
        store(b, value, total, 2)

    return add


_masked_many, _masked_one = _masked(_TOGETHER), _masked(1)
_named_many, _named_one = _named(_TOGETHER), _named(1)


@compiled
def places(bits, span, out, ends):
    """Which inputs are on: uint8 bits [batch, n] -> the head of int32 out [batch, n]; and int64 ends [batch, chunks]: so many are
    on among the first `span`, two `span`, ... inputs."""
    n = bits.shape[1]
    for row in range(bits.shape[0]):
        count = 0
        for chunk in range(ends.shape[1]):
            for i in range(chunk * span, min((chunk + 1) * span, n)):
                # Not a question: half of the answers would be a surprise.
                out[row, count] = i
                count += bits[row, i]
            ends[row, chunk] = count


@compiled
def measure(tiles, begin, end, bits, span, on, ends, parts, gain, top, readings, light):
    """Tiles begin..end of the matrix, for some rows of bits, into `readings` and `light`.

    Args:
        tiles: int8 [tiles, n, 64].
        bits: uint8 [batch, n].
        span: inputs whose sum fits int16.
        on, ends: of `places`, for the rows of bits after the first.
        parts: 2, complex; 1, real.
        gain, top, readings, light: see `kernels.memory.Output`.
    """
    batch, n = bits.shape
    sums, wide = np.empty(TILE_LANES, np.int16), np.empty(batch * TILE_LANES, np.int32)
    total, at_bits, at_on = uintp(sums.ctypes.data), uintp(bits.ctypes.data), uintp(on.ctypes.data)
    for t in range(begin, end):
        tile = uintp(tiles.ctypes.data) + uintp(t * n * TILE_LANES)
        wide[:] = 0
        # Chunk by chunk: its part of the tile stays in cache for all rows.
        for chunk in range(ends.shape[1]):
            low, high = chunk * span, min((chunk + 1) * span, n)
            sums[:] = 0
            # The first row reads all in order, which is what memory is fast at.
            whole = high - (high - low) % _TOGETHER
            for i in range(low, whole, _TOGETHER):
                _masked_many(total, tile + uintp(i * TILE_LANES), at_bits + uintp(i))
            for i in range(whole, high):
                _masked_one(total, tile + uintp(i * TILE_LANES), at_bits + uintp(i))
            for lane in range(TILE_LANES):
                wide[lane] += sums[lane]
            for row in range(1, batch):
                here = wide[row * TILE_LANES : (row + 1) * TILE_LANES]
                low, high = 0 if chunk == 0 else ends[row - 1, chunk - 1], ends[row - 1, chunk]
                sums[:] = 0
                whole = high - (high - low) % _TOGETHER
                for i in range(low, whole, _TOGETHER):
                    _named_many(total, tile, at_on + uintp(4 * ((row - 1) * n + i)))
                for i in range(whole, high):
                    _named_one(total, tile, at_on + uintp(4 * ((row - 1) * n + i)))
                for lane in range(TILE_LANES):
                    here[lane] += sums[lane]
        write(wide, t, parts, gain, top, readings, light)
