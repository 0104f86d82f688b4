"""The steps of a network as bounds see them: each maps intervals forward, and linear lower bounds backward. All in float64.

An interval is a box [1, *shape] of lower and upper values. A linear bound of S outputs is S rows of coefficients, [S, *shape],
with an offset each: output s is at least <rows[s], x> + offset[s] for all x of the box.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input

#: Lower and upper values.
Box = tuple[Tensor, Tensor]


class Step(ABC):
    """One layer. `linear`: its bounds are exact. `diagonal`: each output depends on one input alone."""

    linear = True
    diagonal = False

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """What the layer computes."""

    @abstractmethod
    def interval(self, box: Box) -> Box:
        """Bounds of what comes out when what goes in is in the box."""

    @abstractmethod
    def back(self, rows: Tensor, box: Box) -> tuple[Tensor, Tensor]:
        """Of a linear lower bound of what comes out, rows of one of what goes in, and what it adds to the offsets, [S]."""


def total(values: Tensor) -> Tensor:
    """Summed over all but the rows."""
    return values.flatten(1).sum(1)


@dataclass(frozen=True, eq=False)
class Scale(Step):
    """x -> factor x + shift, which are [1, channels, ...]: normalisation, BatchNorm in eval mode."""

    factor: Tensor
    shift: Tensor
    diagonal = True

    def __call__(self, x: Tensor) -> Tensor:
        return self.factor * x + self.shift

    def interval(self, box: Box) -> Box:
        one, other = self(box[0]), self(box[1])
        return torch.minimum(one, other), torch.maximum(one, other)

    def back(self, rows: Tensor, box: Box) -> tuple[Tensor, Tensor]:
        return rows * self.factor, total(rows * self.shift)


@dataclass(frozen=True, eq=False)
class Dense(Step):
    """x -> W x + bias, W [out, in]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def interval(self, box: Box) -> Box:
        middle, reach = self(_middle(box)), F.linear(_reach(box), self.weight.abs())
        return middle - reach, middle + reach

    def back(self, rows: Tensor, box: Box) -> tuple[Tensor, Tensor]:
        return rows @ self.weight, total((rows @ self.bias)[:, None])


@dataclass(frozen=True, eq=False)
class Convolution(Step):
    """`settings`: stride, padding, dilation and groups."""

    weight: Tensor
    bias: Tensor
    settings: dict[str, Any]

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, **self.settings)

    def interval(self, box: Box) -> Box:
        middle, reach = self(_middle(box)), F.conv2d(_reach(box), self.weight.abs(), **self.settings)
        return middle - reach, middle + reach

    def back(self, rows: Tensor, box: Box) -> tuple[Tensor, Tensor]:
        found: Tensor = conv2d_input((len(rows), *box[0].shape[1:]), self.weight, rows.contiguous(), **self.settings)
        return found, rows.sum((2, 3)) @ self.bias


def folded(steps: list[Step]) -> list[Step]:
    """The same with one step for a layer of weights and the scaling that follows it: half as much to walk back."""
    found: list[Step] = []
    for step in steps:
        before = found[-1] if found else None
        if isinstance(step, Scale) and isinstance(before, Dense | Convolution) and step.factor.ndim > 1:
            factor, shift = step.factor.flatten(), step.shift.flatten()
            weight = before.weight * factor.view(-1, *[1] * (before.weight.ndim - 1))
            found[-1] = replace(before, weight=weight, bias=before.bias * factor + shift)
        else:
            found.append(step)
    return found


