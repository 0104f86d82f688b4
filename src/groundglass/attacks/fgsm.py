"""One step: the fast gradient sign method."""

from dataclasses import dataclass
from typing import Literal

from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.attacks.checkpoint import State
from groundglass.attacks.gradient_attack import GradientAttack, Job
from groundglass.attacks.sparse_balls import L1
from groundglass.core import pieces


@dataclass(frozen=True, kw_only=True)
class FGSM(GradientAttack):
    """One step of the ball's whole radius along the gradient (Goodfellow, Shlens and Szegedy 2015).

    An image costs one gradient and two checks. Nothing is random: `seed` is of no consequence.

    Differences from the original: in an L2 ball the step goes along the normalised gradient; images that the model
    gets wrong are left alone.

    Attributes:
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    loss: Literal["ce", "margin", "dlr"] = "ce"

    kinds = (Linf, L2, L1)

    @property
    def most_gradients(self) -> int:
        return 1

    def _attack(self, job: Job, ball: Ball, state: State) -> None:
        for rows in pieces(job.board.right, job.batch_size):
            centre, own = job.board.images[rows], ball.at(rows)
            x = own.climb(centre, job.gradient(rows, centre).grad, own.radii, centre)
            # The one step is the attack, whether or not it climbed.
            job.board.put(rows, x, *job.check(rows, x), 1)
