"""What an attack by queries works with: the images under attack, the questions that it asks, and their answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from groundglass.attacks.balls import Ball
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.draws import Draws
from groundglass.attacks.query_access import LabelAccess, QueryAccess, ScoreAccess
from groundglass.attacks.unread import Unread
from groundglass.core import counting, whole
from groundglass.core.reading import free_to_read, sent

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
        made: the same, where the host knows them.
        left: queries that each may still ask; at least the attack's `cost`.
        ball: where an adversarial image may be.
        draws: random numbers for each slot.
        scratch: memory that steps use again and again; see `buffer`.
        start: where each search begins, in the ball and in [0, 1]; None: where the attack itself would.
    """

    original: Float[Tensor, "s c h w"]
    labels: Int64[Tensor, "s"]
    numbers: Sequence[int]
    step: Int64[Tensor, "s"]
    made: Sequence[int]
    left: Int64[Tensor, "s"]
    ball: Ball
    draws: Draws
    scratch: dict[str, Tensor] = field(default_factory=dict, repr=False)
    start: Float[Tensor, "s c h w"] | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def slots(self) -> Int64[Tensor, "s"]:
        """0, 1, ...: one query for each slot."""
        return counting(len(self), self.original.device)

    def due(self, every: int) -> list[int]:
        """The slots whose step is a multiple of `every`."""
        return [slot for slot, step in enumerate(self.made) if step % every == 0]

    @property
    def beginning(self) -> list[int]:
        """The slots that make their first step."""
        return [slot for slot, step in enumerate(self.made) if not step]

    def at(self, slots: list[int]) -> Int64[Tensor, "k"]:
        """These slots as an index, where the images are."""
        return sent(whole(slots), self.original.device)

    def buffer(self, name: str, *shape: int) -> Tensor:
        """Room for float32 images, uninitialised; the next step gets the same. Fresh memory takes longer than its use."""
        size = math.prod(shape)
        if name not in self.scratch or self.scratch[name].numel() < size:
            self.scratch[name] = self.original.new_empty(size)
        return self.scratch[name][:size].view(shape)

    def normal(self, *shape: int, path: str, slots: list[int] | None = None, out: Tensor | None = None) -> Tensor:
        """Standard normal numbers for each slot, or for `slots` alone, float32 [s, *shape]: new ones with each step."""
        return self.draws.normal(shape, (path,), *self._turns(slots), out)

    def integers(self, below: int, *shape: int, path: Sequence[str], slots: list[int] | None = None) -> Tensor:
        """Integers in [0, below), int64 [s, *shape]; as `normal`."""
        return self.draws.integers(below, shape, tuple(path), *self._turns(slots))

    def permutation(
        self, count: int, *, path: Sequence[str], slots: list[int] | None = None, when: list[int] | None = None
    ) -> Tensor:
        """0 to count - 1 in random order, int64 [s, count]; as `normal`.

        Args:
            when: what tells one draw from the next, for each of these slots; their step if not given.
        """
        which, steps = self._turns(slots)
        return self.draws.permutation(count, tuple(path), which, steps if when is None else when)

    def _turns(self, slots: list[int] | None) -> tuple[list[int], list[int]]:
        which = list(range(len(self))) if slots is None else slots
        return which, [self.made[slot] for slot in which]


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
        unread: answers that the host did not look at yet; None: it looks at each.
    """

    def __init__(self, access: QueryAccess, board: Board, loss: str, batch_size: int, *, nearest: bool = False) -> None:
        """`nearest`: of what fools the model the nearest is kept, and no success ends an attack."""
        self._access, self._board, self._loss, self._batch_size = access, board, loss, batch_size
        self._nearest = nearest
        self.unread: Unread | None = None
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
        slots: int | Int64[Tensor, "q"],
        *,
        inside: bool | Bool[Tensor, "q"],
        check: bool = False,
    ) -> Answer:
        """Ask about rows, clamped to [0, 1].

        Args:
            slots: how many rows each slot asks for, one slot after the other; or the slot that each row is asked for, in rising
                order, for which a card is waited for.
            inside: the row is in its image's ball: if it fools the model, that image's attack ends with this step. Where
                the access confirms, it is asked about again first; so is one row of a slot in a step, and no other counts.
            check: asked only to see whether it fools the model; counted apart.
        """
        if not free_to_read(x):
            x = x.clamp(0, 1)
        elif len(x):
            low, high = torch.aminmax(x)
            x = x if low >= 0 and high <= 1 else x.clamp(0, 1)
        asked = self._rows_of(x, slots, inside, check)
        if not self._access.confirm:
            return self._answers(asked)
        # What is noted is noted after the last answer: an interrupted step that is made again notes the same.
        answer = self._checked(asked, self._answers(replace(asked, ends=None)))
        self._note(asked, answer)
        return answer

    def _rows_of(self, x: Tensor, slots: int | Tensor, inside: bool | Tensor, check: bool) -> "_Asked":
        if isinstance(slots, Tensor):
            which, known = slots, slots.tolist()
        else:
            which, known = self._live.slots, list(range(len(self._live)))
            if slots > 1:
                which, known = which.repeat_interleave(slots), [slot for slot in known for _ in range(slots)]
        ends = inside if isinstance(inside, Tensor) else torch.ones_like(which, dtype=torch.bool) if inside else None
        return _Asked(x, which, known, ends, check, alone=isinstance(slots, int) and slots == 1)

    def _checked(self, asked: "_Asked", answer: Answer) -> Answer:
        """Answers, their successes asked about again: most answers decide, and the loss is the mean of these alone, as the
        one that called for them was chosen for being high."""
        if asked.ends is None:
            return answer
        loss, fooled = answer.loss.clone(), answer.fooled & ~asked.ends
        claims = []
        for row in (answer.fooled & asked.ends).nonzero().squeeze(1).tolist():
            if asked.known[row] not in self._confirmed:
                self._confirmed.add(asked.known[row])
                claims.append(row)
        if claims:
            at, times = whole(claims, fooled.device), self._access.confirm
            many = at.repeat_interleave(times)
            known = [asked.known[row] for row in claims for _ in range(times)]
            again = self._answers(_Asked(asked.x[many], asked.slots[many], known, None, check=True))
            fooled[at] = 2 * again.fooled.view(-1, times).sum(1) > times
            loss[at] = again.loss.view(-1, times).mean(1)
        return Answer(loss, fooled)

    def _answers(self, asked: "_Asked") -> Answer:
        rows = len(asked.x)
        found = self._again(rows)
        before = sum(len(a.loss) for a in found)
        batches = -(-(rows - before) // self._batch_size)
        bounds = [before + (rows - before) * batch // max(1, batches) for batch in range(batches + 1)]
        for part in map(slice, bounds[:-1], bounds[1:]):
            answer = self._pass(asked.part(part))
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

    def _pass(self, asked: "_Asked") -> Answer:
        board, rows, x = self._board, self._rows[asked.slots], asked.x
        owners = [self._live.numbers[slot] for slot in asked.known]
        if isinstance(self._access, ScoreAccess):
            logits = self._access.logits(x, check=asked.check, owners=owners)
            loss = board.climbs(self._loss, rows)(logits.to(PRECISION), board.labels[rows])
            fooled = board.fooled(rows, logits)
        else:
            assert isinstance(self._access, LabelAccess)
            predicted = self._access.labels(x, check=asked.check, owners=owners)
            fooled = board.fooled_by_class(rows, predicted, self._access.classes)
            loss = torch.full_like(fooled, torch.nan, dtype=PRECISION)
        if self.unread is not None and self.unread.finite is not None:
            fooled = fooled & self.unread.finite  # what is not finite is told later, and until then it fools nobody
        counts = board.check_queries if asked.check else board.loss_queries
        counts.index_add_(0, rows, torch.ones_like(rows))
        answer = Answer(loss, fooled)
        self._note(asked, answer)
        return answer

    def _note(self, asked: "_Asked", answer: Answer) -> None:
        """Offer the board what may be kept."""
        if asked.ends is None:
            return
        board, slots, loss, fooled = self._board, asked.slots, answer.loss, answer.fooled
        rows = self._rows[slots]
        if self._nearest:
            ball, before = self._live.ball, board.adversarial[rows] - board.images[rows]
            away = ball.norm(asked.x - board.images[rows])
            better = asked.ends & fooled & (~board.success[rows] | (away < ball.norm(before)))
            rank = -away
        else:
            # An image that fell to an earlier row of this step keeps that one.
            better = asked.ends & ~board.success[rows] & (fooled | (loss > board.loss[rows]))
            rank = torch.where(fooled, torch.inf, loss)
        if free_to_read(better):
            at = better.nonzero().squeeze(1)
            if len(at):
                at = at[_best_of_each(slots[at], rank[at])]
                board.put(rows[at], asked.x[at], loss[at], fooled[at], self._live.step[slots[at]] + 1)
        elif asked.alone:
            board.put(rows, asked.x, loss, fooled, self._live.step[slots] + 1, where=better)
        else:
            at = _best_of_all(slots, rank, better, len(self._live))
            there, at = at < len(slots), at.clamp_max(len(slots) - 1)
            board.put(self._rows, asked.x[at], loss[at], fooled[at], self._live.step + 1, where=there)


@dataclass(frozen=True, eq=False)
class _Asked:
    """Rows that are asked about.

    Attributes:
        slots: that each row is asked for, in rising order.
        known: the same, where the host knows them.
        ends: which rows may end an attack; None: none of them.
        alone: each slot asks for one row at most.
    """

    x: Float[Tensor, "q c h w"]
    slots: Int64[Tensor, "q"]
    known: list[int]
    ends: Bool[Tensor, "q"] | None
    check: bool
    alone: bool = False

    def part(self, rows: slice) -> "_Asked":
        ends = None if self.ends is None else self.ends[rows]
        return replace(self, x=self.x[rows], slots=self.slots[rows], known=self.known[rows], ends=ends)


class Stepwise(Protocol):
    """What the scheduler needs of an attack by queries; see `QueryAttack`."""

    def cost(self) -> int: ...

    def begin(self, live: Live) -> State: ...

    def step(self, live: Live, state: State, ask: Ask) -> State: ...


def _best_of_each(slots: Tensor, rank: Tensor) -> Tensor:
    """Of the rows of each slot, the first of highest rank: their positions."""
    if len(slots) == 1 or bool((slots[1:] != slots[:-1]).all()):
        return counting(len(slots), slots.device)
    rank = rank.nan_to_num(nan=-torch.inf)
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


def _best_of_all(slots: Tensor, rank: Tensor, better: Tensor, count: int) -> Tensor:
    """`_best_of_each` of the rows that are better, for slots 0 to count - 1: its position, or how many rows there are where a
    slot has none. For a card: nothing is read."""
    none = len(slots)
    rank = torch.where(better, rank, -torch.inf)
    top = torch.full((count,), -torch.inf, dtype=rank.dtype, device=slots.device).scatter_reduce_(
        0, slots, rank, "amax"
    )
    order = torch.where(better & (rank == top[slots]), counting(none, slots.device), none)
    return torch.full((count,), none, device=slots.device, dtype=torch.int64).scatter_reduce_(0, slots, order, "amin")
