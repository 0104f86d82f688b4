"""Projected gradient descent, with the batch kept full of images that still stand."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.attacks.access import GradientAccess
from groundglass.attacks.balls import Ball
from groundglass.attacks.board import Board
from groundglass.attacks.checkpoint import AttackCheckpoint, State
from groundglass.attacks.losses import Loss, find_loss
from groundglass.attacks.result import AttackResult
from groundglass.core import generator


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Steps along the gradient, projected back into the ball (Madry et al. 2018): sign steps in L-inf, normalised in L2.

    The defaults are the paper's: 50 steps of .01 on images in [-1, 1], which is .005 of a pixel, from the image itself.

    Differences from the original: no random start unless asked for; the best iterate is kept, not the last; an image
    that is fooled, or wrong from the start, leaves the batch, and another takes its place.

    Attributes:
        steps: moves of a run.
        step_size: pixel units; None: 2.5 * eps / steps, which can cross the ball whatever its size.
        random_start: the first run starts at a random point of the ball. Later runs always do.
        restarts: runs an image may have; one that is fooled needs no other.
        keep: "best", the first iterate that fools the model, else that of highest loss; or "last", the end of the
            last run, as in the paper's code.
        stop_when_fooled: an image's work ends with the first iterate that fools the model. Robust accuracy is the same.
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    steps: int = 50
    step_size: float | None = 0.005
    random_start: bool = False
    restarts: int = 1
    keep: Literal["best", "last"] = "best"
    stop_when_fooled: bool = True
    loss: Literal["ce", "margin", "dlr"] = "ce"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise ValueError(f"`steps` (={self.steps}) and `restarts` (={self.restarts}) must be at least 1")
        if self.step_size is not None and not 0 < self.step_size <= 1:
            raise ValueError(f"`step_size` (={self.step_size:g}) must be in (0, 1]: pixel units, so 2/255, not 2")
        if self.keep not in ("best", "last"):
            raise ValueError(f"`keep` (={self.keep!r}) must be 'best' or 'last'")
        if self.keep == "last" and self.stop_when_fooled:
            raise ValueError("keep='last' runs every step: it needs stop_when_fooled=False")
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
        checkpoint: AttackCheckpoint | None = None,
    ) -> AttackResult:
        """Attack each image.

        A gradient's own forward pass tells whether the iterate it is taken at fools the model, so an image costs one
        gradient a step, a check of the clean image and, if it stands to the end of a run, one of the last iterate.

        Args:
            indices: the number of each image in its set, for its random starts; 0, 1, ... if not given.
            batch_size: images in a pass through the model. It changes no result, if the model's logits for an image
                do not depend on the batch.
            checkpoint: of a long attack that may be interrupted.

        Raises:
            ValueError: images, labels, radius or model that cannot be attacked; says what to do.
        """
        loss = find_loss(self.loss)
        board, state = Board.prepare(images, labels, ball, indices=indices, batch_size=batch_size), None
        if checkpoint is not None:
            state = checkpoint.resume(access, board, attack=self, ball=ball, seed=seed, batch_size=batch_size)
        if state is None:
            board.look(access, loss, batch_size)
        runs = _Runs(self, board, ball, seed, self._size(ball), state)
        while runs.refill(batch_size):
            runs.advance(access, loss)
            if runs.waiting >= batch_size or runs.idle:
                runs.check_last(access, loss, batch_size)
            if checkpoint is not None:
                checkpoint.offer(runs.state)
        return board.result(ball)

    def _size(self, ball: Ball) -> float:
        if self.step_size is None:
            return 2.5 * ball.radius / self.steps
        if self.steps * self.step_size < ball.radius * (1 - 1e-6):
            warnings.warn(
                f"{self.steps} steps of {self.step_size:g} cannot reach the border of a ball of radius "
                f"{ball.radius:g}: robust accuracy will look too high. Use more steps, or step_size=None",
                RuntimeWarning,
                stacklevel=3,
            )
        return self.step_size


class _Runs:
    """Images under attack (the live batch), in line for it, and waiting for the check of their last iterate.

    A run is an image (its row of the board) and which of its restarts it is. The order in which runs are served has
    no influence on any of them.
    """

    def __init__(
        self, attack: PGD, board: Board, ball: Ball, seed: int, size: float, state: State | None = None
    ) -> None:
        self._attack, self._board, self._ball, self._seed, self._size = attack, board, ball, seed, size
        right = board.right
        self._line = torch.stack([right, torch.zeros_like(right)])
        self._rows, self._run, self._step = (right[:0] for _ in range(3))
        self._x = board.images[:0]
        self._last: list[tuple[Tensor, Tensor, Tensor]] = []
        if state is not None:
            self._line = state["line"]
            self._rows, self._run, self._step, self._x = (state[name] for name in ("rows", "run", "step", "x"))
            self._last = [(state["last/rows"], state["last/run"], state["last/x"])]

    def state(self) -> State:
        """All of it: with the board, what an interrupted attack needs to go on."""
        none = (self._rows[:0], self._run[:0], self._x[:0])
        rows, run, x = (torch.cat(parts) for parts in zip(none, *self._last, strict=True))
        return {
            "line": self._line,
            "rows": self._rows,
            "run": self._run,
            "step": self._step,
            "x": self._x,
            "last/rows": rows,
            "last/run": run,
            "last/x": x,
        }

    @property
    def waiting(self) -> int:
        """Runs that have made all their moves, and whose last iterate is not checked yet."""
        return sum(len(rows) for rows, _, _ in self._last)

    @property
    def idle(self) -> bool:
        """Nothing is under attack or in line."""
        return not len(self._rows) and not self._line.shape[1]

    def refill(self, batch_size: int) -> int:
        """Let runs in from the line while there is room; how many are under attack now."""
        room = batch_size - len(self._rows)
        if room > 0 and self._line.shape[1]:
            rows, run = self._line[:, :room]
            self._line = self._line[:, room:]
            self._rows = torch.cat([self._rows, rows])
            self._run = torch.cat([self._run, run])
            self._step = torch.cat([self._step, torch.zeros_like(rows)])
            self._x = torch.cat([self._x, self._starts(rows, run)])
        return len(self._rows)

    def advance(self, access: GradientAccess, loss: Loss) -> None:
        """One gradient and one move for every run under attack."""
        board, rows = self._board, self._rows
        found = access.loss_and_grad(self._x, board.labels[rows], loss)
        board.count(rows, found)
        fooled = board.fooled(rows, found.logits)
        if self._attack.keep == "best":
            board.offer(rows, self._x, found.loss, fooled, self._step)
        self._x = self._ball.project(self._x + self._ball.step(found.grad, self._size), board.images[rows])
        self._step = self._step + 1
        goes_on = ~fooled if self._attack.stop_when_fooled else torch.ones_like(fooled)
        at_end = goes_on & (self._step == self._attack.steps)
        if bool(at_end.any()):
            self._last.append((rows[at_end], self._run[at_end], self._x[at_end]))
        stays = goes_on & ~at_end
        if not bool(stays.all()):
            self._rows, self._run, self._step, self._x = (
                t[stays] for t in (self._rows, self._run, self._step, self._x)
            )

    def check_last(self, access: GradientAccess, loss: Loss, batch_size: int) -> None:
        """See whether last iterates fool the model. Images that still stand, and have restarts left, join the line."""
        if not self._last:
            return
        board, steps = self._board, self._attack.steps
        rows, run, x = (torch.cat(parts) for parts in zip(*self._last, strict=True))
        self._last = []
        for part in torch.arange(len(rows), device=rows.device).split(batch_size):
            at, ends = rows[part], x[part]
            logits = access.logits(ends)
            board.check_queries[at] += 1
            values = loss(logits.float(), board.labels[at])
            fooled = board.fooled(at, logits)
            if self._attack.keep == "best":
                board.offer(at, ends, values, fooled, steps)
            else:
                board.put(at, ends, values, fooled, steps, where=fooled | True)
        again = ~board.success[rows] & (run + 1 < self._attack.restarts)
        self._line = torch.cat([self._line, torch.stack([rows[again], run[again] + 1])], dim=1)

    def _starts(self, rows: Tensor, run: Tensor) -> Tensor:
        """Where runs start. A random start hangs on the seed, the image's index and the number of the run alone."""
        x = self._board.images[rows]
        at_random = (run > 0) | self._attack.random_start
        if bool(at_random.any()):
            streams = [
                generator(self._seed, "pgd", self._board.indices[row], number)
                for row, number in zip(rows[at_random].tolist(), run[at_random].tolist(), strict=True)
            ]
            x[at_random] = self._ball.random_start(x[at_random], streams)
        return x
