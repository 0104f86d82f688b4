"""The range of images, where it is not [0, 1]: there and back."""

from typing import NamedTuple

import torch
from torch import Tensor


class Bounds(NamedTuple):
    """The value of a black pixel, and of a white one: (-1, 1), (0, 255)."""

    low: float = 0.0
    high: float = 1.0

    @property
    def width(self) -> float:
        """A radius in them is so many times as large as in [0, 1]."""
        return self.high - self.low

    @property
    def unit(self) -> bool:
        """They are [0, 1]."""
        return self == (0, 1)

    def to_unit(self, images: Tensor) -> Tensor:
        """Images in [0, 1], of images in these bounds; what is outside stays outside."""
        return images if self.unit else (images - self.low) / self.width

    def inside_unit(self, images: Tensor) -> Tensor:
        """The same, with what rounding has put outside moved to the border."""
        return images if self.unit else self.to_unit(images).clamp_(0, 1)

    def from_unit(self, images: Tensor) -> Tensor:
        """Images in these bounds, of images in [0, 1]."""
        return images if self.unit else images * self.width + self.low

    def back(self, moved: Tensor, unit: Tensor, given: Tensor) -> Tensor:
        """Images in these bounds, of images in [0, 1]; a pixel that was not moved is the one that was given, to the bit.

        Args:
            moved: in [0, 1].
            unit: the same before they were moved.
            given: those in these bounds.
        """
        if self.unit:
            return moved
        return torch.where(moved == unit, given, self.from_unit(moved).clamp_(self.low, self.high))
