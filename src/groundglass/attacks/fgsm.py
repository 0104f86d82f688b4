"""One step: the fast gradient sign method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.attacks.access import GradientAccess
from groundglass.attacks.balls import Ball
from groundglass.attacks.board import Board
from groundglass.attacks.losses import find_loss
from groundglass.attacks.result import AttackResult


@dataclass(frozen=True, kw_only=True)
class FGSM:
    """One step of the ball's whole radius along the gradient (Goodfellow, Shlens and Szegedy 2015).

    Differences from the original: in an L2 ball the step goes along the normalised gradient; images that the model
    gets wrong are left alone.

    Attributes:
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    loss: Literal["ce", "margin", "dlr"] = "ce"

    def __post_init__(self) -> None:
        find_loss(self.loss)

    def __call__(
        self,
        access: GradientAccess,
        images: Float[Tensor, "n c h w"],
        labels: Int64[Tensor, "n"],
        ball: Ball,
        *,
        seed: int,
        indices: Sequence[int] | Tensor | None = None,
        batch_size: int = 128,
    ) -> AttackResult:
        """Attack each image: one gradient, two checks. Nothing here is random: `seed` is of no consequence."""
        loss = find_loss(self.loss)
        board = Board.open(access, images, labels, ball, loss, indices=indices, batch_size=batch_size)
        for rows in board.right.split(batch_size):
            centre, own = board.images[rows], board.labels[rows]
            found = access.loss_and_grad(centre, own, loss)
            board.count(rows, found)
            x = ball.project(centre + ball.step(found.grad, ball.radius), centre)
            logits = access.logits(x)
            board.check_queries[rows] += 1
            fooled = board.fooled(rows, logits)
            # The one step is the attack, whether or not it climbed.
            board.put(rows, x, loss(logits.float(), own), fooled, 1, where=fooled | True)
        return board.result(ball)
