"""The control: random points of the ball. An attack that does not beat them has learned nothing from the model."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.attacks.access import GradientAccess
from groundglass.attacks.balls import Ball
from groundglass.attacks.board import Board
from groundglass.attacks.losses import cross_entropy
from groundglass.attacks.result import AttackResult
from groundglass.core import generator


@dataclass(frozen=True, kw_only=True)
class RandomNoise:
    """The best of some random points. No gradient is asked for.

    Attributes:
        points: tried for each image, until one fools the model.
        extreme: draw corners of L-inf's box, or points of L2's surface, rather than points inside: noise is the
            stronger the farther it goes.
    """

    points: int = 20
    extreme: bool = True

    def __post_init__(self) -> None:
        if self.points < 1:
            raise ValueError(f"`points` (={self.points}) must be at least 1")

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
        """Attack each image; its points hang on `seed` and its index alone."""
        board = Board.open(access, images, labels, ball, cross_entropy, indices=indices, batch_size=batch_size)
        draw = ball.random_extreme if self.extreme else ball.random_start
        for point in range(self.points):
            left = (board.clean_correct & ~board.success).nonzero().squeeze(1)
            for rows in left.split(batch_size):
                streams = [generator(seed, "noise", board.indices[row], point) for row in rows.tolist()]
                x = draw(board.images[rows], streams)
                logits = access.logits(x)
                board.check_queries[rows] += 1
                loss = cross_entropy(logits.float(), board.labels[rows])
                board.offer(rows, x, loss, board.fooled(rows, logits), 1)
        return board.result(ball)