@dataclass(frozen=True, eq=False)
class Averages(Step):
    """Averages of inputs, or inputs in another shape: average pooling, flattening. Nothing is added."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def interval(self, box: Box) -> Box:
        return self(box[0]), self(box[1])

    def back(self, rows: Tensor, box: Box) -> tuple[Tensor, Tensor]:
        inputs = box[0].new_zeros(len(rows), *box[0].shape[1:], requires_grad=True)
        with torch.enable_grad():
            (found,) = torch.autograd.grad(self(inputs), inputs, rows.reshape(len(rows), *self(box[0]).shape[1:]))
        return found, rows.new_zeros(len(rows))


class Rectify(Step):
    """ReLU. Where a unit may be on or off, it is above `x` or 0, whichever is off by less, and below the line between its ends.

    Source: H. Zhang et al., "Efficient neural network robustness certification with general activation functions" (CROWN), 2018.
    """

    linear = False
    diagonal = True

    def __call__(self, x: Tensor) -> Tensor:
        return x.relu()

    def interval(self, box: Box) -> Box:
        return box[0].relu(), box[1].relu()

    def back(self, rows: Tensor, box: Box) -> tuple[Tensor, Tensor]:
        lower, upper = box
        on, both = (lower >= 0).to(lower), (lower < 0) & (upper > 0)
        below = torch.where(both, (upper > -lower).to(lower), on)
        above = torch.where(both, upper / (upper - lower).clamp_min(torch.finfo(lower.dtype).tiny), on)
        positive, negative = rows.clamp_min(0), rows.clamp_max(0)
        lifted = torch.where(both, -lower * above, torch.zeros_like(lower))
        return positive * below + negative * above, total(negative * lifted)


@dataclass(frozen=True, eq=False)
class MaxPool(Step):
    """The largest of a window is at least the input with the largest lower bound; and no more than it, where that bound is above
    all others of the window, else than the largest upper bound."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    linear = False

    def __call__(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel, self.stride, self.padding, self.dilation)

    def interval(self, box: Box) -> Box:
        return self(box[0]), self(box[1])

    def back(self, rows: Tensor, box: Box) -> tuple[Tensor, Tensor]:
        lower, upper = box
        largest, place = F.max_pool2d(lower, self.kernel, self.stride, self.padding, self.dilation, return_indices=True)
        sure = largest >= self._others(upper, place)
        through = torch.where(sure, rows, rows.clamp_min(0))
        count, channels = rows.shape[:2]
        found = rows.new_zeros(count, channels, lower.shape[2] * lower.shape[3])
        found.scatter_add_(2, place.flatten(2).expand(count, -1, -1), through.flatten(2))
        constant = torch.where(sure, torch.zeros_like(largest), self(upper))
        return found.view(count, *lower.shape[1:]), total(rows.clamp_max(0) * constant)

    def contested(self, box: Box) -> Tensor:
        """Which inputs may be the largest of a window that has others: their box should be narrow. bool, as the inputs."""
        lower, upper = box
        largest, place = F.max_pool2d(lower, self.kernel, self.stride, self.padding, self.dilation, return_indices=True)
        channels, (height, width) = upper.shape[1], upper.shape[2:]
        open_windows = (largest < self._others(upper, place)).view(channels, 1, -1)
        rivals = open_windows & (
            self._windows(upper.view(channels, 1, height, width), -torch.inf) > largest.view(channels, 1, -1)
        )
        inputs = self._windows(self._numbers(upper), -1.0).long().expand_as(rivals)
        found = upper.new_zeros(channels, height * width, dtype=torch.int64)
        found.scatter_add_(1, inputs.clamp_min(0).flatten(1), (rivals & (inputs >= 0)).long().flatten(1))
        return (found > 0).view_as(upper)

    def _numbers(self, like: Tensor) -> Tensor:
        """The place of each input in its plane."""
        height, width = like.shape[2:]
        return torch.arange(height * width, dtype=like.dtype, device=like.device).view(1, 1, height, width)

    def _others(self, upper: Tensor, place: Tensor) -> Tensor:
        """The largest upper bound of each window but for that of the input at `place`."""
        _, channels, height, width = upper.shape
        values = self._windows(upper.view(channels, 1, height, width), -torch.inf)
        taken = self._windows(self._numbers(upper), -1.0) == place.view(channels, 1, -1)
        return values.masked_fill(taken, -torch.inf).amax(1).view_as(place)

    def _windows(self, planes: Tensor, outside: float) -> Tensor:
        """[planes, 1, height, width] -> [planes, inputs of a window, windows]."""
        down, across = self.padding
        padded = F.pad(planes, (across, across, down, down), value=outside)
        # By views: `F.unfold` multiplies, and infinity times 0 is no number.
        for axis in (2, 3):
            k, d = self.kernel[axis - 2], self.dilation[axis - 2]
            padded = padded.unfold(axis, d * (k - 1) + 1, self.stride[axis - 2])[..., ::d]
        return padded.flatten(4).flatten(2, 3).squeeze(1).transpose(1, 2)


class Centre(Step):
    """Features -> features less the mean of their own sample: above 0 is a bit. [1, N] -> [1, N]."""

    def __call__(self, x: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)

    def interval(self, box: Box) -> Box:
        lower, upper = box
        own = (upper - lower) / lower.shape[1]  # a feature is in its own mean
        return lower - upper.mean(1, keepdim=True) + own, upper - lower.mean(1, keepdim=True) - own

    def back(self, rows: Tensor, box: Box) -> tuple[Tensor, Tensor]:
        return rows - rows.mean(1, keepdim=True), rows.new_zeros(len(rows))


def _middle(box: Box) -> Tensor:
    return (box[0] + box[1]) / 2


def _reach(box: Box) -> Tensor:
    return (box[1] - box[0]) / 2
