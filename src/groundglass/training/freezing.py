"""Early layers that learn no more, late in training: what lies below them needs no backward pass (Brock et al. 2017)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated

from torch import nn

from groundglass.core.phases import still_at
from groundglass.core.settings import Count, In, Settings


@dataclass(frozen=True, kw_only=True)
class Freezing(Settings):
    """Early layers whose weights stay as they are from some epoch on.

    BatchNorms among them still normalise by the batch, and their running statistics go on. An average of the weights goes on
    too. In adversarial training the attack still goes through them: it saves less there.

    Attributes:
        layers: the first so many layers with a matrix of weights, in the order in which the network has them, and what else it
            has before the next one. Of VGG-16 4 are those up to the second max-pool, where most of the time goes.
        after: the share of all epochs after which they learn no more.
    """

    layers: Count = 4
    after: Annotated[float, In("(0, 1)", "a share of all epochs")] = 0.75

    def still(self, epoch: int, epochs: int) -> bool:
        """Whether they are, in an epoch of so many."""
        return still_at(epoch, epochs, after=self.after)

    def held(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that it is about.

        Raises:
            ValueError: that would be all layers of the network, or all that learn.
        """
        matrices = [one for one in model.parameters() if one.ndim > 1]
        if len(matrices) <= self.layers:
            raise ValueError(
                f"`freezing` is of the first {self.layers} layers, and this network has {len(matrices)}: give fewer `layers`"
            )
        following, every = matrices[self.layers], list(model.parameters())
        found = list(takewhile(lambda one: one is not following, every))
        if not any(one.requires_grad for one in every[len(found) :]):
            raise ValueError(
                f"`freezing` is of the first {self.layers} layers, and behind them nothing learns in this network: give fewer "
                "`layers`, or leave it out"
            )
        return found


@contextmanager
def held_still(parameters: list[nn.Parameter]) -> Iterator[None]:
    """Without gradients in this block; then those that had them have them again."""
    trained = [one for one in parameters if one.requires_grad]
    for one in trained:
        one.requires_grad_(False)
    try:
        yield
    finally:
        for one in trained:
            one.requires_grad_(True)
