"""A row of 3 x 3 convolutions, each with ReLU and perhaps 2 x 2 max-pooling, and its gradient at the input.

An attack differentiates with respect to images alone, thousands of times, with weights that never change. So the
weights are transformed once (`schemes.py`), ReLU and pooling happen on the tile that is in registers, and all that is kept
for the way back is a byte a pixel: whether the ReLU was open, or where the maximum was.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from groundglass.attacks.schemes import Scheme, scheme_for

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

# Blocks of images that go through all layers together: more would not stay in a level-3 cache, fewer would read the
# weights of the deep layers from memory too often.
_BLOCKS = 4


@dataclass(frozen=True, eq=False)
class ConvLayer:
    """A 3 x 3 convolution, stride 1, padding 1; ReLU; 2 x 2 max-pooling with stride 2 if `pool`.

    Attributes:
        weight: [filters, channels, 3, 3].
        bias: [filters].
    """

    weight: Tensor
    bias: Tensor
    pool: bool

    @property
    def filters(self) -> int:
        return self.weight.shape[0]

    @property
    def channels(self) -> int:
        return self.weight.shape[1]


@dataclass(frozen=True, eq=False)
class Trace:
    """What the way back needs to know about a forward pass: for each piece of the batch, a byte array a layer."""

    count: int
    height: int
    width: int
    pieces: list["_Piece"]


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some blocks of images that one thread takes through all layers."""

    first: int
    count: int
    blocks: int
    codes: list[Bytes] = field(default_factory=list)


