"""Adversarial images made on one network, or several, to be tried on others: every step, no early stop."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.attacks.access import GradientAccess
from groundglass.attacks.balls import L2, Ball
from groundglass.attacks.board import Board
from groundglass.attacks.checkpoint import AttackCheckpoint, State
from groundglass.attacks.losses import Loss, find_loss
from groundglass.attacks.result import AttackResult
from groundglass.attacks.transfer_parts import Ensemble, GaussianKernel, InputDiversity
from groundglass.core import generator

__all__ = ["Ensemble", "GaussianKernel", "InputDiversity", "TransferPGD"]

# An L2 projection leaves points that are outside by a millionth of the radius; what is saved must not be.
_SLACK = 3e-6


@dataclass(frozen=True, kw_only=True)
class TransferPGD:
    """Projected gradient steps that run to their end, with the parts that make images transfer; combine them at will.

    Plain, it is the PGD of the paper's transfer figure. With `momentum=1` it is MI-FGSM (Dong et al. 2018): the steps
    go along g <- momentum * g + grad / mean(abs(grad)). With `diversity` the gradients are taken at random views of the
    image (DI), with `smoothing` they are smoothed before they are normalised (TI). With an `Ensemble` in the access,
    they are those of several networks' mean logits.

    Differences from the originals: in an L2 ball the step goes along g normalised; pixels are in [0, 1]; images that
    the source gets wrong are left alone; mean(abs) for the L1 norm of Dong's paper, as in their code (a constant
    factor). Those of the parts are told there. From `PGD`: an image that fools the source goes on, because for other
    networks how far it gets counts, and not that it got there.

    Attributes:
        steps: moves; all of them are made.
        step_size: pixel units; None: radius / steps, as in MI-FGSM, which just reaches the border. With a random start
            or a wavering gradient, 2 to 2.5 times that crosses the ball.
        momentum: share of the last g that stays; 0 is none, 1 the original's.
        diversity: views at which gradients are taken; None: the image itself.
        smoothing: of the gradients; None: none.
        random_start: start at a random point of the ball instead of at the image.
        keep: "last", the end of the path, as in the originals; or "highest", of the iterates after the first move that
            fool the source (of all, if none does) the one of highest loss. With `diversity` that costs a check a step,
            as the gradient's own pass sees the view, not the image.
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    steps: int = 10
    step_size: float | None = None
    momentum: float = 0.0
    diversity: InputDiversity | None = None
    smoothing: GaussianKernel | None = None
    random_start: bool = False
    keep: Literal["last", "highest"] = "last"
    loss: Literal["ce", "margin", "dlr"] = "ce"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"`steps` (={self.steps}) must be at least 1")
        if self.step_size is not None and not 0 < self.step_size <= 1:
            raise ValueError(f"`step_size` (={self.step_size:g}) must be in (0, 1]: pixel units, so 2/255, not 2")
        if not (self.momentum >= 0 and math.isfinite(self.momentum)):
            raise ValueError(f"`momentum` (={self.momentum:g}) must be 0 or more: 0 for none, 1 as in MI-FGSM")
        if self.keep not in ("last", "highest"):
            raise ValueError(f"`keep` (={self.keep!r}) must be 'last' or 'highest'")
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
        """Attack each image; `success` says whether the source is fooled. An image costs `steps` gradients, two checks.

        Args:
            indices: the number of each image in its set, for its random draws; 0, 1, ... if not given.
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
        size = self._size(ball)
        batches = [rows for rows in board.right.split(batch_size) if len(rows)]
        for batch in range(0 if state is None else int(state["batch"]), len(batches)):
            self._attack(access, board, batches[batch], ball, loss, size, seed, batch, checkpoint, state)
            state = None
        return board.result(ball)

    def _attack(
        self,
        access: GradientAccess,
        board: Board,
        rows: Int64[Tensor, "b"],
        ball: Ball,
        loss: Loss,
        size: float,
        seed: int,
        batch: int,
        checkpoint: AttackCheckpoint | None,
        state: State | None,
    ) -> None:
        """All the moves of a batch, or those that are left of it."""
        ball = replace(ball, eps=ball.eps * (1 - _SLACK)) if isinstance(ball, L2) else ball
        centre, labels = board.images[rows], board.labels[rows]
        numbers = [board.indices[row] for row in rows.tolist()]
        x, done = centre, 0
        if self.random_start and state is None:
            x = ball.random_start(centre, [generator(seed, "transfer", i, "start") for i in numbers])
        g = torch.zeros_like(x)
        if state is not None:
            x, g, done = state["x"], state["g"], int(state["step"])
        for step in range(done, self.steps):
            if self.diversity is None:
                found = access.loss_and_grad(x, labels, loss)
                grad, logits = found.grad, found.logits
            else:
                view = self.diversity.draw(x, [generator(seed, "transfer", i, step) for i in numbers])
                found = access.loss_and_grad(view.apply(x), labels, loss)
                grad, logits = view.pull(found.grad), None
            board.count(rows, found)
            if self.keep == "highest" and step:
                self._offer(access, board, rows, x, loss, step, logits)
            if self.smoothing is not None:
                grad = self.smoothing(grad)
            g = self.momentum * g + _normalised(grad)
            x = ball.project(x + ball.step(g, size), centre)
            if checkpoint is not None:
                checkpoint.offer(partial(_state, batch, step + 1, x, g))
        self._offer(access, board, rows, x, loss, self.steps, None)

    def _offer(
        self,
        access: GradientAccess,
        board: Board,
        rows: Int64[Tensor, "b"],
        x: Float[Tensor, "b c h w"],
        loss: Loss,
        move: int,
        logits: Float[Tensor, "b k"] | None,
    ) -> None:
        """Let the board have an iterate, if it is the one to keep. Without its logits they are asked for: a check."""
        if logits is None:
            logits = access.logits(x)
            board.check_queries[rows] += 1
        values, fooled = loss(logits.float(), board.labels[rows]), board.fooled(rows, logits)
        where = torch.ones_like(fooled)
        if self.keep == "highest":
            # `iterations` is 0 until the first iterate is kept: the image itself is not one of them.
            higher = (values > board.loss[rows]) | (board.iterations[rows] == 0)
            was = board.success[rows]
            where = (fooled & ~was) | ((fooled == was) & higher)
        board.put(rows, x, values, fooled, move, where=where)

    def _size(self, ball: Ball) -> float:
        if self.step_size is None:
            return ball.radius / self.steps
        if self.steps * self.step_size < ball.radius * (1 - 1e-6):
            warnings.warn(
                f"{self.steps} steps of {self.step_size:g} cannot reach the border of a ball of radius "
                f"{ball.radius:g}: transfer will look too weak. Use more steps, or step_size=None",
                RuntimeWarning,
                stacklevel=3,
            )
        return self.step_size


def _state(batch: int, step: int, x: Tensor, g: Tensor) -> State:
    return {"batch": torch.tensor(batch), "step": torch.tensor(step), "x": x, "g": g}


def _normalised(grad: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Each image's gradient over the mean of its absolute values; zero stays zero."""
    return grad / grad.flatten(1).abs().mean(1).clamp_min(1e-38).view(-1, 1, 1, 1)
