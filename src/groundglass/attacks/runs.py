"""Several runs for each image, and the batch kept full: an image that is fooled leaves, and the next in line enters."""

from abc import ABC, abstractmethod
from typing import Protocol

import torch

from groundglass.attacks.access import Gradients
from groundglass.attacks.balls import Ball
from groundglass.attacks.bookkeeping import Board
from groundglass.attacks.checkpoint import State
from groundglass.attacks.criteria import Targeted
from groundglass.attacks.gradient_attack import Job
from groundglass.attacks.losses import Loss, targeted_dlr
from groundglass.attacks.tensors import Flags, Images, Logits, Rows
from groundglass.core import counting, pieces


class Climbing(Protocol):
    """What runs need of an attack that climbs; see `PGD`."""

    @property
    def steps(self) -> int: ...
    @property
    def restarts(self) -> int: ...
    @property
    def random_start(self) -> bool: ...
    @property
    def stop_when_fooled(self) -> bool: ...


class Runs(ABC):
    """Runs under attack (the live batch), in line for it, and waiting for the check of their last iterate.

    A run is an image (its row of the board) and which of its runs it is. The order in which runs are served has no
    influence on any of them. Subclasses say how a run moves.

    Args:
        attack: its settings; its name in small letters names the random streams of starts. Runs after the first start at a
            random point of the ball.
        state: empty, or what `state` was when the attack was interrupted.
        targets: runs before the first restart.
        keep_best: keep the first iterate that fools, else that of highest loss; or else the last.
        patience: last iterates are checked once so many wait.
    """

    def __init__(
        self,
        attack: Climbing,
        job: Job,
        ball: Ball,
        state: State,
        *,
        targets: int = 1,
        keep_best: bool = True,
        patience: int = 1,
    ) -> None:
        self._job, self._board, self._ball, self._stream = job, job.board, ball, type(attack).__name__.lower()
        self._steps, self._stop_when_fooled = attack.steps, attack.stop_when_fooled
        self._count, self._first_random = attack.restarts * targets, 0 if attack.random_start else targets
        self._keep_best, self._patience = keep_best, patience
        right = job.board.right
        self._line = torch.stack([right, torch.zeros_like(right)])
        self._live = self._started(right[:0], right[:0])
        self._last: list[State] = []
        self._pace = job.pace(attack.steps)
        # Of the live runs since the host has read: which go on, and how many gradients each has taken.
        self._on: Flags | None = None
        self._took: Rows | None = None
        if "line" in state:
            self._line = state["line"]
            self._live = {name: state[name] for name in self._live}
            self._last = [{name: state[f"last/{name}"] for name in ("rows", "run", "x")}]

    def finish(self) -> None:
        """All runs, to their end."""
        while self._refill():
            self._climb()
            waiting = sum(len(last["rows"]) for last in self._last)
            idle = not len(self._live["rows"]) and not self._line.shape[1]
            if waiting and (waiting >= self._patience or idle):
                self._check_last()
            self._job.save(self.state)

    def state(self) -> State:
        """All of it: with the board, what an interrupted attack needs to go on."""
        return {"line": self._line, **self._live} | {f"last/{k}": v for k, v in self._waiting().items()}

    @abstractmethod
    def _begin(self, rows: Rows, x: Images) -> State:
        """What a run of these rows that starts at `x` remembers, besides its row, number, step and iterate."""

    @abstractmethod
    def _move(self, live: State, found: Gradients) -> State:
        """What changes by one move of every live run: at least "x"."""

    def _climbed(self, live: State) -> Loss | None:
        """The loss that gradients are taken of, if it is not the one that is recorded."""
        return None

    def _in_ball(self, live: State) -> Flags | None:
        """Which iterates count; None: all. For runs that leave the ball on the way."""
        return None

    def _started(self, rows: Rows, run: Rows) -> State:
        x = self._board.images[rows]
        at_random = run >= self._first_random
        if bool(at_random.any()):
            streams = self._job.streams(rows[at_random], self._stream, of_each=run[at_random].tolist())
            x[at_random] = self._ball.at(rows[at_random]).random_start(x[at_random], streams)
        return {"rows": rows, "run": run, "step": torch.zeros_like(rows), "x": x, **self._begin(rows, x)}

    def _refill(self) -> int:
        """Let runs in from the line while there is room; how many are under attack now."""
        room = self._job.batch_size - len(self._live["rows"])
        if room > 0 and self._line.shape[1]:
            new = self._started(*self._line[:, :room])
            self._line = self._line[:, room:]
            self._live = {name: torch.cat([own, new[name]]) for name, own in self._live.items()}
        return len(self._live["rows"])

    def _climb(self) -> None:
        """Steps of every run under attack, until the host reads which have ended: those leave."""
        pace = self._pace
        if pace is None:
            self._advance()
        else:
            ages = self._live["step"].cpu().numpy()
            steps = pace.until_read(ages, stopping=self._stop_when_fooled)
            for _ in range(steps):
                self._advance()
            assert self._on is not None
            assert self._took is not None
            took, on = torch.stack([self._took, self._on.long()]).cpu().numpy()
            self._job.access.waste(pace.saw(ages, took, on == 0, steps))
        self._leave()

    def _advance(self) -> None:
        """One gradient and one move for every run under attack. Those that have ended since the host has read change nothing."""
        board, live, loss = self._board, self._live, self._climbed(self._live)
        rows = live["rows"]
        found = self._job.gradient(rows, live["x"], loss, self._on)
        fooled, inside = board.fooled(rows, found.logits), self._in_ball(live)
        if inside is not None:
            fooled = fooled & inside
        if self._keep_best:
            values = found.loss if loss is None else self._job.loss_of(rows, found.logits)
            values, fooled = self._job.judge(rows, live["x"], values, fooled)
            if inside is not None:
                values = values.masked_fill(~inside, -torch.inf)
            board.offer(rows, live["x"], values, fooled, live["step"])
        self._live = {**live, **self._move(live, found), "step": live["step"] + 1}
        on, goes_on = self._on, ~fooled if self._stop_when_fooled else torch.ones_like(fooled)
        if self._pace is not None:
            counted = torch.ones_like(rows) if on is None else on.long()
            self._took = counted if self._took is None else self._took + counted
        self._on = goes_on if on is None else on & goes_on

    def _leave(self) -> None:
        """Runs that have ended leave: those that are fooled at once, those at their last step for the check of it."""
        live, goes_on = self._live, self._on
        assert goes_on is not None
        self._on = self._took = None
        at_end = goes_on & (live["step"] == self._steps)
        if bool(at_end.any()):
            self._last.append({name: live[name][at_end] for name in ("rows", "run", "x")})
        stays = goes_on & ~at_end
        self._live = live if bool(stays.all()) else {name: values[stays] for name, values in live.items()}

    def _waiting(self) -> State:
        nobody = {name: self._live[name][:0] for name in ("rows", "run", "x")}
        return {name: torch.cat([last[name] for last in (nobody, *self._last)]) for name in nobody}

    def _check_last(self) -> None:
        """See whether last iterates fool the model. Images that are not fooled, and have runs left, join the line."""
        ended, self._last = self._waiting(), []
        rows, run, x = ended["rows"], ended["run"], ended["x"]
        for part in pieces(counting(len(rows), rows.device), self._job.batch_size):
            keep = self._board.offer if self._keep_best else self._board.put
            keep(rows[part], x[part], *self._job.check(rows[part], x[part]), self._steps)
        again = ~self._board.success[rows] & (run + 1 < self._count)
        self._line = torch.cat([self._line, torch.stack([rows[again], run[again] + 1])], dim=1)


