"""Images and ball of an audit in the units in which they were given, and in those in which it works: pixels of [0, 1]."""

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.core.bounds import Bounds
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
    bounds: Bounds = Bounds()

    @property
    def span(self) -> str:
        """In words: "[0, 1]"."""
        return f"[{self.bounds[0]:g}, {self.bounds[1]:g}]"

    @cached_property
    def unit_images(self) -> Tensor:
        return self.bounds.inside_unit(self.images)

    @cached_property
    def unit_ball(self) -> Ball:
        return self.ball if self.bounds.unit else self.ball.scaled(1 / self.bounds.width)

    def to_unit(self, images: Tensor) -> Tensor:
        """Images in [0, 1], of images in `bounds`; what is outside stays outside."""
        return self.bounds.to_unit(images)

    def back(self, adversarial: Tensor) -> Tensor:
        """Images in `bounds`, of images in [0, 1]; a pixel that was not moved is the one that was given, to the bit."""
        return self.bounds.back(adversarial, self.unit_images, self.images)

    def theirs(self, model: nn.Module) -> nn.Module:
        """A network of images in [0, 1], as one of images in `bounds`."""
        low, width = self.bounds.low, self.bounds.width
        return rescaled(model, (-low / width, (1 - low) / width))
