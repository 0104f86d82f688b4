"""3 x 3 convolutions by Winograd's method, with ReLU and pooling. The plain one: `references.convolve` of the tests.

Images stand side by side in the innermost dimension, LANES of them, one to a lane of a vector: every step is the same
for all of them, nothing is shuffled, and what becomes of an image does not depend on the others.
"""

from collections.abc import Sequence
from typing import Any

from numba import types, uintp
from numba.core import cgutils

from groundglass.kernels.jit import llvm
from groundglass.kernels.jit.llvm import FLOAT, at, compiled, every, load, spread, step, store
from groundglass.kernels.maps import LANES
from groundglass.kernels.schemes import Matrix, Scheme, map_of_two, tile_of_four

#: Channels of output that are summed up at a time.
ROWS = 4
#: What becomes of a tile of outputs: stored as it is; ReLU; ReLU and 2 x 2 max-pooling; times the mask of the ReLU below;
#: the same through the max-pooling below.
PLAIN, RELU, POOL, MASK, UNPOOL = range(5)
#: Code of a pooling window with nothing above zero. Codes 0 to 3 say where in the window the maximum is.
NONE = 4

_LINE = 4 * LANES
_LANES, _BYTES = llvm.vector(FLOAT, LANES), llvm.vector(llvm.BYTE, LANES)
# A multiplication and the addition after it may become one instruction, with one rounding.
_FUSE = ("contract",)


# --- pieces of LLVM code ---


def _load_grid(b: Any, address: Any, size: int, row: Any, step: Any) -> list[list[Any]]:
    """size x size vectors: `step` bytes to the next, `row` bytes to the next row."""
    grid = []
    for _ in range(size):
        place, line = address, []
        for _ in range(size):
            line.append(load(b, place, _LANES, _LINE))
            place = b.add(place, step)
        grid.append(line)
        address = b.add(address, row)
    return grid


def _combine(b: Any, factors: Sequence[float], values: Sequence[Any]) -> Any:
    total = None
    # Factors of one first: they need no multiplication, and the rest fuse.
    for factor, value in sorted(zip(factors, values, strict=True), key=lambda pair: abs(pair[0]) != 1):
        if factor == 0:
            continue
        if total is None:
            total = value if factor == 1 else b.fmul(value, every(_LANES, factor))
        elif factor == 1:
            total = b.fadd(total, value)
        elif factor == -1:
            total = b.fsub(total, value)
        else:
            total = b.fadd(total, b.fmul(value, every(_LANES, factor), flags=_FUSE), flags=_FUSE)
    return total


def _sandwich(b: Any, matrix: Matrix, grid: list[list[Any]]) -> list[list[Any]]:
    """matrix grid matrix'."""
    columns = [[_combine(b, factors, column) for factors in matrix] for column in zip(*grid, strict=True)]
    return [[_combine(b, factors, line) for factors in matrix] for line in zip(*columns, strict=True)]


def _store_forward(b: Any, tile: list[list[Any]], pool: bool, out: Any, row: Any, code: Any, code_row: Any) -> None:
    """ReLU and, if `pool`, the maximum of every 2 x 2 window; beside it the bytes that the way back needs.

    NaN stays NaN, as it does in torch: comparisons are turned so that it wins.
    """
    zero = every(_LANES, 0.0)
    for y in range(0, len(tile), 2 if pool else 1):
        for x in range(0, len(tile), 2 if pool else 1):
            if pool:
                best, where = tile[y][x], every(_BYTES, 0)
                for number, value in enumerate((tile[y][x + 1], tile[y + 1][x], tile[y + 1][x + 1]), 1):
                    above = b.or_(b.fcmp_ordered(">", value, best), b.fcmp_unordered("uno", value, value))
                    best = b.select(above, value, best)
                    where = b.select(above, every(_BYTES, number), where)
                above = b.fcmp_unordered(">", best, zero)
                code_value = b.select(above, where, every(_BYTES, NONE))
            else:
                best = tile[y][x]
                above = b.fcmp_unordered(">", best, zero)
                code_value = b.zext(above, _BYTES)
            number = x // 2 if pool else x
            store(b, b.select(above, best, zero), at(b, out, number * _LINE), _LINE)
            store(b, code_value, at(b, code, number * LANES), LANES)
        out, code = b.add(out, row), b.add(code, code_row)


