"""What attacks by gradients share: one call, input that is checked before any question, and what an attack may ask."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, cast

from torch import Generator, Tensor

from groundglass.attacks.access import GradientAccess, Gradients
from groundglass.attacks.attack import Attack, Call
from groundglass.attacks.balls import Ball, Linf, falls_short
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.checkpoint import AttackCheckpoint, State
from groundglass.attacks.losses import Loss, find_loss
from groundglass.attacks.result import AttackResult
from groundglass.attacks.tensors import Flags, Images, Logits, PerImage, Rows
from groundglass.attacks.unread import Pace, Unread
from groundglass.core import Progress, generator, pieces, silent
from groundglass.core.settings import In

StepSize = Annotated[float, In("(0, inf)", "pixel units, so 2/255, not 2")]
#: Of an attack that is made in L-inf alone.
LinfStepSize = Annotated[float, In("(0, 1]", "pixel units, so 2/255, not 2")]


@dataclass(frozen=True, eq=False)
class Job:
    """One call of an attack: what it was given, and the board that it writes to.

    Attributes:
        most_gradients: that an image may take.
        unread: answers that the host did not look at yet; None: it looks at each.
    """

    attack: "GradientAttack"
    access: GradientAccess
    board: Board
    seed: int
    batch_size: int
    checkpoint: AttackCheckpoint | None
    most_gradients: int
    progress: Progress = silent
    unread: Unread | None = None

    def pace(self, steps: int) -> Pace | None:
        """After how many steps the host reads which runs have ended; None: after each. Where rows are limited none is for
        nothing."""
        if self.unread is None:
            return None
        return Pace(steps, every=None if self.access.remaining is None else 1)

    def gradient(self, rows: Rows, x: Images, loss: Loss | None = None, on: Flags | None = None) -> Gradients:
        """A forward and a backward pass for each of `rows`, at `x`; counted for those that are `on`."""
        loss = loss or self.board.climbs(self.attack.loss, rows)
        if self.unread is not None:
            self.unread.on = on
        found = self.access.climb(rows, x, self.board.labels[rows], loss)
        self.board.count(rows, found, on)
        return found

    def check(self, rows: Rows, x: Images) -> tuple[PerImage, Flags]:
        """The loss at `x`, and whether it fools the model: a check query each."""
        if self.unread is not None:
            self.unread.on = None
        logits = self.access.logits(x)
        self.board.check_queries[rows] += 1
        return self.loss_of(rows, logits), self.board.fooled(rows, logits)

    def judge(self, rows: Rows, x: Images, loss: PerImage, fooled: Flags) -> tuple[PerImage, Flags]:
        """Loss and success of iterates, as their gradients' logits have them; where those are coarse, the model itself is asked
        about new successes, a check query each."""
        if self.access.coarse:
            again = (fooled & ~self.board.success[rows]).nonzero().squeeze(1)
            if len(again):
                checked, really = self.check(rows[again], x[again])
                loss, fooled = loss.index_copy(0, again, checked.to(loss)), fooled.index_copy(0, again, really)
        return loss, fooled

    def loss_of(self, rows: Rows, logits: Logits) -> PerImage:
        """What the attack climbs, at these logits of `rows`."""
        return self.board.climbs(self.attack.loss, rows)(logits.float(), self.board.labels[rows])

    def streams(
        self, rows: Rows | list[int], name: str, *path: int | str, of_each: Sequence[int] | None = None
    ) -> list[Generator]:
        """A random stream for each of `rows`. It depends on the seed, the image's index and the path alone, and on what tells
        one stream of an image from the next, `of_each`."""
        more: list[tuple[int, ...]] = [()] * len(rows) if of_each is None else [(one,) for one in of_each]
        known = rows if isinstance(rows, list) else rows.tolist()
        numbers = [self.board.indices[row] for row in known]
        return [generator(self.seed, name, number, *path, *own) for number, own in zip(numbers, more, strict=True)]

    def batches(self, state: State, rows: Rows | None = None) -> Iterator[tuple[int, Rows, State]]:
        """The images worth attacking that are left: the batch's number, its rows, and where it was interrupted.

        Args:
            rows: to attack these; those that the model gets right if not given.
        """
        batches = pieces(self.board.right if rows is None else rows, self.batch_size)
        for number in range(int(state["batch"]) if state else 0, len(batches)):
            yield number, batches[number], state
            state = {}

    def save(self, state: Callable[[], State], *, since: int = 0) -> None:
        """Between steps: say how far the work is, and write a checkpoint, if there is one and it is time.

        Args:
            since: steps that were made since the host has read. On a card it reads where that is 0, and does nothing elsewhere.
        """
        if self.unread is not None:
            if since:
                return
            self.unread.read()
        if self.progress is not silent:
            self._tell()
        if self.checkpoint is not None:
            self.checkpoint.offer(state)

    def _tell(self) -> None:
        board = self.board
        under_way = board.clean_correct & ~board.success
        # What is asked at most from here on: who is fooled may leave early.
        left = int((self.most_gradients - board.gradients[under_way]).clamp_min(0).sum())
        done, fooled = int(board.gradients.sum()), int(board.success.sum())
        self.progress(self.attack.title, done, done + left, fooled=fooled, images=len(board.right))


class GradientAttack(Attack):
    """An attack that asks for gradients. Subclasses are frozen dataclasses, their configuration.

    Attributes:
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    _access = GradientAccess
    loss: str

    def __post_init__(self) -> None:
        super().__post_init__()
        find_loss(self.loss)

    @property
    @abstractmethod
    def most_gradients(self) -> int:
        """Gradients that an image may take."""

    def _attack_all(self, call: Call) -> AttackResult:
        access, ball, batch_size = call.access, call.ball, call.batch_size
        board = Board.prepare(
            call.images, call.labels, ball, indices=call.indices, batch_size=batch_size, criterion=call.criterion
        )
        if not len(board.images):
            return board.result(self._measure(ball))
        access.meet(self, board.images)
        state, checkpoint = None, call.checkpoint
        if checkpoint is not None:
            state = checkpoint.resume(access, board, attack=self, ball=ball, seed=call.seed, batch_size=batch_size)
        with access.reading_later(board.images) as unread:
            if state is None:
                state = self._first_state(board, board.look(access, self.loss, batch_size))
            job = Job(
                self, access, board, call.seed, batch_size, checkpoint, self.most_gradients, call.progress, unread
            )
            self._attack(job, cast(Ball, ball), state)
        return board.result(self._measure(ball))

    def _measure(self, ball: Ball | None) -> Ball:
        """In which the perturbations of the result are measured."""
        return cast(Ball, ball)

    def _first_state(self, board: Board, logits: Logits) -> State:
        """What `_attack` starts from, once the images themselves were seen."""
        return {}

    @abstractmethod
    def _attack(self, job: Job, ball: Ball, state: State) -> None:
        """Attack all images that are right, or what is left of them after an interruption, and write to the board."""


def reaching(
    step_size: float | None, default: float | Tensor, *, steps: int, ball: Ball, too_short: str
) -> float | Tensor:
    """The step's size, or that of each image. Warns if all steps together cannot reach the border, and that the attack is
    `too_short`.

    Raises:
        ValueError: a step in L-inf of more than the whole range.
    """
    if step_size is None:
        return default
    if ball.kind is Linf and step_size > 1:
        raise ValueError(f"`step_size` (={step_size:g}) must be at most 1: pixel units, so 2/255, not 2")
    if falls_short(steps * step_size, ball):
        warnings.warn(
            f"{steps} steps of {step_size:g} cannot reach the border of a ball of radius {ball.radius:g}: {too_short}. "
            "Use more steps, or step_size=None",
            RuntimeWarning,
            stacklevel=6,
        )
    return step_size


def of_rows(size: float | Tensor, rows: Rows) -> float | Tensor:
    """The step of these images: the same for all, or one an image of the set."""
    return size.to(rows.device)[rows] if isinstance(size, Tensor) else size
