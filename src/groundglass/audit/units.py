"""Images and ball of an audit in the units in which they were given, and in those in which it works: pixels of [0, 1]."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from groundglass.attacks.access import UNIT
from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.models.rescaled import rescaled


@dataclass(frozen=True, eq=False)
class Units:
    """What was given.

    Attributes:
        images: [n, c, h, w], in `bounds`.
        ball: of such images.
        bounds: the value of a black pixel, and of a white one.
    """

    images: Tensor
    ball: Linf | L2
    bounds: tuple[float, float] = UNIT

    @property
    def same(self) -> bool:
        """The images are in [0, 1]."""
        return self.bounds == UNIT

    @property
    def span(self) -> str:
        """In words: "[0, 1]"."""
        return f"[{self.bounds[0]:g}, {self.bounds[1]:g}]"

    @property
    def _width(self) -> float:
        return self.bounds[1] - self.bounds[0]

    @cached_property
    def unit_images(self) -> Tensor:
        return self.images if self.same else self.to_unit(self.images).clamp_(0, 1)

    @cached_property
    def unit_ball(self) -> Ball:
        return self.ball if self.same else self.ball.scaled(1 / self._width)

    def to_unit(self, images: Tensor) -> Tensor:
        """Images in [0, 1], of images in `bounds`; what is outside stays outside."""
        return images if self.same else (images - self.bounds[0]) / self._width

    def back(self, adversarial: Tensor) -> Tensor:
        """Images in `bounds`, of images in [0, 1]; a pixel that was not moved is the one that was given, to the bit."""
        if self.same:
            return adversarial
        low, high = self.bounds
        return torch.where(
            adversarial == self.unit_images, self.images, (adversarial * self._width + low).clamp_(low, high)
        )

    def theirs(self, model: nn.Module) -> nn.Module:
        """A network of images in [0, 1], as one of images in `bounds`."""
        low, _ = self.bounds
        return rescaled(model, (-low / self._width, (1 - low) / self._width))
