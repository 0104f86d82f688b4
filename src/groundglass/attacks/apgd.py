"""Auto-PGD: projected gradient descent that finds its own step size, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.attacks.access import GradientAccess, Gradients
from groundglass.attacks.balls import Ball
from groundglass.attacks.board import Board
from groundglass.attacks.losses import Loss, find_loss, targeted_dlr
from groundglass.attacks.result import AttackResult
from groundglass.core import generator


@dataclass(frozen=True, kw_only=True)
class APGD:
    """Auto-PGD (Croce and Hein 2020, Algorithm 1): momentum, and a step of 2 eps that is halved where it is too long.

    At checkpoints, which come closer and closer, an image goes back to its best iterate with half the step if fewer
    than `rho` of its moves since the last checkpoint climbed, or if its best loss has stayed the same and the step was not
    halved there. Nothing is to be tuned; an image costs what it costs PGD: a gradient a step, and a check at either end.

    `APGD(loss="ce")` and `APGD(loss="dlr", targets=9)` are the two white-box parts of AutoAttack. Where logits are so
    large that cross-entropy's gradient is zero in float32, take "dlr".

    Differences from the original: a random start is uniform in the ball, not pushed to its border in L-inf; at a
    checkpoint the way back comes before the move, and not after it, so that no iterate is asked about to be thrown away;
    the first iterate that fools the model is kept, and of others the one of highest loss; an image that is fooled, or
    wrong from the start, leaves the batch, and another takes its place.

    Attributes:
        steps: moves of a run.
        restarts: runs an image may have (for each target); one that is fooled needs no other.
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
        rho: the share of moves that must climb if the step is to stay as it is.
        alpha: the share of the new step in a move; the rest goes on with the last move.
        random_start: the first run starts at a random point of the ball, not at the image. Later restarts always do.
        stop_when_fooled: an image's work ends with the first iterate that fools the model. Robust accuracy is the same.
        targets: 0, or k > 0 for a run towards each of the k most likely other classes on the targeted DLR loss (needs
            loss="dlr" and 4 classes). What is recorded is the untargeted loss, so that runs can be compared.
    """

    steps: int = 100
    restarts: int = 1
    loss: Literal["ce", "margin", "dlr"] = "ce"
    rho: float = 0.75
    alpha: float = 0.75
    random_start: bool = True
    stop_when_fooled: bool = True
    targets: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"`steps` (={self.steps}) and `restarts` (={self.restarts}) must be at least 1")
        if not 0 <= self.rho <= 1:
            raise ValueError(f"`rho` (={self.rho:g}) must be in [0, 1]: a share of moves; the paper's is 0.75")
        if not 0 < self.alpha <= 1:
            raise ValueError(f"`alpha` (={self.alpha:g}) must be in (0, 1]: 1 for no momentum; the paper's is 0.75")
        if self.targets < 0:
            raise ValueError(f"`targets` (={self.targets}) must be 0 (untargeted) or the number of classes to aim at")
        if self.targets and self.loss != "dlr":
            raise ValueError(f"`targets` (={self.targets}) needs loss='dlr', not {self.loss!r}")
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
        """Attack each image; `indices` and `batch_size` as for `PGD`.

        Raises:
            ValueError: images, labels, radius or model that cannot be attacked, or too few classes for the loss or the
                targets; says what to do.
        """
        loss = find_loss(self.loss)
        board = Board.prepare(images, labels, ball, indices=indices, batch_size=batch_size)
        aims = []
        for rows in torch.arange(len(board.images), device=board.images.device).split(batch_size):
            logits = access.logits(board.images[rows]).float()
            board.see(rows, logits, loss)
            aims.append(self._aims(logits, board.labels[rows]))
        runs = _Runs(self, board, torch.cat(aims), ball, seed, loss)
        while runs.refill(batch_size):
            runs.advance(access)
        return board.result(ball)

    def _aims(self, logits: Float[Tensor, "b k"], labels: Int64[Tensor, "b"]) -> Int64[Tensor, "b targets"]:
        """The most likely other classes, the likeliest first."""
        if self.targets >= logits.shape[1]:
            raise ValueError(
                f"`targets` (={self.targets}) must be at most {logits.shape[1] - 1}: the model has {logits.shape[1]} "
                "classes, and one of them is the label's"
            )
        others = logits.scatter(1, labels[:, None], -torch.inf)
        return others.argsort(dim=1, descending=True, stable=True)[:, : self.targets]


def checkpoints(steps: int) -> list[int]:
    """After how many moves a step may be halved: ceil(p steps), p = .22 .41 .57 .70 .80 .87 .93 .99."""
    shares, share, gap = [], 22, 22
    # In hundredths: 0.57 * 100 is not 57 in floating point, and its ceiling might be 58.
    while share < 100:
        shares.append(share)
        gap = max(gap - 3, 6)
        share += gap
    return sorted({-(-share * steps // 100) for share in shares} - {steps})


@dataclass
class _Live:
    """Runs under attack, a row each.

    Attributes:
        rows, run: the image's row of the board, and which of its runs this is.
        step: moves made so far.
        x, before: the iterate, and the one that it was reached from.
        loss: of the iterate before `x` is asked about, of `x` then.
        best_x, best_grad, best_loss: of the run so far.
        size: of the next move, pixel units.
        climbs: moves since the last checkpoint that climbed.
        checked_loss: the best one at the last checkpoint.
        halved: whether the step was halved there.
    """

    rows: Int64[Tensor, "b"]
    run: Int64[Tensor, "b"]
    step: Int64[Tensor, "b"]
    x: Float[Tensor, "b c h w"]
    before: Float[Tensor, "b c h w"]
    loss: Float[Tensor, "b"]
    best_x: Float[Tensor, "b c h w"]
    best_grad: Float[Tensor, "b c h w"]
    best_loss: Float[Tensor, "b"]
    size: Float[Tensor, "b"]
    climbs: Int64[Tensor, "b"]
    checked_loss: Float[Tensor, "b"]
    halved: Bool[Tensor, "b"]

    @classmethod
    def start(cls, rows: Tensor, run: Tensor, x: Tensor, size: float) -> "_Live":
        none = torch.full(rows.shape, -torch.inf, dtype=x.dtype, device=x.device)
        zero = torch.zeros_like(rows)
        return cls(
            rows=rows, run=run, step=zero, x=x, before=x, loss=-none, best_x=x, best_grad=torch.zeros_like(x),
            best_loss=none, size=torch.full_like(none, size), climbs=zero, checked_loss=none, halved=zero.bool(),
        )  # fmt: skip

    def chosen(self, which: Bool[Tensor, "b"]) -> "_Live":
        return _Live(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    def joined(self, other: "_Live") -> "_Live":
        return _Live(**{f.name: torch.cat([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)})


class _Runs:
    """Runs under attack (the live batch) and in line for it. The order in which they are served influences none of them."""

    def __init__(self, attack: APGD, board: Board, aims: Tensor, ball: Ball, seed: int, loss: Loss) -> None:
        self._attack, self._board, self._ball, self._seed, self._loss = attack, board, ball, seed, loss
        self._aims = aims
        self._line = torch.stack([board.right, torch.zeros_like(board.right)])
        nobody = board.right[:0]
        self._live = _Live.start(nobody, nobody, board.images[:0], 0.0)
        # Moves since the checkpoint before, where there is a checkpoint; else 0.
        self._windows = torch.zeros(attack.steps, dtype=torch.int64, device=board.images.device)
        last = 0
        for point in checkpoints(attack.steps):
            self._windows[point], last = point - last, point

    def refill(self, batch_size: int) -> int:
        """Let runs in from the line while there is room; how many are under attack now."""
        room = batch_size - len(self._live.rows)
        if room > 0 and self._line.shape[1]:
            rows, run = self._line[:, :room]
            self._line = self._line[:, room:]
            new = _Live.start(rows, run, self._starts(rows, run), 2 * self._ball.radius)
            self._live = self._live.joined(new)
        return len(self._live.rows)

    def advance(self, access: GradientAccess) -> None:
        """One gradient and one move for every run under attack; a check for those whose last move it was."""
        board, live = self._board, self._live
        found = access.loss_and_grad(live.x, board.labels[live.rows], self._climbed())
        board.count(live.rows, found)
        fooled = self._offer(live, found.logits)
        self._move(self._judged(found))
        goes_on = ~fooled if self._attack.stop_when_fooled else torch.ones_like(fooled)
        at_end = goes_on & (live.step == self._attack.steps)
        if bool(at_end.any()):
            self._finish(access, live.chosen(at_end))
        stays = goes_on & ~at_end
        if not bool(stays.all()):
            self._live = live.chosen(stays)

    def _climbed(self) -> Loss:
        if not self._attack.targets:
            return self._loss
        aims = self._aims[self._live.rows, self._live.run % self._attack.targets]
        return lambda logits, labels: targeted_dlr(logits, labels, aims)

    def _offer(self, live: _Live, logits: Tensor) -> Bool[Tensor, "b"]:
        fooled = self._board.fooled(live.rows, logits)
        values = self._loss(logits.float(), self._board.labels[live.rows])
        self._board.offer(live.rows, live.x, values, fooled, live.step)
        return fooled

    def _judged(self, found: Gradients) -> Float[Tensor, "b c h w"]:
        """Note the loss of every iterate; at a checkpoint, perhaps halve the step and go back. The gradient to follow."""
        live = self._live
        live.climbs = live.climbs + (found.loss > live.loss)
        better = found.loss > live.best_loss
        live.best_loss = torch.where(better, found.loss, live.best_loss)
        live.best_x = torch.where(_per_image(better), live.x, live.best_x)
        live.best_grad = torch.where(_per_image(better), found.grad, live.best_grad)

        window = self._windows[live.step]
        slow = live.climbs < self._attack.rho * window  # condition 1
        stuck = ~live.halved & (live.best_loss <= live.checked_loss)  # condition 2
        halve = (window > 0) & (slow | stuck)
        begins = (window > 0) | (live.step == 0)
        live.climbs = torch.where(begins, 0, live.climbs)
        live.checked_loss = torch.where(begins, live.best_loss, live.checked_loss)
        live.halved = torch.where(begins, halve, live.halved)

        live.size = torch.where(halve, live.size / 2, live.size)
        live.loss = torch.where(halve, live.best_loss, found.loss)
        live.x = torch.where(_per_image(halve), live.best_x, live.x)
        return torch.where(_per_image(halve), live.best_grad, found.grad)

    def _move(self, grad: Float[Tensor, "b c h w"]) -> None:
        live, ball, centre = self._live, self._ball, self._board.images[self._live.rows]
        # Moves are linear in their size, which differs by image.
        target = ball.project(live.x + ball.step(grad, 1.0) * _per_image(live.size), centre)
        alpha = self._attack.alpha
        carried = live.x + alpha * (target - live.x) + (1 - alpha) * (live.x - live.before)
        moved = torch.where(_per_image(live.step == 0), target, ball.project(carried, centre))
        live.before, live.x, live.step = live.x, moved, live.step + 1

    def _finish(self, access: GradientAccess, ended: _Live) -> None:
        """See whether last iterates fool the model. Images that still stand, and have runs left, join the line."""
        self._board.check_queries[ended.rows] += 1
        self._offer(ended, access.logits(ended.x))
        runs = self._attack.restarts * max(1, self._attack.targets)
        again = ~self._board.success[ended.rows] & (ended.run + 1 < runs)
        self._line = torch.cat([self._line, torch.stack([ended.rows[again], ended.run[again] + 1])], dim=1)

    def _starts(self, rows: Tensor, run: Tensor) -> Tensor:
        """Where runs start. A random start hangs on the seed, the image's index and the number of the run alone."""
        x = self._board.images[rows]
        at_random = (run >= max(1, self._attack.targets)) | self._attack.random_start
        if bool(at_random.any()):
            streams = [
                generator(self._seed, "apgd", self._board.indices[row], number)
                for row, number in zip(rows[at_random].tolist(), run[at_random].tolist(), strict=True)
            ]
            x[at_random] = self._ball.random_start(x[at_random], streams)
        return x


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
