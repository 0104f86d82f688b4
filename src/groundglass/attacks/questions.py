"""What an attack by queries works with: the images under attack, the questions that it asks, and their answers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor

from groundglass.attacks.access import LabelAccess, QueryAccess, ScoreAccess
from groundglass.attacks.balls import Ball
from groundglass.attacks.bookkeeping import Board
from groundglass.core import counting, generator, whole

# Of losses. A confident network's cross-entropy is below what float32 can tell from 0, although its logits still move.
PRECISION = torch.float64

State = dict[str, Tensor]
"""What an attack remembers between steps: tensors, one row a slot. The scheduler keeps, drops and saves rows."""


@dataclass(frozen=True)
class Live:
    """The images under attack, one slot each. A step sees all of them, and treats each as if it were alone.

    Attributes:
        numbers: the number of each in its set. Its random streams depend on that and the seed alone.
        step: steps made so far.
        left: queries that each may still ask; at least the attack's `cost`.
        ball: where an adversarial image may be.
        seed: of the random streams.
        scratch: memory that steps use again and again; see `buffer`.
        start: where each search begins, in the ball and in [0, 1]; None: where the attack itself would.
    """

    original: Float[Tensor, "s c h w"]
    labels: Int64[Tensor, "s"]
    numbers: Sequence[int]
    step: Int64[Tensor, "s"]
    left: Int64[Tensor, "s"]
    ball: Ball
    seed: int
    scratch: dict[str, Tensor] = field(default_factory=dict, repr=False)
    start: Float[Tensor, "s c h w"] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def slots(self) -> Int64[Tensor, "s"]:
        """0, 1, ...: one query for each slot."""
        return counting(len(self), self.original.device)

    def buffer(self, name: str, *shape: int) -> Tensor:
        """Room for float32 images, uninitialised; the next step gets the same. Fresh memory takes longer than its use."""
        size = math.prod(shape)
        if name not in self.scratch or self.scratch[name].numel() < size:
            self.scratch[name] = self.original.new_empty(size)
        return self.scratch[name][:size].view(shape)

    def draw(
        self,
        make: Callable[[Generator], Tensor],
        *path: str,
        slots: Tensor | None = None,
        at: Tensor | None = None,
        out: Tensor | None = None,
    ) -> Tensor:
        """Random numbers for each slot, [s, ...], from a stream of its own for each image and each step.

        Args:
            make: from a generator to what one slot needs; a shape that is the same for all.
            slots: for these slots alone.
            at: what distinguishes one draw from the next, for each of those slots; their step if not given.
        """
        chosen = self.slots if slots is None else slots
        when = self.step[chosen] if at is None else at
        streams = (
            generator(self.seed, *path, self.numbers[slot], step)
            for slot, step in zip(chosen.tolist(), when.tolist(), strict=True)
        )
        if out is None:
            return torch.stack([make(stream) for stream in streams]).to(self.original.device)
        for row, stream in enumerate(streams):
            out[row] = make(stream)
        return out


@dataclass(frozen=True)
class Answer:
    """What the model said about some rows.

    Attributes:
        loss: what the attack climbs, in float64: a confident network's cross-entropy is nearer to 0 than float32 resolves,
            and its differences would be lost. NaN from an access that gives labels alone.
        fooled: the criterion is met; untargeted, the predicted class is not the label.
    """

    loss: Float[Tensor, "q"]
    fooled: Bool[Tensor, "q"]


class Ask:
    """The one way to put a question to the model. Questions are packed into full batches, counted and answered.

    Every answer is noted on the board the moment it is there.

    Attributes:
        answers: of the step under way.
        known: of a step that was interrupted, to be used again.
    """

    def __init__(self, access: QueryAccess, board: Board, loss: str, batch_size: int) -> None:
        self._access, self._board, self._loss, self._batch_size = access, board, loss, batch_size
        self.answers: list[Answer] = []
        self.known: list[Answer] = []

    def begin(self, rows: Tensor, live: Live) -> None:
        """A step of these rows of the board."""
        self._rows, self._live = rows, live
        self._estimates: list[tuple[Tensor, Tensor]] = []
        self._confirmed: set[int] = set()

    def __call__(
        self,
        x: Float[Tensor, "q c h w"],
        slots: Int64[Tensor, "q"],
        *,
        inside: bool | Bool[Tensor, "q"],
        check: bool = False,
    ) -> Answer:
        """Ask about rows, clamped to [0, 1].

        Args:
            slots: the slot that each row is asked for, in rising order.
            inside: the row is in its image's ball: if it fools the model, that image's attack ends with this step. Where
                the access confirms, it is asked about again first; so is one row of a slot in a step, and no other counts.
            check: asked only to see whether it fools the model; counted apart.
        """
        if len(x):
            low, high = torch.aminmax(x)
            x = x if low >= 0 and high <= 1 else x.clamp(0, 1)
        ends = torch.full_like(slots, inside, dtype=torch.bool) if isinstance(inside, bool) else inside
        if not self._access.confirm:
            return self._answers(x, slots, ends, check)
        # What is noted is noted after the last answer: an interrupted step that is made again notes the same.
        answer = self._answers(x, slots, torch.zeros_like(ends), check)
        answer = self._checked(x, slots, ends, answer)
        self._note(x, slots, ends, answer)
        return answer

    def _checked(self, x: Tensor, slots: Tensor, ends: Tensor, answer: Answer) -> Answer:
        """Answers, their successes asked about again: most answers decide, and the loss is the mean of these alone, as the
        one that called for them was chosen for being high."""
        loss, fooled = answer.loss.clone(), answer.fooled & ~ends
        claims = []
        for row in (answer.fooled & ends).nonzero().squeeze(1).tolist():
            slot = int(slots[row])
            if slot not in self._confirmed:
                self._confirmed.add(slot)
                claims.append(row)
        if claims:
            at, times = whole(claims, x.device), self._access.confirm
            many = at.repeat_interleave(times)
            again = self._answers(x[many], slots[many], torch.zeros_like(ends[many]), check=True)
            fooled[at] = 2 * again.fooled.view(-1, times).sum(1) > times
            loss[at] = again.loss.view(-1, times).mean(1)
        return Answer(loss, fooled)

    def _answers(self, x: Tensor, slots: Tensor, ends: Tensor, check: bool) -> Answer:
        found = self._again(len(x))
        before = sum(len(a.loss) for a in found)
        batches = -(-(len(x) - before) // self._batch_size)
        bounds = [before + (len(x) - before) * batch // max(1, batches) for batch in range(batches + 1)]
        for part in map(slice, bounds[:-1], bounds[1:]):
            answer = self._pass(x[part], slots[part], ends[part], check)
            self.answers.append(answer)
            found.append(answer)
        if len(found) == 1:
            return found[0]
        return Answer(torch.cat([a.loss for a in found]), torch.cat([a.fooled for a in found]))

    def count_estimates(self, slots: Int64[Tensor, "k"], grad: Float[Tensor, "k c h w"]) -> None:
        """Note that these slots estimated a gradient, and whether it was zero everywhere: then nothing was learned."""
        self._estimates.append((self._rows[slots], (grad == 0).flatten(1).all(1)))

    def finish(self) -> None:
        """The step is whole: what must not be noted twice, should it be interrupted, is noted now."""
        for rows, zero in self._estimates:
            self._board.gradients[rows] += 1
            self._board.zero_gradients[rows] += zero
        self.answers.clear()

    def _again(self, rows: int) -> list[Answer]:
        """Answers that an interrupted run of this step had got already: noted then, not to be asked or noted again."""
        found = []
        while rows and self.known:
            whole = self.known.pop(0)
            head = Answer(whole.loss[:rows], whole.fooled[:rows])
            if len(whole.loss) > rows:
                self.known.insert(0, Answer(whole.loss[rows:], whole.fooled[rows:]))
            rows -= len(head.loss)
            found.append(head)
            self.answers.append(head)
        return found

    def _pass(self, x: Tensor, slots: Tensor, ends: Tensor, check: bool) -> Answer:
        board, rows = self._board, self._rows[slots]
        owners = [self._live.numbers[slot] for slot in slots.tolist()]
        if isinstance(self._access, ScoreAccess):
            logits = self._access.logits(x, check=check, owners=owners)
            loss = board.climbs(self._loss, rows)(logits.to(PRECISION), board.labels[rows])
            fooled = board.fooled(rows, logits)
        else:
            assert isinstance(self._access, LabelAccess)
            predicted = self._access.labels(x, check=check, owners=owners)
            fooled = board.fooled_by_class(rows, predicted, self._access.classes)
            loss = torch.full_like(fooled, torch.nan, dtype=PRECISION)
        counts = board.check_queries if check else board.loss_queries
        counts.index_add_(0, rows, torch.ones_like(rows))
        answer = Answer(loss, fooled)
        self._note(x, slots, ends, answer)
        return answer

    def _note(self, x: Tensor, slots: Tensor, ends: Tensor, answer: Answer) -> None:
        """Offer the board what may be kept."""
        board, rows, loss, fooled = self._board, self._rows[slots], answer.loss, answer.fooled
        # An image that fell to an earlier row of this step keeps that one.
        better = ends & ~board.success[rows] & (fooled | (loss > board.loss[rows]))
        at = better.nonzero().squeeze(1)
        if len(at):
            at = at[_best_of_each(slots[at], loss[at], fooled[at])]
            board.offer(rows[at], x[at], loss[at], fooled[at], self._live.step[slots[at]] + 1)


class Stepwise(Protocol):
    """What the scheduler needs of an attack by queries; see `QueryAttack`."""

    def cost(self) -> int: ...

    def begin(self, live: Live) -> State: ...

    def step(self, live: Live, state: State, ask: Ask) -> State: ...


def _best_of_each(slots: Tensor, loss: Tensor, fooled: Tensor) -> Tensor:
    """Of the rows of each slot, the first that fools the model, else the first of highest loss: their positions."""
    if len(slots) == 1 or bool((slots[1:] != slots[:-1]).all()):
        return counting(len(slots), slots.device)
    rank = torch.where(fooled, torch.inf, loss.nan_to_num(nan=-torch.inf))
    _, group = torch.unique_consecutive(slots, return_inverse=True)
    count = int(group[-1]) + 1
    top = torch.full((count,), -torch.inf, dtype=rank.dtype, device=slots.device).scatter_reduce_(
        0, group, rank, "amax"
    )
    order = counting(len(slots), slots.device)
    order = torch.where(rank == top[group], order, len(slots))
    return torch.full((count,), len(slots), device=slots.device, dtype=torch.int64).scatter_reduce_(
        0, group, order, "amin"
    )