class ConvChain:
    """The layers, with their weights in the form that the compiled code takes. Safe to use from several threads."""

    def __init__(self, layers: Sequence[ConvLayer]) -> None:
        self._layers = tuple(layers)
        self._weights: dict[tuple[int, Scheme, bool], Floats] = {}
        self._biases = [np.ascontiguousarray(layer.bias.detach().float().numpy()) for layer in layers]
        # Scratch that is not in use: to ask the system for fresh pages every time would cost a tenth of the time.
        self._spare: list[_Scratch] = []

    def fits(self, channels: int, height: int, width: int) -> bool:
        """Whether every layer has a scheme for the maps that it would get."""
        return channels == self._layers[0].channels and all(
            scheme_for(h, w) is not None for h, w in self._sizes(height, width)[:-1]
        )

    def forward(self, images: Floats) -> tuple[Floats, Trace]:
        """[n, c, h, w] -> [n, filters, h', w'], and what `backward` needs."""
        count, _, height, width = images.shape
        out = np.empty((count, self._layers[-1].filters, *self._sizes(height, width)[-1]), np.float32)
        trace = Trace(count, height, width, _cut(count))
        self._each(trace, lambda piece, scratch: self._piece_forward(images, out, trace, piece, scratch))
        return out, trace

    def backward(self, grad: Floats, trace: Trace) -> Floats:
        """The gradient at the output [n, filters, h', w'] -> the gradient at the images [n, c, h, w]."""
        out = np.empty((trace.count, self._layers[0].channels, trace.height, trace.width), np.float32)
        self._each(trace, lambda piece, scratch: self._piece_backward(grad, out, trace, piece, scratch))
        return out

    def _sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Height and width before every layer, and after the last."""
        sizes = [(height, width)]
        for layer in self._layers:
            h, w = sizes[-1]
            sizes.append((h // 2, w // 2) if layer.pool else (h, w))
        return sizes

    def _each(self, trace: Trace, work: Any) -> None:
        def run(piece: _Piece) -> None:
            scratch = self._take_scratch(trace.height, trace.width, piece.blocks)
            work(piece, scratch)
            self._spare.append(scratch)

        threads = min(torch.get_num_threads(), len(trace.pieces))
        if threads <= 1:
            for piece in trace.pieces:
                run(piece)
        else:
            # A pool of its own for the call: it costs a tenth of a millisecond, and survives no fork.
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(run, trace.pieces))

    def _take_scratch(self, height: int, width: int, blocks: int) -> "_Scratch":
        maps = points = sums = 0
        for layer, (h, w) in zip(self._layers, self._sizes(height, width), strict=False):
            size = blocks * (h + 2) * (w + 2)
            maps = max(maps, size * layer.channels, size * layer.filters)
            # Either way through the layer; filters are rounded up to whole groups.
            most = blocks * (max(layer.channels, layer.filters) + 3) + 1
            points = sums = max(points, 36 * most)
        while self._spare:
            try:
                scratch = self._spare.pop()
            except IndexError:
                break
            if scratch.holds(maps, points, sums):
                return scratch
        return _Scratch(maps, points, sums)

    def _piece_forward(self, images: Floats, out: Floats, trace: Trace, piece: _Piece, scratch: "_Scratch") -> None:
        from groundglass.attacks import _winograd_jit as jit

        sizes = self._sizes(trace.height, trace.width)
        here, there = scratch.here, scratch.there
        _pack(images[piece.first : piece.first + piece.count], here, piece.blocks)
        piece.codes.clear()
        for number, layer in enumerate(self._layers):
            (h, w), (after_h, after_w) = sizes[number], sizes[number + 1]
            codes = _aligned(piece.blocks * layer.filters * after_h * after_w * jit.LANES, np.uint8)
            jit.clear_border(here, piece.blocks * layer.channels, h, w)
            jit.convolve(
                here, self._at_points(number, h, w, back=False), self._biases[number], there, codes, scratch.points,
                scratch.sums, piece.blocks, layer.channels, h, w, layer.filters, jit.POOL if layer.pool else jit.RELU,
            )  # fmt: skip
            piece.codes.append(codes)
            here, there = there, here
        _unpack(here, out[piece.first : piece.first + piece.count], piece.blocks)

    def _piece_backward(self, grad: Floats, out: Floats, trace: Trace, piece: _Piece, scratch: "_Scratch") -> None:
        from groundglass.attacks import _winograd_jit as jit

        sizes = self._sizes(trace.height, trace.width)
        here, there = scratch.here, scratch.there
        _pack(grad[piece.first : piece.first + piece.count], there, piece.blocks)
        last = self._layers[-1]
        jit.back_through(there, piece.codes[-1], here, piece.blocks * last.filters, *sizes[-1], last.pool)
        for number in reversed(range(len(self._layers))):
            layer, (h, w) = self._layers[number], sizes[number]
            finish, codes = jit.PLAIN, piece.codes[0]
            if number > 0:
                finish = jit.UNPOOL if self._layers[number - 1].pool else jit.MASK
                codes = piece.codes[number - 1]
            jit.clear_border(here, piece.blocks * layer.filters, h, w)
            jit.convolve(
                here, self._at_points(number, h, w, back=True), self._biases[number], there, codes, scratch.points,
                scratch.sums, piece.blocks, layer.filters, h, w, layer.channels, finish,
            )  # fmt: skip
            here, there = there, here
        _unpack(here, out[piece.first : piece.first + piece.count], piece.blocks)

    def _at_points(self, number: int, height: int, width: int, *, back: bool) -> Floats:
        scheme = scheme_for(height, width)
        assert scheme is not None
        key = (number, scheme, back)
        if key not in self._weights:
            self._weights[key] = _weights_at_points(self._layers[number].weight, scheme, back=back)
        return self._weights[key]


class _Scratch:
    """Two sets of maps to go to and fro between, and the values and products at the points; floats, in lines of lanes."""

    def __init__(self, maps: int, points: int, sums: int) -> None:
        from groundglass.attacks import _winograd_jit as jit

        self.here, self.there, self.points, self.sums = (
            _aligned(lines * jit.LANES, np.float32) for lines in (maps, maps, points, sums)
        )
        self._lines = (maps, points, sums)

    def holds(self, *lines: int) -> bool:
        return all(have >= need for have, need in zip(self._lines, lines, strict=True))


def _weights_at_points(weight: Tensor, scheme: Scheme, *, back: bool) -> Floats:
    """[filters, channels, 3, 3] -> flat [points, groups, channels, ROWS]; `back`: of the convolution that is its adjoint."""
    from groundglass.attacks import _winograd_jit as jit

    taps = weight.detach().double()
    if back:
        taps = taps.flip(2, 3).transpose(0, 1)
    filters, channels = taps.shape[:2]
    groups = -(-filters // jit.ROWS)
    kernel = torch.from_numpy(scheme.kernel)
    values = torch.zeros(scheme.points, scheme.points, groups * jit.ROWS, channels, dtype=torch.float64)
    values[:, :, :filters] = torch.einsum("ia,jb,kcab->ijkc", kernel, kernel, taps)
    values = values.view(scheme.points**2, groups, jit.ROWS, channels).transpose(2, 3)
    return np.ascontiguousarray(values.float().numpy()).reshape(-1)


def _cut(count: int) -> list[_Piece]:
    """A batch in pieces: enough for all threads, each small enough for the cache."""
    from groundglass.attacks import _winograd_jit as jit

    blocks = -(-count // jit.LANES)
    number = min(blocks, max(torch.get_num_threads(), -(-blocks // _BLOCKS)))
    pieces, first = [], 0
    for i in range(number):
        size = blocks // number + (i < blocks % number)
        images = min(size * jit.LANES, count - first)
        pieces.append(_Piece(first, images, size))
        first += images
    return pieces


def _interior(maps: Floats, blocks: int, channels: int, height: int, width: int) -> Floats:
    """Flat maps -> a view [blocks, lanes, channels, height, width] without the border."""
    from groundglass.attacks import _winograd_jit as jit

    shape = (blocks, channels, height + 2, width + 2, jit.LANES)
    return maps[: int(np.prod(shape))].reshape(shape)[:, :, 1:-1, 1:-1].transpose(0, 4, 1, 2, 3)


def _pack(images: Floats, maps: Floats, blocks: int) -> None:
    """[count, c, h, w] into the interior of flat maps; lanes without an image are zero."""
    inside = _interior(maps, blocks, *images.shape[1:])
    lanes = inside.shape[1]
    full = len(images) // lanes
    inside[:full] = images[: full * lanes].reshape(full, *inside.shape[1:])
    if full < blocks:
        rest = len(images) - full * lanes
        inside[full, :rest] = images[full * lanes :]
        inside[full, rest:] = 0


def _unpack(maps: Floats, images: Floats, blocks: int) -> None:
    """The reverse."""
    inside = _interior(maps, blocks, *images.shape[1:])
    lanes = inside.shape[1]
    full = len(images) // lanes
    images[: full * lanes].reshape(full, *inside.shape[1:])[:] = inside[:full]
    if full < blocks:
        images[full * lanes :] = inside[full, : len(images) - full * lanes]


def _aligned(count: int, dtype: Any) -> Any:
    """Uninitialised, and aligned to 64 bytes, as the vectors of the compiled part are."""
    size = count * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype)