def _store_backward(b: Any, tile: list[list[Any]], pool: bool, out: Any, row: Any, code: Any, code_row: Any) -> None:
    """What passes the ReLU of the layer below and, if `pool`, goes back to where its maximum came from."""
    zero = every(_LANES, 0.0)
    for line in tile:
        for x, value in enumerate(line):
            known = load(b, at(b, code, x * LANES), _BYTES, LANES)
            for number in range(4) if pool else (1,):
                here = b.icmp_unsigned("==", known, every(_BYTES, number))
                place = b.add(out, row) if pool and number >= 2 else out
                column = 2 * x + number % 2 if pool else x
                store(b, b.select(here, value, zero), at(b, place, column * _LINE), _LINE)
        for _ in range(2 if pool else 1):
            out = b.add(out, row)
        code = b.add(code, code_row)


def _store_plain(b: Any, tile: list[list[Any]], out: Any, row: Any) -> None:
    for line in tile:
        for x, value in enumerate(line):
            store(b, value, at(b, out, x * _LINE), _LINE)
        out = b.add(out, row)


# --- the steps, by address ---


def _spread_tile(scheme: Scheme) -> Any:
    @step()
    def spread_tile(b: Any, tile: Any, row: Any, points: Any, stride: Any) -> None:
        """The inputs of a tile, rows `row` bytes apart -> their values at the points, `stride` bytes apart."""
        grid = _load_grid(b, tile, scheme.inputs.shape[1], row, row.type(_LINE))
        for line in _sandwich(b, scheme.inputs, grid):
            for value in line:
                store(b, value, points, _LINE)
                points = b.add(points, stride)

    return spread_tile


def _gather_tile(scheme: Scheme) -> Any:
    @step(types.int64)
    def gather_tile(
        b: Any, points: Any, stride: Any, bias: Any, out: Any, row: Any, code: Any, code_row: Any, finish: Any
    ) -> None:
        """Products at the points -> a tile of outputs, finished and stored; bias: address of a float."""
        after = b.append_basic_block("after")
        finishes = b.switch(finish, after)
        for number in range(5):
            with b.goto_block(b.append_basic_block(f"finish{number}")):
                finishes.add_case(finish.type(number), b.block)
                grid = _load_grid(b, points, scheme.points, b.mul(stride, stride.type(scheme.points)), stride)
                if number in (RELU, POOL):
                    grid[1][1] = b.fadd(grid[1][1], spread(b, load(b, bias, FLOAT), _LANES))
                tile = _sandwich(b, scheme.outputs, grid)
                if number in (RELU, POOL):
                    _store_forward(b, tile, number == POOL, out, row, code, code_row)
                elif number in (MASK, UNPOOL):
                    _store_backward(b, tile, number == UNPOOL, out, row, code, code_row)
                else:
                    _store_plain(b, tile, out, row)
                b.branch(after)
        b.position_at_end(after)

    return gather_tile


@step()
def _multiply(b: Any, weights: Any, values: Any, sums: Any, count: Any) -> None:
    """sums [ROWS, LANES] = weights' [ROWS, count] values [count, LANES], with the sums in registers throughout."""
    totals = [cgutils.alloca_once(b, _LANES) for _ in range(ROWS)]
    for total in totals:
        b.store(every(_LANES, 0.0), total)
    with cgutils.for_range(b, count) as loop:
        value = load(b, b.add(values, b.mul(loop.index, count.type(_LINE))), _LANES, _LINE)
        place = b.add(weights, b.mul(loop.index, count.type(4 * ROWS)))
        for k, total in enumerate(totals):
            product = b.fmul(spread(b, load(b, at(b, place, 4 * k), FLOAT), _LANES), value, flags=_FUSE)
            b.store(b.fadd(b.load(total), product, flags=_FUSE), total)
    for k, total in enumerate(totals):
        store(b, b.load(total), at(b, sums, k * _LINE), _LINE)


_spread_4, _spread_2 = _spread_tile(tile_of_four()), _spread_tile(map_of_two())
_gather_4, _gather_2 = _gather_tile(tile_of_four()), _gather_tile(map_of_two())


