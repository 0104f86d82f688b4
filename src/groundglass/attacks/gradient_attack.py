"""What attacks by gradients share: one call, input that is checked before any question, and what an attack may ask."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import torch
from torch import Generator, Tensor

from groundglass.attacks.access import GradientAccess, Gradients, Model, open_access
from groundglass.attacks.balls import L2, Ball, as_ball, falls_short
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.checkpoint import AttackCheckpoint, State
from groundglass.attacks.losses import Loss, find_loss
from groundglass.attacks.result import AttackResult
from groundglass.attacks.tensors import Flags, Images, Labels, Logits, PerImage, Rows
from groundglass.core import generator, pieces
from groundglass.core.settings import Count, In, Settings, fit

StepSize = Annotated[float, In("(0, 1]", "pixel units, so 2/255, not 2")]


@dataclass(frozen=True, eq=False)
class Job:
    """One call of an attack: what it was given, and the board that it writes to."""

    access: GradientAccess
    board: Board
    loss: Loss
    seed: int
    batch_size: int
    checkpoint: AttackCheckpoint | None

    def gradient(self, rows: Rows, x: Images, loss: Loss | None = None) -> Gradients:
        """A forward and a backward pass for each of `rows`, at `x`; counted."""
        found = self.access.climb(rows, x, self.board.labels[rows], loss or self.loss)
        self.board.count(rows, found)
        return found

    def check(self, rows: Rows, x: Images) -> tuple[PerImage, Flags]:
        """The loss at `x`, and whether it fools the model: a check query each."""
        logits = self.access.logits(x)
        self.board.check_queries[rows] += 1
        return self.loss(logits.float(), self.board.labels[rows]), self.board.fooled(rows, logits)

    def streams(self, rows: Rows, name: str, *path: int | str) -> list[Generator]:
        """A random stream for each of `rows`. It depends on the seed, the image's index and the path alone."""
        return [generator(self.seed, name, self.board.indices[row], *path) for row in rows.tolist()]

    def batches(self, state: State, rows: Rows | None = None) -> Iterator[tuple[int, Rows, State]]:
        """The images worth attacking that are left: the batch's number, its rows, and where it was interrupted.

        Args:
            rows: to attack these; those that the model gets right if not given.
        """
        batches = pieces(self.board.right if rows is None else rows, self.batch_size)
        for number in range(int(state["batch"]) if state else 0, len(batches)):
            yield number, batches[number], state
            state = {}

    def save(self, state: Callable[[], State]) -> None:
        """Between steps: write a checkpoint, if there is one and it is time."""
        if self.checkpoint is not None:
            self.checkpoint.offer(state)


class GradientAttack(Settings, ABC):
    """An attack that asks for gradients. Subclasses are frozen dataclasses, their configuration.

    Attributes:
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    loss: str

    def __post_init__(self) -> None:
        super().__post_init__()
        find_loss(self.loss)

    def check_ball(self, ball: Ball | None) -> None:
        """Refuse a ball that the attack is not made for. Most attacks take any, but not none."""
        if ball is None:
            raise ValueError(f"{type(self).__name__} needs a ball: give Linf(eps=8 / 255), or L2")

    def __call__(
        self,
        access: GradientAccess | Model,
        images: Images,
        labels: Labels,
        ball: Ball | None = None,
        *,
        seed: int,
        indices: Sequence[int] | Tensor | None = None,
        batch_size: int = 128,
        checkpoint: AttackCheckpoint | Path | str | None = None,
    ) -> AttackResult:
        """Attack each image. One that the model gets wrong costs one check, and is left alone.

        Args:
            access: to the model; or the model itself, which is then asked through an access of this call.
            images, labels: tensors or numpy arrays; images [n, c, h, w] in [0, 1], labels [n], [n, 1] or one-hot.
            ball: where adversarial images may be. Only `CarliniWagnerL2` works without one.
            indices: the number of each image in its set, for its random draws; 0, 1, ... if not given.
            batch_size: images in a pass through the model. It changes no result, if the model's logits for an image
                do not depend on the batch.
            checkpoint: for a long attack that may be interrupted; or its file. Short attacks just start again.

        Raises:
            ValueError: images, labels, ball or model that cannot be attacked; says what to do.
            OSError: the checkpoint cannot be written; raised before the model is asked.
        """
        access = open_access(access, GradientAccess, type(self).__name__)
        ball = None if ball is None else as_ball(ball)
        self.check_ball(ball)
        seed, batch_size = fit(int, seed, "seed"), fit(Count, batch_size, "batch_size")
        if isinstance(checkpoint, Path | str):
            checkpoint = AttackCheckpoint(checkpoint)
        # What is made under inference mode has no gradient ever.
        with torch.inference_mode(False):
            board = Board.prepare(images, labels, ball, indices=indices, batch_size=batch_size)
            if not len(board.images):
                return board.result(ball or L2(0.0))
            access.meet(self, board.images)
            loss, state = find_loss(self.loss), None
            if checkpoint is not None:
                state = checkpoint.resume(access, board, attack=self, ball=ball, seed=seed, batch_size=batch_size)
            if state is None:
                state = self._first_state(board, board.look(access, loss, batch_size))
            self._attack(Job(access, board, loss, seed, batch_size, checkpoint), cast(Ball, ball), state)
            return board.result(ball or L2(0.0))

    def _first_state(self, board: Board, logits: Logits) -> State:
        """What `_attack` starts from, once the images themselves were seen."""
        return {}

    @abstractmethod
    def _attack(self, job: Job, ball: Ball, state: State) -> None:
        """Attack all images that are right, or what is left of them after an interruption, and write to the board."""


def reaching(step_size: float | None, default: float, *, steps: int, ball: Ball, too_short: str) -> float:
    """The step's size. Warns if all steps together cannot reach the border, and that the attack is `too_short`."""
    if step_size is None:
        return default
    if falls_short(steps * step_size, ball):
        warnings.warn(
            f"{steps} steps of {step_size:g} cannot reach the border of a ball of radius {ball.radius:g}: {too_short}. "
            "Use more steps, or step_size=None",
            RuntimeWarning,
            stacklevel=4,
        )
    return step_size
