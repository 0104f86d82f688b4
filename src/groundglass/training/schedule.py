"""Learning rates as pure functions of how far training is: a resumed run needs no state of theirs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from groundglass.core.settings import In, Positive, Settings, Tally


@runtime_checkable
class Schedule(Protocol):
    """The learning rate over a training, as a factor on that of `TrainingConfig`."""

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        """The factor on the learning rate at `epoch` (with its fraction) of `epochs`, after epochs with these losses."""
        ...


@dataclass(frozen=True)
class OneCycle(Settings):
    """Up along a cosine during the first `warmup` of training, then down along one to zero (Smith and Topin 2017)."""

    warmup: Annotated[float, In("[0, 1)", "a share of all epochs")] = 0.25

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        x = epoch / epochs
        if x < self.warmup:
            return 0.04 + 0.96 * (1 - math.cos(math.pi * x / self.warmup)) / 2
        return (1 + math.cos(math.pi * (x - self.warmup) / (1 - self.warmup))) / 2


@dataclass(frozen=True)
class Steps(Settings):
    """Times `by` at each of `at` epochs."""

    at: tuple[Tally, ...] = (45, 60)
    by: Positive = 0.5

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        return float(self.by ** sum(epoch >= a for a in self.at))


@dataclass(frozen=True)
class Plateau(Settings):
    """Times `by` when the training loss was not `threshold` (relative) below its best for more than `patience` epochs.

    The rule of torch's ReduceLROnPlateau, which the paper's scripts use, replayed over the losses so far.
    """

    patience: Tally = 2
    by: Positive = 0.5
    threshold: Annotated[float, In("[0, 1)", "a share of the best loss")] = 0.01

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        factor, best, bad = 1.0, math.inf, 0
        for loss in losses[: int(epoch)]:
            if loss < best * (1 - self.threshold):
                best, bad = loss, 0
            else:
                bad += 1
            if bad > self.patience:
                factor, bad = factor * self.by, 0
        return factor


@dataclass(frozen=True)
class Both(Settings):
    """The product of two schedules: the paper's scripts for CIFAR-100's VGG-16 have `Steps` and `Plateau` side by side.

    With both of torch's schedulers on one optimiser each multiplies the rate that it finds, which is this product.
    """

    first: Schedule
    second: Schedule

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        return self.first.factor(epoch, epochs, losses) * self.second.factor(epoch, epochs, losses)
