"""Sums of the rows of a matrix that bits name, for a few rows of bits. The plain one: `FloatGemm`."""

import numpy as np
from numba import uintp

from groundglass.kernels.jit.llvm import INT, SHORT, at, compiled, every, load, spread, step, store, vector
from groundglass.kernels.jit.lookup import write
from groundglass.kernels.products import TILE_LANES

# Rows of the matrix that are added while the sums stay in registers.
_TOGETHER = 8
_PAIRS = TILE_LANES // 2
# A row, as pairs of lanes: 256 times the second, and the first plus 128. And as a mask is laid over it.
_ROW, _WORDS = vector(SHORT, _PAIRS), vector(INT, TILE_LANES // 4)


def _masked(rows):
    """A step: adds the pairs of int8 matrix[rows, 64] to both[32 int16], and their second lanes to second[32 int16]; those of
    rows whose int32 masks[rows] are 0, not -1, as if all their entries were 0."""

    @step()
    def add(b, both, second, matrix, masks):
        sums = load(b, both, _ROW, 2), load(b, second, _ROW, 2)
        for j in range(rows):
            mask = spread(b, load(b, at(b, masks, 4 * j), INT), _WORDS)
            row = b.and_(load(b, at(b, matrix, j * TILE_LANES), _WORDS, 1), mask)
            sums = _plus(b, sums, b.bitcast(row, _ROW))
        store(b, sums[0], both, 2)
        store(b, sums[1], second, 2)

    return add


def _named(rows):
    """As `_masked`, for the rows of an int8 matrix [n, 64] that int32 places[rows] name."""

    @step()
    def add(b, both, second, matrix, places):
        sums = load(b, both, _ROW, 2), load(b, second, _ROW, 2)
        for j in range(rows):
            place = b.zext(load(b, at(b, places, 4 * j), INT), matrix.type)
            sums = _plus(b, sums, load(b, b.add(matrix, b.mul(place, place.type(TILE_LANES))), _ROW, 1))
        store(b, sums[0], both, 2)
        store(b, sums[1], second, 2)

    return add


def _plus(b, sums, row):
    """Four operations a row and no shuffle: widening its bytes would take more, and some that few units can do."""
    pairs = b.xor(row, every(_ROW, 128))
    return b.add(sums[0], pairs), b.add(sums[1], b.ashr(pairs, every(_ROW, 8)))


_masked_many, _masked_one = _masked(_TOGETHER), _masked(1)
_named_many, _named_one = _named(_TOGETHER), _named(1)


@compiled
def _apart(both, second, rows, wide):
    """int32 wide[64] += the sums of `rows` rows of pairs. Each fits int16, so it is known from its last 16 bits."""
    for j in range(_PAIRS):
        first = np.int32(both[j]) - 256 * np.int32(second[j]) - 128 * rows
        wide[2 * j] += ((first + 32768) & 65535) - 32768
        wide[2 * j + 1] += second[j]


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
def measure(tiles, begin, end, masks, span, on, ends, parts, gain, top, readings, light):
    """Tiles begin..end of the matrix, for some rows of bits, into `readings` and `light`.

    Args:
        tiles: int8 [tiles, n, 64].
        masks: int32 [n], of the first row of bits: -1 where it is on, 0 elsewhere.
        span: inputs whose sum fits int16.
        on, ends: of `places`, for the other rows of bits.
        parts: 2, complex; 1, real.
        gain, top, readings, light: see `kernels.memory.Output`.
    """
    n, batch = len(masks), len(on) + 1
    both, second, wide = np.empty(_PAIRS, np.int16), np.empty(_PAIRS, np.int16), np.empty(batch * TILE_LANES, np.int32)
    at_both, at_second, at_masks = uintp(both.ctypes.data), uintp(second.ctypes.data), uintp(masks.ctypes.data)
    for t in range(begin, end):
        tile = uintp(tiles.ctypes.data) + uintp(t * n * TILE_LANES)
        wide[:] = 0
        # Chunk by chunk: its part of the tile stays in cache for all rows.
        for chunk in range(ends.shape[1]):
            low, high = chunk * span, min((chunk + 1) * span, n)
            whole = high - (high - low) % _TOGETHER
            both[:] = 0
            second[:] = 0
            # The first row reads all in order, which is what memory is fast at.
            for i in range(low, whole, _TOGETHER):
                _masked_many(at_both, at_second, tile + uintp(i * TILE_LANES), at_masks + uintp(4 * i))
            for i in range(whole, high):
                _masked_one(at_both, at_second, tile + uintp(i * TILE_LANES), at_masks + uintp(4 * i))
            _apart(both, second, high - low, wide[:TILE_LANES])
            for row in range(1, batch):
                at_on = uintp(on.ctypes.data) + uintp(4 * (row - 1) * n)
                low, high = 0 if chunk == 0 else ends[row - 1, chunk - 1], ends[row - 1, chunk]
                whole = high - (high - low) % _TOGETHER
                both[:] = 0
                second[:] = 0
                for i in range(low, whole, _TOGETHER):
                    _named_many(at_both, at_second, tile, at_on + uintp(4 * i))
                for i in range(whole, high):
                    _named_one(at_both, at_second, tile, at_on + uintp(4 * i))
                _apart(both, second, high - low, wide[row * TILE_LANES : (row + 1) * TILE_LANES])
        write(wide, t, parts, gain, top, readings, light)
