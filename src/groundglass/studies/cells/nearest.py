"""An access that remembers, for each image, the nearest point that was asked about and fooled the model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from groundglass.attacks import LabelAccess
from groundglass.attacks.access import Model
from groundglass.attacks.balls import Ball


class NearestAccess(LabelAccess):
    """Label access for an attack that looks for a small distance, as RayS does: one run tells what it fools at every radius.

    Args:
        images, labels: those under attack, numbered as the attack numbers them.
        numbers: the number of each in its set.
        ball: in a box that differs by channel distances are measured with it: those of its widest channel.
        per_image: queries for each image.

    Attributes:
        points: for each image the nearest point that fooled the model; the image itself where none did.
        distance: of these, pixel units; infinite where there is none.
    """

    def __init__(
        self, model: Model, images: Tensor, labels: Tensor, *, numbers: Sequence[int], ball: Ball, per_image: int
    ) -> None:
        super().__init__(model, per_image=per_image)
        self._images, self._labels = images, labels
        self._rows = {number: row for row, number in enumerate(numbers)}
        self._unit = ball.step(torch.ones_like(images[:1]), 1.0)
        self.points = images.clone()
        self.distance = images.new_full((len(images),), torch.inf)

    def labels(self, images: Tensor, *, check: bool = False, owners: Sequence[int] | None = None) -> Tensor:
        found = super().labels(images, check=check, owners=owners)
        assert owners is not None
        rows = torch.tensor([self._rows[owner] for owner in owners], dtype=torch.int64, device=images.device)
        away = ((images - self._images[rows]).abs() / self._unit).flatten(1).amax(1)
        # An image that is wrong as it is has no distance: nobody attacks it.
        nearer = (found != self._labels[rows]) & (away < self.distance[rows]) & (away > 0)
        for at in nearer.nonzero().squeeze(1).tolist():
            row = int(rows[at])
            if away[at] < self.distance[row]:
                self.points[row], self.distance[row] = images[at], away[at]
        return found