@compiled
def convolve(x, weights, bias, out, codes, points, sums, blocks, channels, height, width, filters, finish):
    """One 3 x 3 convolution of some blocks of images, in and out with a border of one pixel.

    Args:
        x: float32 [blocks, channels, height + 2, width + 2, LANES], zero on the border.
        weights: float32 [points, ceil(filters / ROWS), channels, ROWS], the kernel's values at the points.
        bias: float32 [filters].
        out: float32 [blocks, filters, H + 2, W + 2, LANES]; its border is not written. H is height, half of it after
            POOL, twice after UNPOOL.
        codes: uint8 [blocks, filters, h, w, LANES], at the resolution of the smaller of the maps before and after.
        points, sums: scratch, [points, stride] with strides as below.
        height, width: both 2, or multiples of 4.

    All arrays but `bias` are flat, and aligned to 64 bytes.
    """
    small = height == 2
    count, tile, offset = (9, 2, 0) if small else (36, 4, 1)
    groups = (filters + ROWS - 1) // ROWS
    # Odd numbers of cache lines: powers of two would put all points of a tile into the same few places of the cache.
    point_stride = uintp((blocks * channels | 1) * _LINE)
    sum_stride = uintp((blocks * groups * ROWS | 1) * _LINE)
    at_x, at_out, at_codes = uintp(x.ctypes.data), uintp(out.ctypes.data), uintp(codes.ctypes.data)
    at_weights, at_bias = uintp(weights.ctypes.data), uintp(bias.ctypes.data)
    at_points, at_sums = uintp(points.ctypes.data), uintp(sums.ctypes.data)
    out_height, out_width = height, width
    if finish == POOL:
        out_height, out_width = height // 2, width // 2
    elif finish == UNPOOL:
        out_height, out_width = height * 2, width * 2
    code_height, code_width = min(height, out_height), min(width, out_width)
    row, out_row, code_row = uintp((width + 2) * _LINE), uintp((out_width + 2) * _LINE), uintp(code_width * LANES)
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            for b in range(blocks):
                for c in range(channels):
                    source = at_x + uintp(
                        (((b * channels + c) * (height + 2) + top + 1 - offset) * (width + 2) + left + 1 - offset)
                        * _LINE
                    )
                    target = at_points + uintp((b * channels + c) * _LINE)
                    if small:
                        _spread_2(source, row, target, point_stride)
                    else:
                        _spread_4(source, row, target, point_stride)
            for p in range(count):
                for b in range(blocks):
                    values = at_points + uintp(p) * point_stride + uintp(b * channels * _LINE)
                    for g in range(groups):
                        _multiply(
                            at_weights + uintp((p * groups + g) * channels * ROWS * 4),
                            values,
                            at_sums + uintp(p) * sum_stride + uintp((b * groups + g) * ROWS * _LINE),
                            uintp(channels),
                        )
            y, z = top * out_height // height, left * out_width // width
            v, w = top * code_height // height, left * code_width // width
            for b in range(blocks):
                for k in range(filters):
                    source = at_sums + uintp((b * groups * ROWS + k) * _LINE)
                    shift = at_bias + uintp(4 * k)
                    target = at_out + uintp(
                        (((b * filters + k) * (out_height + 2) + y + 1) * (out_width + 2) + z + 1) * _LINE
                    )
                    code = at_codes + uintp((((b * filters + k) * code_height + v) * code_width + w) * LANES)
                    if small:
                        _gather_2(source, sum_stride, shift, target, out_row, code, code_row, finish)
                    else:
                        _gather_4(source, sum_stride, shift, target, out_row, code, code_row, finish)


@compiled
def clear_border(x, planes, height, width):
    """Zero the border of flat float32 x [planes, height + 2, width + 2, LANES]."""
    row = (width + 2) * LANES
    for plane in range(planes):
        start = plane * (height + 2) * row
        x[start : start + row + LANES] = 0
        for y in range(1, height + 1):
            # The last pixel of a row and the first of the next.
            end = start + (y + 1) * row
            x[end - LANES : end + LANES] = 0
        last = start + (height + 1) * row
        x[last : last + row] = 0


@compiled
def back_through(grad, codes, out, planes, height, width, pool):
    """Flat grad [planes, height + 2, width + 2, LANES] -> what reaches the last convolution: as MASK or UNPOOL do."""
    scale = 2 if pool else 1
    wide = (width * scale + 2) * LANES
    for plane in range(planes):
        for y in range(height):
            for x in range(width):
                here = ((plane * (height + 2) + y + 1) * (width + 2) + x + 1) * LANES
                code = ((plane * height + y) * width + x) * LANES
                there = (plane * (height * scale + 2) + y * scale + 1) * wide + (x * scale + 1) * LANES
                for lane in range(LANES):
                    value, known = grad[here + lane], codes[code + lane]
                    if pool:
                        out[there + lane] = value if known == 0 else 0
                        out[there + LANES + lane] = value if known == 1 else 0
                        out[there + wide + lane] = value if known == 2 else 0
                        out[there + wide + LANES + lane] = value if known == 3 else 0
                    else:
                        out[there + lane] = value if known == 1 else 0
