"""The smallest L2 perturbation that fools the model (Carlini and Wagner 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.attacks.access import GradientAccess
from groundglass.attacks.balls import L2, Ball
from groundglass.attacks.board import Board
from groundglass.attacks.losses import margin
from groundglass.attacks.result import AttackResult

# Images are mapped into (-1, 1) scaled by this, so that black and white are not infinitely far away in tanh's space.
_INTERIOR = 1 - 1e-6
_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8


@dataclass(frozen=True, kw_only=True)
class CarliniWagnerL2:
    """Minimise |x - image|^2 + c f(x), f = max(label's logit - largest other, -confidence), over w with x = (tanh w + 1) / 2.

    Adam climbs down; a binary search finds, image by image, the smallest c that still fools the model.

    Differences from the original: untargeted; fewer steps by default (the original: 1000 steps and 9 searches, which
    is what distances to publish should be measured with); c starts at 0.01 instead of 0.001; an image that
    stops early leaves the batch.

    Attributes:
        steps: of Adam in each search, one gradient each.
        searches: values of c that are tried for each image.
        learning_rate: of Adam, in tanh's space.
        initial_c: the first c; ten times larger after every search that fails, until one succeeds.
        confidence: logits by which the other class must win.
        abort_early: leave a search when a tenth of its steps has brought less than 0.01%.
    """

    steps: int = 100
    searches: int = 6
    learning_rate: float = 0.01
    initial_c: float = 0.01
    confidence: float = 0.0
    abort_early: bool = True

    def __post_init__(self) -> None:
        if self.steps < 1 or self.searches < 1:
            raise ValueError(f"`steps` (={self.steps}) and `searches` (={self.searches}) must be at least 1")
        if self.learning_rate <= 0 or self.initial_c <= 0 or self.confidence < 0:
            raise ValueError("`learning_rate` and `initial_c` must be above 0, `confidence` 0 or more")

    def __call__(
        self,
        access: GradientAccess,
        images: Float[Tensor, "n c h w"],
        labels: Int64[Tensor, "n"],
        ball: Ball | None = None,
        *,
        seed: int,
        indices: Sequence[int] | Tensor | None = None,
        batch_size: int = 128,
    ) -> AttackResult:
        """Attack each image. The search does not look at the ball; nothing in it is random.

        Args:
            ball: without one, any image that fools the model is a success, and `norm` says how near it is. With one,
                only an image inside it is: what was found outside is projected into the ball, and looked at once more.

        Raises:
            ValueError: a ball that is not L2, or images, labels or a model that cannot be attacked.
        """
        if ball is not None and not isinstance(ball, L2):
            raise ValueError(
                f"Carlini-Wagner L2 measures in L2, not in a {type(ball).__name__} ball: give L2(eps), or none"
            )
        board = Board.open(access, images, labels, ball, margin, indices=indices, batch_size=batch_size)
        for rows in board.right.split(batch_size):
            self._minimise(access, board, rows)
        if ball is not None:
            self._bring_inside(access, board, ball, batch_size)
        return board.result(ball or L2(0.0))

    def _bring_inside(self, access: GradientAccess, board: Board, ball: Ball, batch_size: int) -> None:
        """Project what was found outside the ball, and see whether it fools the model from there."""
        found = ball.contains(board.adversarial, board.images, tolerance=0)
        for rows in (board.clean_correct & ~found).nonzero().squeeze(1).split(batch_size):
            x = ball.project(board.adversarial[rows], board.images[rows])
            logits = access.logits(x)
            board.check_queries[rows] += 1
            fooled = board.fooled(rows, logits)
            loss = margin(logits.float(), board.labels[rows])
            board.put(rows, x, loss, fooled, board.iterations[rows], where=fooled | True)

    def _minimise(self, access: GradientAccess, board: Board, rows: Int64[Tensor, "b"]) -> None:
        """All searches for the images at `rows`."""
        low = torch.zeros(len(rows), device=rows.device)
        high = torch.full_like(low, torch.inf)
        c = torch.full_like(low, self.initial_c)
        nearest = torch.full_like(low, torch.inf)
        for _ in range(self.searches):
            found = self._search(access, board, rows, c, nearest)
            high = torch.where(found, torch.minimum(high, c), high)
            low = torch.where(found, low, torch.maximum(low, c))
            c = torch.where(high.isinf(), c * 10, (low + high) / 2)

    def _search(self, access: GradientAccess, board: Board, rows: Tensor, c: Tensor, nearest: Tensor) -> Tensor:
        """One run of Adam for each image at its own c; whether it fooled the model. `nearest` is updated in place."""
        found = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        live = torch.arange(len(rows), device=rows.device)
        w = torch.atanh((2 * board.images[rows] - 1) * _INTERIOR)
        first, second = torch.zeros_like(w), torch.zeros_like(w)
        before = torch.full_like(c, torch.inf)
        patience = max(1, self.steps // 10)
        for step in range(1, self.steps + 1):
            at, centre = rows[live], board.images[rows[live]]
            tanh = w.tanh()
            x = (tanh + 1) / 2
            asked = access.loss_and_grad(x, board.labels[at], margin)
            board.count(at, asked)
            delta = x - centre
            distance = delta.flatten(1).square().sum(1)
            wins = board.fooled(at, asked.logits) & (asked.loss >= self.confidence)
            found[live] |= wins
            nearer = wins & (distance < nearest[live])
            nearest[live[nearer]] = distance[nearer]
            board.put(at, x, asked.loss, wins, step, where=nearer)
            # f is flat once the other class wins by enough; its slope is that of the margin, downwards.
            pull = torch.where(asked.loss < self.confidence, c[live], torch.zeros_like(distance))
            to_x = 2 * delta - pull.view(-1, 1, 1, 1) * asked.grad
            to_w = to_x * (1 - tanh.square()) / 2
            first = _BETA1 * first + (1 - _BETA1) * to_w
            second = _BETA2 * second + (1 - _BETA2) * to_w.square()
            mean, spread = first / (1 - _BETA1**step), second / (1 - _BETA2**step)
            w = w - self.learning_rate * mean / (spread.sqrt() + _ADAM_EPS)
            if self.abort_early and step % patience == 0:
                total = distance + c[live] * (self.confidence - asked.loss).clamp_min(0)
                stays = total < 0.9999 * before[live]
                before[live] = total
                live, w, first, second = live[stays], w[stays], first[stays], second[stays]
                if not len(live):
                    break
        return found
