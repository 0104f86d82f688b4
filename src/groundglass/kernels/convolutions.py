"""A row of 3 x 3 convolutions, each with ReLU and perhaps 2 x 2 max-pooling, and its gradient at the input.

An attack differentiates with respect to images alone, thousands of times, with weights that never change. So the
weights are transformed once (`schemes.py`), ReLU and pooling happen on the tile that is in registers, and all that is kept
for the way back is a byte a pixel: whether the ReLU was open, or where the maximum was.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from groundglass.kernels import jit
from groundglass.kernels.maps import LANES, Bytes, Floats, Scratch, pack, unpack
from groundglass.kernels.memory import aligned
from groundglass.kernels.schemes import Scheme, scheme_for
from groundglass.kernels.threads import for_each, rest_idle_threads

# Blocks of images that one thread takes through the deep layers together: the more, the less often the weights are read
# from memory; the fewer, the better the maps stay in cache.
_BLOCKS = 4


@dataclass(frozen=True, eq=False)
class ConvLayer:
    """A 3 x 3 convolution, stride 1, padding 1; ReLU; 2 x 2 max-pooling with stride 2 if `pool`."""

    weight: Float[Tensor, "filters channels 3 3"]
    bias: Float[Tensor, "filters"]
    pool: bool

    @cached_property
    def flat_bias(self) -> Floats:
        return np.ascontiguousarray(self.bias.detach().float().numpy())


@dataclass(frozen=True)
class _Step:
    """A layer, forward or back, on maps of one size."""

    layer: int
    # The way of the gradient: the adjoint convolution, then back through ReLU and pooling of the layer below.
    back: bool
    height: int
    width: int
    channels: int
    filters: int
    # The layer whose ReLU and pooling end the step, -1 for none; it has a byte a pixel for the way back. Whether it pools.
    coded: int
    pool: bool

    @property
    def after(self) -> tuple[int, int]:
        """Height and width of the maps after the step."""
        if not self.pool:
            return self.height, self.width
        return (self.height * 2, self.width * 2) if self.back else (self.height // 2, self.width // 2)

    @property
    def takes(self) -> int:
        """Vectors in a block's maps before the step, borders included."""
        return self.channels * (self.height + 2) * (self.width + 2)

    @property
    def gives(self) -> int:
        """The same after it."""
        height, width = self.after
        return self.filters * (height + 2) * (width + 2)

    @property
    def finish(self) -> int:
        """What becomes of the convolved maps."""
        kinds = jit.winograd
        if self.coded < 0:
            return int(kinds.PLAIN)
        return int(
            (kinds.UNPOOL if self.pool else kinds.MASK) if self.back else (kinds.POOL if self.pool else kinds.RELU)
        )


