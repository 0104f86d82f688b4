"""The control: random points of the ball. An attack that does not beat them has learned nothing from the model."""

from dataclasses import dataclass

from groundglass.attacks.balls import Ball
from groundglass.attacks.checkpoint import State
from groundglass.attacks.gradient_attack import GradientAttack, Job
from groundglass.core import pieces
from groundglass.core.settings import Count


@dataclass(frozen=True, kw_only=True)
class RandomNoise(GradientAttack):
    """The best of some random points, by cross-entropy. No gradient is asked for.

    Attributes:
        points: tried for each image, until one fools the model.
        extreme: draw corners of L-inf's box, or points of L2's surface, instead of points inside: noise is stronger
            the farther it goes.
    """

    points: Count = 20
    extreme: bool = True
    loss = "ce"

    @property
    def most_gradients(self) -> int:
        return 0

    def _attack(self, job: Job, ball: Ball, state: State) -> None:
        board = job.board
        for point in range(self.points):
            left = (board.clean_correct & ~board.success).nonzero().squeeze(1)
            for rows in pieces(left, job.batch_size):
                own = ball.at(rows)
                draw = own.random_extreme if self.extreme else own.random_start
                x = draw(board.images[rows], job.streams(rows, "noise", point))
                board.offer(rows, x, *job.check(rows, x), 1)