class TowardsClasses(Runs):
    """Runs of which, where there are aims, each climbs towards one of them.

    Args:
        aims: other classes of each image, [n, targets]; [n, 0] for none.
    """

    def __init__(self, attack: Climbing, job: Job, ball: Ball, state: State, aims: Rows) -> None:
        self._aims = aims
        super().__init__(attack, job, ball, state, targets=max(1, aims.shape[1]))

    def state(self) -> State:
        """With the aims."""
        return super().state() | {"aims": self._aims}

    def _climbed(self, live: State) -> Loss | None:
        if not self._aims.shape[1]:
            return None
        aims = self._aims[live["rows"], live["run"] % self._aims.shape[1]]
        return lambda logits, labels: targeted_dlr(logits, labels, aims)


def likeliest_others(board: Board, logits: Logits, targets: int) -> Rows:
    """The most likely other classes of each image, the likeliest first, [n, targets].

    Raises:
        ValueError: more than there are, or a criterion that has a target of its own.
    """
    if targets and isinstance(board.criterion, Targeted):
        raise ValueError(f"`targets` (={targets}) is for untargeted attacks, not {board.criterion!r}: use targets=0")
    classes = logits.shape[1]
    if targets >= classes:
        raise ValueError(
            f"`targets` (={targets}) must be at most {classes - 1}: the model has {classes} classes, and one of them is the "
            "label's"
        )
    others = logits.scatter(1, board.labels[:, None], -torch.inf)
    return others.argsort(dim=1, descending=True, stable=True)[:, :targets]