class _Plan:
    """The steps for images of one size.

    The first `shallow` layers have large maps and few weights: they take one block of images after the other, so that
    the maps stay in cache. The others have it the other way round, and take several blocks at once.
    """

    def __init__(self, layers: Sequence[ConvLayer], height: int, width: int) -> None:
        self.forward: list[_Step] = []
        self.backward: list[_Step] = []
        self.code_sizes: list[int] = []
        self.shallow = 0
        for number, layer in enumerate(layers):
            (filters, channels), below = layer.weight.shape[:2], number > 0 and layers[number - 1].pool
            self.forward.append(_Step(number, False, height, width, channels, filters, number, layer.pool))
            self.backward.insert(0, _Step(number, True, height, width, filters, channels, number - 1, below))
            if self.shallow == number and 36 * channels * filters <= LANES * self.backward[0].takes:
                self.shallow += 1
            height, width = self.forward[-1].after
            self.code_sizes.append(filters * height * width * LANES)
        self.out_size = (height, width)
        # Filters are rounded up to whole groups.
        self._channels = [max(layer.weight.shape[:2]) + 3 for layer in layers]

    def needs(self, blocks: int) -> tuple[int, int, int]:
        """The sizes of a `Scratch`."""
        ends = {self.forward[0].takes, self.forward[-1].gives, self.backward[0].takes, self.backward[-1].gives}
        steps = self.forward + self.backward
        # What crosses between shallow and deep is given by one side and taken by the other: each holds it.
        narrow = max(ends | {size for s in steps if s.layer < self.shallow for size in (s.takes, s.gives)})
        wide = max(ends | {size for s in steps if s.layer >= self.shallow for size in (s.takes, s.gives)})
        most = max((1 if i < self.shallow else blocks) * count for i, count in enumerate(self._channels))
        return narrow, blocks * wide, 36 * (most + 1)


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some blocks of images that one thread takes through all layers, and a byte array a layer for the way back."""

    first: int
    count: int
    blocks: int
    codes: list[Bytes] = field(default_factory=list)

    @property
    def images(self) -> slice:
        """Which of the batch."""
        return slice(self.first, self.first + self.count)

    def images_of(self, block: int) -> slice:
        """Which of the batch, of one block."""
        start = self.first + block * LANES
        return slice(start, min(start + LANES, self.first + self.count))


@dataclass(frozen=True, eq=False)
class Trace:
    """What the way back needs to know about a forward pass."""

    count: int
    height: int
    width: int
    pieces: list[_Piece]


class ConvChain:
    """The layers, with their weights in the form that the compiled code takes. Safe to use from several threads."""

    def __init__(self, layers: Sequence[ConvLayer]) -> None:
        self._layers = tuple(layers)
        self._weights: dict[tuple[int, Scheme, bool], Floats] = {}
        self._plans: dict[tuple[int, int], _Plan] = {}
        # Scratch that is not in use: to ask the system for fresh pages every time would cost a tenth of the time.
        self._spare: list[Scratch] = []

    def __reduce__(self) -> tuple[type["ConvChain"], tuple[Sequence[ConvLayer]]]:
        # Copied or pickled arrays lie anywhere in memory, and the compiled code asks for aligned ones: it would crash.
        return type(self), (self._layers,)

    def fits(self, channels: int, height: int, width: int) -> bool:
        """Whether every layer has a scheme for the maps that it would get."""
        steps = self._plan(height, width).forward
        return channels == self._layers[0].weight.shape[1] and all(scheme_for(s.height, s.width) for s in steps)

    def forward(self, images: Floats) -> tuple[Floats, Trace]:
        """[n, c, h, w] -> [n, filters, h', w'], and what `backward` needs."""
        count, _, height, width = images.shape
        plan = self._plan(height, width)
        out = np.empty((count, len(self._layers[-1].bias), *plan.out_size), np.float32)
        trace = Trace(count, height, width, _cut(count))
        self._each(trace.pieces, plan, lambda piece, scratch: self._piece_forward(images, out, plan, piece, scratch))
        return out, trace

    def backward(self, grad: Floats, trace: Trace) -> Floats:
        """The gradient at the output [n, filters, h', w'] -> the gradient at the images [n, c, h, w]."""
        plan = self._plan(trace.height, trace.width)
        out = np.empty((trace.count, self._layers[0].weight.shape[1], trace.height, trace.width), np.float32)
        self._each(trace.pieces, plan, lambda piece, scratch: self._piece_backward(grad, out, plan, piece, scratch))
        return out

    def _plan(self, height: int, width: int) -> _Plan:
        if (height, width) not in self._plans:
            self._plans[height, width] = _Plan(self._layers, height, width)
        return self._plans[height, width]

    def _each(self, pieces: list[_Piece], plan: _Plan, work: Callable[[_Piece, Scratch], None]) -> None:
        def run(piece: _Piece) -> None:
            needs = plan.needs(piece.blocks)
            try:
                scratch = self._spare.pop()
            except IndexError:
                scratch = Scratch(*needs)
            if not scratch.holds(*needs):
                scratch = Scratch(*needs)
            work(piece, scratch)
            self._spare.append(scratch)

        if len(pieces) > 1:
            rest_idle_threads()
        for_each(pieces, run)

    def _piece_forward(self, images: Floats, out: Floats, plan: _Plan, piece: _Piece, scratch: Scratch) -> None:
        piece.codes[:] = [aligned(piece.blocks * size, np.uint8) for size in plan.code_sizes]
        here, there = scratch.wide
        for block in range(piece.blocks):
            pack(images[piece.images_of(block)], scratch.narrow[0], 1)
            found, size = self._march(plan.forward[: plan.shallow], scratch.narrow, piece, block, 1, scratch)
            size = size or plan.forward[0].takes * LANES
            here[block * size : (block + 1) * size] = found[:size]
        found, _ = self._march(plan.forward[plan.shallow :], (here, there), piece, 0, piece.blocks, scratch)
        unpack(found, out[piece.images], piece.blocks)

    def _piece_backward(self, grad: Floats, out: Floats, plan: _Plan, piece: _Piece, scratch: Scratch) -> None:
        last, deep = self._layers[-1], len(self._layers) - plan.shallow
        there, here = scratch.wide
        pack(grad[piece.images], there, piece.blocks)
        jit.winograd.back_through(
            there, piece.codes[-1], here, piece.blocks * len(last.bias), *plan.out_size, last.pool
        )
        found, size = self._march(plan.backward[:deep], (here, there), piece, 0, piece.blocks, scratch)
        size = size or plan.backward[0].takes * LANES
        for block in range(piece.blocks):
            scratch.narrow[0][:size] = found[block * size : (block + 1) * size]
            result, _ = self._march(plan.backward[deep:], scratch.narrow, piece, block, 1, scratch)
            unpack(result, out[piece.images_of(block)], 1)

    def _march(
        self, steps: Sequence[_Step], maps: Sequence[Floats], piece: _Piece, first: int, blocks: int, scratch: Scratch
    ) -> tuple[Floats, int]:
        """Take `blocks` blocks, from `first` on, through some steps, to and fro between two sets of maps.

        Returns:
            The set that holds the result, and the floats of a block in it; 0 if there was no step.
        """
        (here, there), size = maps, 0
        for step in steps:
            bias, codes = self._layers[step.layer].flat_bias, piece.codes[max(step.coded, 0)]
            codes = codes[first * (len(codes) // piece.blocks) :]
            jit.winograd.clear_border(here, blocks * step.channels, step.height, step.width)
            jit.winograd.convolve(
                *(here, self._at_points(step), bias, there, codes, scratch.values, scratch.products),
                *(blocks, step.channels, step.height, step.width, step.filters, step.finish),
            )
            here, there, size = there, here, step.gives * LANES
        return here, size

    def _at_points(self, step: _Step) -> Floats:
        scheme = scheme_for(step.height, step.width)
        assert scheme is not None
        key = (step.layer, scheme, step.back)
        if key not in self._weights:
            self._weights[key] = _weights_at_points(self._layers[step.layer].weight, scheme, back=step.back)
        return self._weights[key]


def _weights_at_points(weight: Tensor, scheme: Scheme, *, back: bool) -> Floats:
    """[filters, channels, 3, 3] -> flat [points, groups, channels, ROWS]; `back`: of the adjoint convolution."""
    taps, rows = weight.detach().double(), jit.winograd.ROWS
    if back:
        taps = taps.flip(2, 3).transpose(0, 1)
    filters, channels = taps.shape[:2]
    groups = -(-filters // rows)
    kernel = torch.from_numpy(scheme.kernel)
    values = torch.zeros(scheme.points, scheme.points, groups * rows, channels, dtype=torch.float64, device="cpu")
    values[:, :, :filters] = torch.einsum("ia,jb,kcab->ijkc", kernel, kernel, taps)
    values = values.view(scheme.points**2, groups, rows, channels).transpose(2, 3)
    return np.ascontiguousarray(values.float().numpy()).reshape(-1)


def _cut(count: int) -> list[_Piece]:
    """A batch in pieces: enough for all threads, each small enough for the cache."""
    blocks = -(-count // LANES)
    number = min(blocks, max(torch.get_num_threads(), -(-blocks // _BLOCKS)))
    pieces, first = [], 0
    for i in range(number):
        size = blocks // number + (i < blocks % number)
        images = min(size * LANES, count - first)
        pieces.append(_Piece(first, images, size))
        first += images
    return pieces
