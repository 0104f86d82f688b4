"""Sums by table look-up, of a matrix in memory or of one that is drawn for the purpose. The plain one: `FloatGemm`."""

import numpy as np
from numba import uintp

from groundglass.kernels.jit.llvm import BYTE, SHORT, at, compiled, load, step, store, vector
from groundglass.kernels.jit.philox import fill
from groundglass.kernels.products import TABLES, TILE_LANES

# Bytes of a row of 64 int16.
_ROW = 2 * TILE_LANES
_WIDE, _NARROW = vector(SHORT, TILE_LANES), vector(BYTE, TILE_LANES)


@step()
def _extend_table(b, to, source, row):
    """to[64 int16] = source[64 int16] + row[64 int8]."""
    added = b.sext(load(b, row, _NARROW, 1), _WIDE)
    store(b, b.add(load(b, source, _WIDE, 64), added), to, 64)


@step()
def _add_entries(b, total, table, stride, codes):
    """total[64 int16] += the entries that codes[TABLES] name, of tables that are `stride` bytes apart.

    int16 wraps around on the way; only the last sum has to fit.
    """
    value = load(b, total, _WIDE, 64)
    for j in range(TABLES):
        code = b.zext(load(b, at(b, codes, j), BYTE, 1), codes.type)
        value = b.add(value, load(b, b.add(table, b.mul(code, code.type(_ROW))), _WIDE, 64))
        table = b.add(table, stride)
    store(b, value, total, 64)


@compiled
def pack(bits, group, out):
    """Codes of `group` bits each: uint8 bits [batch, n] -> uint8 out [passes, batch, TABLES], zero before."""
    n = bits.shape[1]
    # Pass by pass, so that what is written lies together; a row's few bits stay in cache for the next pass.
    for p in range(out.shape[0]):
        for row in range(bits.shape[0]):
            for t in range(TABLES):
                first = (p * TABLES + t) * group
                code = 0
                for j in range(min(group, n - first)):
                    code |= bits[row, first + j] << j
                out[p, row, t] = code


@compiled
def measure(tiles, begin, end, codes, group, span, parts, tables, total, wide, gain, top, readings, light):
    """Tiles begin..end of the matrix, for one block of rows, into `readings` and `light`.

    Args:
        tiles: int8 [tiles, n, 64].
        codes: uint8 [passes, batch, TABLES], of all chunks of `span` inputs.
        group: bits of a code.
        span: inputs whose sum fits int16; n, or a multiple of TABLES * group.
        parts: 2, complex; 1, real.
        tables, total, wide: scratch aligned to 64 bytes: int16 [TABLES * 2^group * 64], int16 and int32 [batch * 64].
        gain, top, readings, light: see `kernels.memory.Output`.
    """
    n, batch = tiles.shape[1], codes.shape[1]
    passes = (min(span, n) + TABLES * group - 1) // (TABLES * group)
    for t in range(begin, end):
        low = 0
        for first in range(0, codes.shape[0], passes):
            last = min(first + passes, codes.shape[0])
            _add_sums(tiles, t, low, codes, first, last, group, tables, total)
            low += span
            if first == 0:
                for i in range(batch * TILE_LANES):
                    wide[i] = total[i]
            else:
                for i in range(batch * TILE_LANES):
                    wide[i] += total[i]
        write(wide, t, parts, gain, top, readings, light)


@compiled
def measure_drawn(
    table, keys, position, inputs, codes, group, span, parts, block, tables, total, wide, gain, top, readings, light
):
    """The tiles with these keys, for one block of rows: their entries are drawn, added up and forgotten.

    Args:
        table: int8 [65536]; 16 random bits -> an entry.
        keys: uint32 [tiles, 4], of Philox.
        position: of the first of these tiles among those that are seen.
        inputs: int32 [n], which inputs the codes are of.
        span: inputs that are drawn at a time; n, or a multiple of TABLES * group.
        block: scratch for them, int8 [1, span, 64].

    The other arguments are those of `measure`.
    """
    n, batch = len(inputs), codes.shape[1]
    passes = (span + TABLES * group - 1) // (TABLES * group)
    for k in range(len(keys)):
        wide[:] = 0
        first = 0
        for low in range(0, n, max(span, 1)):
            some = inputs[low : low + span]
            drawn = block[:, : len(some)]
            fill(table, keys[k], some, drawn[0])
            _add_sums(drawn, 0, 0, codes, first, min(first + passes, codes.shape[0]), group, tables, total)
            first += passes
            for i in range(batch * TILE_LANES):
                wide[i] += total[i]
        write(wide, position + k, parts, gain, top, readings, light)


@compiled
def _add_sums(tiles, t, low, codes, begin, end, group, tables, total):
    """int16 total [batch * 64] = the sums of tile t over the inputs from `low` on, codes[begin:end]."""
    n, batch = tiles.shape[1], codes.shape[1]
    size = 1 << group
    at_rows, at_codes = uintp(tiles.ctypes.data) + uintp(t * n * TILE_LANES), uintp(codes.ctypes.data)
    at_tables, at_total = uintp(tables.ctypes.data), uintp(total.ctypes.data)
    total[:] = 0
    for p in range(begin, end):
        for j in range(TABLES):
            tables[j * size * TILE_LANES : (j * size + 1) * TILE_LANES] = 0
            table = at_tables + uintp(j * size * _ROW)
            first = low + ((p - begin) * TABLES + j) * group
            # The entry of each new bit: all the entries so far, and its row.
            for i in range(max(0, min(group, n - first))):
                row = at_rows + uintp((first + i) * TILE_LANES)
                for entry in range(1 << i):
                    above = uintp(((1 << i) + entry) * _ROW)
                    _extend_table(table + above, table + uintp(entry * _ROW), row)
        at_pass = at_codes + uintp(p * batch * TABLES)
        for b in range(batch):
            place, code = at_total + uintp(b * _ROW), at_pass + uintp(b * TABLES)
            _add_entries(place, at_tables, uintp(size * _ROW), code)


@compiled
def write(total, t, parts, gain, top, readings, light):
    """int32 total [batch * 64] of tile t -> its columns of `readings`, or of `light`. No sum of squares is rounded."""
    outputs = TILE_LANES // parts
    first, offset, factor = t * outputs, (parts - 1) * outputs, np.float64(parts - 1)
    # One loop each, over slices: with the question inside, LLVM does not make vectors of it.
    for b in range(readings.shape[0]):
        row, out = total[b * TILE_LANES : (b + 1) * TILE_LANES], readings[b, first : first + outputs]
        for m in range(len(out)):
            real, imaginary = np.float64(row[m]), np.float64(row[m + offset]) * factor
            value = (real * real + imaginary * imaginary) * gain + 0.5
            value = top if value > top else value
            out[m] = np.uint8(np.int32(value))
    for b in range(light.shape[0]):
        row, out = total[b * TILE_LANES : (b + 1) * TILE_LANES], light[b, first : first + outputs]
        for m in range(len(out)):
            real, imaginary = np.float64(row[m]), np.float64(row[m + offset]) * factor
            out[m] = real * real + imaginary * imaginary
