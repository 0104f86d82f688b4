"""The compiled part of `lookup.py`. Importing it imports numba; the first call compiles, later runs load a cache."""
# mypy: ignore-errors
# (numba and llvmlite have no types, and compiled functions take theirs from the first call)

import numpy as np
from llvmlite import ir
from numba import types, uintp
from numba.extending import intrinsic

from groundglass.core.compiled import compiled
from groundglass.optics.entries import TILE_LANES

# Tables that one pass over the rows adds up. Four of 2^6 sums of 64 lanes are 32 KiB, a level-1 cache.
TABLES = 4
# Bytes of a row of 64 int16.
_ROW = 2 * TILE_LANES


# The two inner steps are written as vectors of 64 int16, not as loops: numba does not know that its arrays do
# not overlap, and the checks that LLVM puts around so short a loop cost as much as the loop (13 against 22 billion
# additions a second, where this was tried). LLVM splits the vectors into the registers of the machine.


@intrinsic
def _extend_table(typingctx, dst, src, row):
    """Addresses: dst[64 int16] = src[64 int16] + row[64 int8]."""

    def codegen(context, builder, signature, args):
        dst, src, row = args
        wide = ir.VectorType(ir.IntType(16), TILE_LANES)
        narrow = ir.VectorType(ir.IntType(8), TILE_LANES)
        base = builder.load(builder.inttoptr(src, wide.as_pointer()), align=64)
        step = builder.load(builder.inttoptr(row, narrow.as_pointer()), align=1)
        total = builder.add(base, builder.sext(step, wide))
        builder.store(total, builder.inttoptr(dst, wide.as_pointer()), align=64)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp), codegen


@intrinsic
def _add_entries(typingctx, total, tables, stride, codes):
    """Addresses: total[64 int16] += the entries that codes[TABLES] name, of tables that are `stride` bytes apart.

    int16 wraps around on the way; only the last sum has to fit.
    """

    def codegen(context, builder, signature, args):
        total, table, stride, codes = args
        wide = ir.VectorType(ir.IntType(16), TILE_LANES).as_pointer()
        byte = ir.IntType(8).as_pointer()
        place = builder.inttoptr(total, wide)
        value = builder.load(place, align=64)
        for j in range(TABLES):
            address = builder.add(codes, ir.Constant(codes.type, j))
            code = builder.zext(builder.load(builder.inttoptr(address, byte)), codes.type)
            entry = builder.add(table, builder.mul(code, ir.Constant(codes.type, _ROW)))
            value = builder.add(value, builder.load(builder.inttoptr(entry, wide), align=64))
            table = builder.add(table, stride)
        builder.store(value, place, align=64)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, types.uintp), codegen


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
def measure(tiles, begin, end, codes, group, span, parts, gain, top, tables, total, wide, readings, light):
    """Tiles begin..end of the matrix, for one block of rows, into `readings` and `light`.

    Args:
        tiles: int8 [tiles, n, 64].
        codes: uint8 [passes, batch, TABLES], of all chunks of `span` inputs.
        group: bits of a code.
        span: inputs whose sum fits int16; n, or a multiple of TABLES * group.
        parts: 2, complex; 1, real.
        gain, top: reading = floor(min(light * gain + 0.5, top)).
        tables, total, wide: scratch aligned to 64 bytes: int16 [TABLES * 2^group * 64], int16 and int32 [batch * 64].
        readings, light: uint8 and float64 [batch, m]; the one that is not asked for is empty.
    """
    n, batch = tiles.shape[1], codes.shape[1]
    passes = (min(span, n) + TABLES * group - 1) // (TABLES * group)
    for t in range(begin, end):
        low = 0
        for first in range(0, codes.shape[0], passes):
            last = min(first + passes, codes.shape[0])
            add_sums(tiles, t, low, codes, first, last, group, tables, total)
            low += span
            if first == 0:
                for i in range(batch * TILE_LANES):
                    wide[i] = total[i]
            else:
                for i in range(batch * TILE_LANES):
                    wide[i] += total[i]
        write(wide, t, parts, gain, top, readings, light)


@compiled
def add_sums(tiles, t, low, codes, begin, end, group, tables, total):
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
