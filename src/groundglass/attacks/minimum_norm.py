"""What attacks with gradients share that look for the nearest image which fools the model: with or without a ball."""

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch

from groundglass.attacks.balls import Ball
from groundglass.attacks.checkpoint import State
from groundglass.attacks.gradient_attack import GradientAttack, Job
from groundglass.attacks.hyperplanes import Metric
from groundglass.attacks.losses import Loss
from groundglass.attacks.nearest import NearestImageAttack
from groundglass.attacks.tensors import Images, PerImage, Rows, per_image
from groundglass.core import counting, pieces


class MinimumNormAttack(NearestImageAttack, GradientAttack):
    """With gradients: what was found outside a ball is projected into it, and checked again."""

    loss = "margin"

    def _attack(self, job: Job, ball: Ball | None, state: State) -> None:
        aims = state.get("aims")
        if aims is not None:
            job = replace(job, most_gradients=self.most_gradients * self._planes(aims))
        self._search(job, ball, state)
        if ball is not None:
            self._bring_inside(job, ball)

    def _planes(self, aims: Rows) -> int:
        """Gradients in a step of one image."""
        return max(1, aims.shape[1])

    @abstractmethod
    def _search(self, job: Job, ball: Ball | None, state: State) -> None:
        """Write the nearest image that fools the model to the board, wherever it is."""

    def _bring_inside(self, job: Job, ball: Ball) -> None:
        """Project what was found outside the ball, and see whether it fools the model from there."""
        board = job.board
        every = ball.at(counting(len(board.images), board.images.device))
        inside = every.contains(board.adversarial, board.images, tolerance=0)
        for rows in pieces((board.clean_correct & ~inside).nonzero().squeeze(1), job.batch_size):
            x = ball.at(rows).project(board.adversarial[rows], board.images[rows])
            board.put(rows, x, *job.check(rows, x), board.iterations[rows])


@dataclass(frozen=True, eq=False)
class Plane:
    """The boundary as it looks from an image: where value + grad . (x - image) = 0; below 0 on the image's own side.

    Attributes:
        value: [b].
        grad: of the value, at the image.
        distance: from the image, without regard to [0, 1]; float64 [b].
    """

    value: PerImage
    grad: Images
    distance: PerImage

    def at(self, there: Images, here: Images) -> PerImage:
        """The value that the plane gives other images, float64."""
        along = (self.grad.double() * (there.double() - here.double())).flatten(1).sum(1)
        return self.value.double() + along


def nearest_plane(job: Job, rows: Rows, x: Images, aims: Rows, metric: Metric) -> Plane:
    """Of the boundaries of each image's class with these classes, as linear as they look from `x`, the nearest; a gradient each.

    Args:
        aims: classes of each of the rows, [b, k]. With none it is the boundary of the criterion: a target's, against all others.
    """
    nearest: Plane | None = None
    for aim in aims.T if aims.shape[1] else (None,):
        found = job.gradient(rows, x, None if aim is None else _lead(aim))
        # A boundary without a slope is nowhere.
        distance = found.loss.double().abs() / metric.dual(found.grad).clamp_min(1e-300)
        if nearest is None:
            nearest = Plane(found.loss, found.grad, distance)
            continue
        closer = distance < nearest.distance
        nearest = Plane(
            torch.where(closer, found.loss, nearest.value),
            torch.where(per_image(closer), found.grad, nearest.grad),
            torch.where(closer, distance, nearest.distance),
        )
    assert nearest is not None
    return nearest


def _lead(aim: Rows) -> Loss:
    """By how much a class is ahead of the label."""
    return lambda logits, labels: (logits.gather(1, aim[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)


def interrupted(state: State) -> State:
    """Where a search was interrupted; empty at its beginning, when only the classes to aim at are known."""
    return {} if state.keys() == {"aims"} else state
