"""The scheduler of attacks by queries: keeps batches full, refills slots, counts, and can stop and go on anywhere."""

import hashlib
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundglass.attacks.balls import Ball
from groundglass.attacks.bookkeeping import PIECE, Board
from groundglass.attacks.checkpoint import going_on, seconds_in, what_for
from groundglass.attacks.criteria import UNTARGETED, Criterion
from groundglass.attacks.draws import DRAWS
from groundglass.attacks.query_access import LabelAccess, QueryAccess, ScoreAccess
from groundglass.attacks.questions import PRECISION, Answer, Ask, Live, State, Stepwise
from groundglass.attacks.result import AttackResult
from groundglass.core import Progress, begin_state, counting, load_state, pieces, read_notes, save_state, silent, whole
from groundglass.core.reading import sent
from groundglass.core.settings import settings_of
from groundglass.core.states import restoring

_SECONDS_BETWEEN_SAVES = 30.0
# Batches of rows that the images under attack fill in a step. With several, the last is nearly full too.
_BATCHES_IN_A_STEP = 2


class Scheduler:
    """One attack on one set of images.

    Every image is in line, live (in a slot, under attack) or done. A step is made for all live images at once, so that
    their questions fill the model's batches; who is done leaves its slot to the next in line.
    """

    def __init__(
        self,
        attack: Stepwise,
        access: QueryAccess,
        images: Tensor,
        labels: Tensor,
        ball: Ball,
        *,
        seed: int,
        indices: Sequence[int] | Tensor | None,
        start: Tensor | None = None,
        batch_size: int,
        checkpoint: Path | str | None,
        criterion: Criterion = UNTARGETED,
        nearest: bool = False,
    ) -> None:
        """`nearest`: each image's whole budget goes into a smaller distance; else its attack ends with the first success."""
        name, cost = type(attack).__name__, attack.cost() + access.confirm
        if access.per_image is None:
            raise ValueError(f"{name} needs a budget for each image: {type(access).__name__}(model, per_image=15_000)")
        if access.per_image < cost + 1:
            raise ValueError(
                f"a budget of {access.per_image} queries an image is not enough for one step of {name}: {cost}, and one "
                "check of the image itself"
            )
        # Of a step with all that it may ask.
        self._cost = cost
        self._attack, self._access, self._ball, self._seed = attack, access, ball, seed
        self._nearest = nearest
        self._budget: int = access.per_image
        self._board = Board.prepare(images, labels, ball, indices=indices, batch_size=batch_size, criterion=criterion)
        if any(i < 0 for i in self._board.indices) or len(set(self._board.indices)) < len(self._board.indices):
            raise ValueError(
                "`indices` must be different numbers, 0 or more: an image's budget and draws depend on them"
            )
        self._start = None if start is None else _in_ball(start, self._board.images, ball)
        self._batch_size = batch_size
        self._checkpoint = None if checkpoint is None else begin_state(checkpoint, self._settings)[0]
        self._loss: str = getattr(attack, "loss", "ce")
        self._slots = max(1, _BATCHES_IN_A_STEP * batch_size // attack.cost())
        where = self._board.images.device
        self._rows, self._step, self._left = (torch.zeros(0, dtype=torch.int64, device=where) for _ in range(3))
        # The same, where the host knows it: a card is waited for once a round.
        self._made: list[int] = []
        self._draws = DRAWS[getattr(attack, "draw", "mt19937")]
        self._state: State = {}
        self._scratch: dict[str, Tensor] = {}
        self._live: Live | None = None  # of the slots as they are; its step and what is left change with every step
        self._line: Tensor | None = None  # not known before the images themselves were checked
        self._ask = Ask(access, self._board, self._loss, batch_size, nearest=nearest)
        self._saved_at = self._started = time.monotonic()
        self._earlier_seconds = 0.0

    def run(self, progress: Progress) -> AttackResult:
        if self._checkpoint is not None and self._checkpoint.exists():
            self._resume(self._checkpoint)
        with self._access.reading_later(self._board.images) as unread:
            self._ask.unread = unread
            self._finish(progress)
        board, ball = self._board, self._ball
        for rows in counting(len(board.images), board.images.device).split(PIECE):
            inside = ball.at(rows).contains(board.adversarial[rows], board.images[rows], tolerance=1e-6)
            assert self._nearest or bool(inside.all()), "an attack left the ball"
        return board.result(ball)

    def _finish(self, progress: Progress) -> None:
        try:
            if self._line is None:
                self._look()
            while self._refill():
                self._advance()
                self._leave()
                if progress is not silent:
                    self._tell(progress)
                if self._checkpoint is not None and time.monotonic() - self._saved_at > _SECONDS_BETWEEN_SAVES:
                    with going_on(self._checkpoint):
                        self._save(self._checkpoint)
                    self._saved_at = time.monotonic()
        except Exception as error:  # the model's. A Ctrl-C may come anywhere: the last save is half a minute old
            self._keep(error)
            raise
        if self._checkpoint is not None:
            try:
                self._save(self._checkpoint)
            except OSError as error:
                # All queries are spent, and their result must not be lost.
                warnings.warn(
                    f"the attack is done, but {self._checkpoint} was not written: {error}", RuntimeWarning, stacklevel=3
                )

    def _look(self) -> None:
        """See which images the model gets right: those are worth attacking."""
        board = self._board
        unseen = (board.check_queries == 0).nonzero().squeeze(1)
        for rows in pieces(unseen, self._batch_size):
            owners = [board.indices[row] for row in rows.tolist()]
            if isinstance(self._access, ScoreAccess):
                logits = self._access.logits(board.images[rows], check=True, owners=owners)
                board.see(rows, logits, self._loss, PRECISION)
            elif isinstance(self._access, LabelAccess):
                predicted = self._access.labels(board.images[rows], check=True, owners=owners)
                board.see_labels(rows, predicted, self._access.classes)
        self._check_answers()
        self._line = board.right
        if len(self._line) and int(self._remaining(self._line).min()) < self._cost:
            raise ValueError(
                f"some images have fewer queries left than one step takes ({self._cost}): this access has been "
                "used for them before. Make a new one"
            )

    def _check_answers(self) -> None:
        """Look at what nobody has looked at yet, on a card: whether the answers were finite."""
        if self._ask.unread is not None:
            self._ask.unread.read()

    def _remaining(self, rows: Tensor) -> Tensor:
        return self._left_of([self._board.indices[row] for row in rows.tolist()])

    def _left_of(self, numbers: Sequence[int]) -> Tensor:
        """Queries that these images may still ask."""
        left = [self._budget - asked for asked in self._access.asked(numbers)]
        return sent(whole(left), self._board.images.device)

    def _of(self, rows: Tensor, step: Tensor, made: list[int], left: Tensor) -> Live:
        board = self._board
        numbers = [board.indices[row] for row in rows.tolist()]
        start = None if self._start is None else self._start[rows]
        draws = self._draws(self._seed, numbers, board.images.device)
        where = (step, made, left, self._ball.at(rows), draws, self._scratch)
        return Live(board.images[rows], board.labels[rows], numbers, *where, start)

    def _refill(self) -> int:
        """Give free slots to images from the line; how many are live now."""
        assert self._line is not None
        room = self._slots - len(self._rows)
        # Several at a time: each refill copies the state of all.
        if room >= max(1, self._slots // 8) and len(self._line):
            rows, line = self._line[:room], self._line[room:]
            step, left = torch.zeros_like(rows), self._remaining(rows)
            fresh = self._attack.begin(self._of(rows, step, [0] * len(rows), left))
            self._line = line  # not before: should `begin` fail, what is kept has them in line
            self._state = {k: torch.cat([self._state[k], v]) if self._state else v for k, v in fresh.items()}
            self._rows, self._step = torch.cat([self._rows, rows]), torch.cat([self._step, step])
            self._left, self._live = torch.cat([self._left, left]), None
            self._made = self._made + [0] * len(rows)
        return len(self._rows)

    def _advance(self) -> None:
        if self._live is None:
            self._live = self._of(self._rows, self._step, self._made, self._left)
        live = self._live = replace(self._live, step=self._step, made=self._made, left=self._left)
        self._ask.begin(self._rows, live)
        state = self._attack.step(live, self._state, self._ask)
        self._check_answers()
        self._state = state
        self._ask.finish()
        self._step, self._made = self._step + 1, [step + 1 for step in self._made]
        self._left = self._left_of(live.numbers)

    def _leave(self) -> None:
        """Free the slots of images that are fooled, or cannot pay for another step. Here a card is waited for."""
        assert self._live is not None
        fooled, asked = self._board.success[self._rows].tolist(), self._access.asked(self._live.numbers)
        pays = [self._budget - n >= self._cost for n in asked]
        stays = pays if self._nearest else [pay and not done for pay, done in zip(pays, fooled, strict=True)]
        if not all(stays):
            at = self._live.at([slot for slot, stay in enumerate(stays) if stay])
            self._rows, self._step, self._left = self._rows[at], self._step[at], self._left[at]
            self._made = [step for step, stay in zip(self._made, stays, strict=True) if stay]
            self._state, self._live = {k: v[at] for k, v in self._state.items()}, None

    def _tell(self, progress: Progress) -> None:
        board, line = self._board, self._line
        assert line is not None
        # What is asked at most from here on: who is fooled leaves early.
        waiting = int(self._left.sum()) + len(line) * self._budget
        asked = int(board.loss_queries.sum() + board.check_queries.sum())
        finished = int(board.clean_correct.sum()) - len(line) - len(self._rows)
        fooled, name = int(board.success.sum()), type(self._attack).__name__
        progress(name, asked, asked + waiting, live=len(self._rows), finished=finished, fooled=fooled)

    # What follows stops and goes on.

    @cached_property
    def _identity(self) -> dict[str, Any]:
        board = self._board
        contents = hashlib.sha256()
        begun = () if self._start is None else (self._start,)
        for tensor in (board.images, board.labels, whole(board.indices), *begun):
            contents.update(tensor.cpu().contiguous().numpy().tobytes())
        return {**self._settings, "images": contents.hexdigest(), **self._access.model_identity}

    @property
    def _settings(self) -> dict[str, Any]:
        return {
            "attack": type(self._attack).__name__,
            "settings": settings_of(self._attack),
            "access": type(self._access).__name__,
            "budget": self._budget,
            "ball": repr(None if self._nearest else self._ball),
            "seed": self._seed,
            **({"confirm": self._access.confirm} if self._access.confirm else {}),
            **what_for(self._board.criterion, self._access),
        }

    def _save(self, path: Path) -> None:
        board = self._board
        touched = (board.iterations > 0).nonzero().squeeze(1)
        tensors = {f"board/{name}": rows for name, rows in board.rows().items() if name != "adversarial"}
        # Of images that nothing has moved yet no copy is written.
        tensors |= {"touched": touched, "adversarial": board.adversarial[touched]}
        tensors["asked"] = whole(self._access.asked(board.indices))
        tensors |= {"live/rows": self._rows, "live/step": self._step, "live/left": self._left}
        tensors |= {f"state/{name}": value for name, value in self._state.items()}
        if self._line is not None:
            tensors["line"] = self._line
        answers = [*self._ask.answers, *self._ask.known]
        if answers:
            tensors["answers/loss"] = torch.cat([a.loss for a in answers])
            tensors["answers/fooled"] = torch.cat([a.fooled for a in answers])
        seconds = time.monotonic() - self._started + self._earlier_seconds
        save_state(path, tensors, {"seconds": seconds, "passed": board.passed}, self._identity)

    def _resume(self, path: Path) -> None:
        board, where = self._board, self._board.images.device
        stored, notes = load_state(path, self._identity)
        tensors = {name: tensor.to(where) for name, tensor in stored.items()}
        now = self._access.asked(board.indices)
        with restoring(path):
            self._earlier_seconds = seconds_in(notes)
            board.adversarial[tensors["touched"]] = tensors["adversarial"]
            written = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("board/")}
            board.restore(written | {"adversarial": board.adversarial})
            self._rows, self._step, self._left = (tensors[f"live/{name}"] for name in ("rows", "step", "left"))
            self._made = self._step.tolist()
            self._state = {name[6:]: tensor for name, tensor in tensors.items() if name.startswith("state/")}
            if any(len(rows) != len(self._rows) for rows in (self._step, self._left, *self._state.values())):
                raise ValueError("its slots are not as many in every part")
            self._line = tensors.get("line")
            if "answers/loss" in tensors:
                self._ask.known = [Answer(tensors["answers/loss"], tensors["answers/fooled"])]
            if tensors["asked"].shape != (len(now),):
                raise ValueError("it counts the queries of other images")
        # An access that has lived on has counted them already.
        if any(n > then for then, n in zip(tensors["asked"].tolist(), now, strict=True)):
            raise ValueError(
                f"this access has asked more than {path} knows of: the attack was stopped after its last save, or others "
                "asked since. Make a new access: it takes over the counts"
            )
        missing = [then - n for then, n in zip(tensors["asked"].tolist(), now, strict=True)]
        checks = [min(m, c) for m, c in zip(missing, board.check_queries.tolist(), strict=True)]
        self._access.charge(board.indices, checks, "check")
        self._access.charge(board.indices, [m - c for m, c in zip(missing, checks, strict=True)], "loss")

    def _keep(self, error: BaseException) -> None:
        """Save what was done, also when no file was given for it."""
        if not int(self._board.check_queries.sum()):
            return
        path = self._checkpoint
        try:
            if path is None:
                folder = tempfile.mkdtemp(prefix="groundglass-")
                path = Path(folder) / f"{type(self._attack).__name__.lower()}.safetensors"
            self._save(path)
        except Exception as failed:  # the model's error is what counts
            error.add_note(f"What the attack had done could not be kept: {failed}")
        else:
            error.add_note(
                f"What the attack had done is kept in {path}: the same call with that as checkpoint= continues from it"
            )


def _in_ball(start: Any, images: Tensor, ball: Ball) -> Tensor:
    """Starts of a search, checked.

    Raises:
        TypeError: neither a tensor nor a numpy array.
        ValueError: another shape than the images', or a start outside the ball or [0, 1].
    """
    if isinstance(start, np.ndarray):
        start = torch.from_numpy(np.array(start, order="C"))
    if not isinstance(start, Tensor):
        raise TypeError(f"`start` must be a tensor of images, as `images` is, not {type(start).__name__}")
    if start.shape != images.shape:
        raise ValueError(f"`start` must have the shape of the images, {list(images.shape)}, not {list(start.shape)}")
    start = start.to(images)
    inside = ball.contains(start, images, tolerance=1e-6)
    inside &= ((start >= 0) & (start <= 1)).flatten(1).all(1)  # NaN is in no interval
    if not bool(inside.all()):
        first = int((~inside).nonzero()[0])
        raise ValueError(
            f"`start` is outside {ball!r}, or outside [0, 1], for {int((~inside).sum())} images, the first of them {first}: "
            "give images of at most that radius, or ball.project(start, images)"
        )
    return start


def earlier_seconds(checkpoint: Path) -> float:
    """That unfinished attacks by queries have put into what this file has; 0 where there is none.

    Raises:
        DamagedFileError: truncated or altered.
    """
    found = read_notes(checkpoint)
    with restoring(checkpoint):
        return 0.0 if found is None else seconds_in(found[0])
