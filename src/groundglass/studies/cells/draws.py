"""A cell that attacks what one draw of an attacker left with further draws: another B, another W, other labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundglass.adaptive import draw_seed, over_draws, redrawn_attack
from groundglass.attacks import AttackResult, GradientAccess, GradientAttack
from groundglass.attacks.checkpoint import seconds_in
from groundglass.attacks.tensors import Rows
from groundglass.core import derive_seed, load_state, save_state
from groundglass.core.settings import Count
from groundglass.core.states import passed_in, restoring
from groundglass.results import Record
from groundglass.results.kinds.draws import DrawsConfig, DrawsResult
from groundglass.studies.cells.attack import AttackCell, make_ball, nested, record_of
from groundglass.studies.engine.cell import BaseCell, Cell, Outcome, filled, key_of, scratch_of
from groundglass.studies.engine.context import Context

_NEVER = -1
_KEPT = ("index", "label", "clean_correct", "success")


@dataclass(frozen=True, kw_only=True)
class DrawsCell(BaseCell):
    """The attack `first`, which is draw 0, and further draws of all that its attacker draws, image by image.

    A draw attacks only images that the draws before it left, and that no draw has fooled in the smaller ball: what fools in a
    smaller ball fools in a larger one. Such an image counts as fooled by the draw that fooled it there, so that accuracy
    after few draws may be a little too high.

    Attributes:
        first: the attack with the first draw.
        draws: how many, the first included.
        smaller: the same with the next smaller radius, and at most as many draws.
        n_images: the first so many of the images of `first`; None: all.
        again: the attack of the draws after the first, if it is another: one with fewer steps is quicker.
    """

    first: AttackCell
    draws: Count
    smaller: "DrawsCell | None" = None
    n_images: Count | None = None
    again: GradientAttack | None = None

    kind = "draws"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (small := self.smaller) is None:
            return
        nested(self.first, small.first)
        if small.draws > self.draws:
            raise ValueError(f"`smaller` has {small.draws} draws, and these are {self.draws}: give it no more")

    @property
    def inputs(self) -> Sequence[Cell]:
        given = (self.first,) if self.smaller is None else (self.first, self.smaller)
        return (*given, *self.first.inputs)

    @property
    def name(self) -> str:
        return f"{self.first.name}, {self.draws} draws"

    def config(self) -> DrawsConfig:
        again = None if self.again is None else {"attack": type(self.again).__name__, **asdict(self._later)}  # type: ignore[call-overload]
        count = self.n_images or self.first.n_images
        return filled(DrawsConfig, self.first.config(), draws=self.draws, n_images=count, again=again)

    @property
    def _later(self) -> GradientAttack:
        """The attack of later draws, before it is given random starts."""
        return self.first.climb if self.again is None else replace(self.first, attack=self.again).climb

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        known = {name: context.arrays(inputs[0])[name][: self.n_images] for name in _KEPT}
        right = known["clean_correct"].astype(bool)
        fell = np.where(known["success"].astype(bool) & right, 0, _NEVER)
        if self.smaller is not None:
            before = context.arrays(inputs[1])
            there = dict(zip(before["index"].tolist(), before["fell"].tolist(), strict=True))
            fell = np.array([_first(draw, there.get(i, _NEVER)) for draw, i in zip(fell, known["index"], strict=True)])
        state = DrawsState.begin(scratch_of(self, context), key_of(self), torch.from_numpy(fell.astype(np.int64)))
        standing = torch.from_numpy(right) & (state.fell == _NEVER)
        attack = self._attack(inputs, context, known["index"], state)
        for draw, rows, result in over_draws(attack, standing, draws=self.draws, begin=state.done + 1):
            state.add(draw, rows, result)
        fell = state.fell.numpy().astype(np.int16)
        left = tuple(int((right & ((fell == _NEVER) | (fell > draw))).sum()) for draw in range(self.draws))
        found = DrawsResult(
            n_images=len(fell),
            clean_correct=int(right.sum()),
            correct=left[-1],
            left=left,
            gradients=state.gradients,
            unconfirmed=state.unconfirmed,
        )
        arrays = {**known, "success": fell != _NEVER, "fell": fell}
        return Outcome(found, arrays, earlier_seconds=state.earlier_seconds, scratch=state.path)

    def _attack(
        self, inputs: Sequence[Record], context: Context, index: np.ndarray, state: "DrawsState"
    ) -> Callable[[int, Rows], AttackResult]:
        """The attack with a draw on some rows of the images."""
        first, trained = self.first, inputs[-len(self.first.inputs)]
        retrieved = record_of(first.retrieved, self, inputs)
        itself, test = GradientAccess(context.network(trained)), context.dataset.test
        ball, name = make_ball(first.norm, first.eps), type(self._later).__name__

        def once(draw: int, rows: Rows) -> AttackResult:
            at = torch.from_numpy(index.astype(np.int64))[rows]
            images, labels = test.floats(at).to(context.where), test.labels[at].to(context.where)
            access, _ = first.access(trained, context, retrieved, draw=draw)
            seed = derive_seed(draw_seed(first.seed, draw), "attack", name)
            attack = redrawn_attack(first.rule, self._later, draw)
            # By row, as in the first draw: an image's random start does not depend on which others are left.
            claimed = attack(access, images, labels, ball, seed=seed, indices=rows)
            result = claimed.confirmed(itself, labels, votes=first.confirmations)
            state.unconfirmed += int(claimed.success.sum() - result.success.sum())
            context.progress(self.name, draw + 1, self.draws, standing=int(result.robust.sum()))
            return result

        return once


def _first(*draws: int) -> int:
    """The first draw that fooled an image."""
    return min((draw for draw in draws if draw != _NEVER), default=_NEVER)


@dataclass(kw_only=True)
class DrawsState:
    """What was done so far, written to a file after each draw.

    Attributes:
        done: the last draw that is over.
        passed: images that have passed through the network.
    """

    path: Path
    key: str
    fell: Tensor
    done: int = 0
    gradients: int = 0
    unconfirmed: int = 0
    passed: int = 0
    earlier_seconds: float = 0.0
    started: float = field(default_factory=monotonic)

    @classmethod
    def begin(cls, path: Path, key: str, fell: Tensor) -> "DrawsState":
        """Afresh, or where an interrupted run stopped."""
        state = cls(path=path, key=key, fell=fell)
        if path.exists():
            tensors, notes = load_state(path, {"key": key})
            with restoring(path):
                state._restore(tensors["fell"], notes)
        return state

    def _restore(self, fell: Tensor, notes: Mapping[str, Any]) -> None:
        counted = [notes[name] for name in ("done", "gradients", "unconfirmed")]
        if any(type(count) is not int or count < 0 for count in counted):
            raise TypeError(f"its counts are {counted!r:.60}")
        if fell.shape != self.fell.shape or fell.dtype != self.fell.dtype:
            raise ValueError(f"its draws are of {tuple(fell.shape)} images")
        self.done, self.gradients, self.unconfirmed = counted
        self.fell, self.earlier_seconds, self.passed = fell, seconds_in(notes), passed_in(notes)

    def add(self, draw: int, rows: Rows, result: AttackResult) -> None:
        self.fell[rows[result.success.cpu()]] = draw
        self.done, self.gradients = draw, self.gradients + int(result.gradients.sum())
        self.passed += int((result.gradients + result.queries).sum())
        seconds = monotonic() - self.started + self.earlier_seconds
        counts = {name: getattr(self, name) for name in ("done", "gradients", "unconfirmed", "passed")}
        save_state(self.path, {"fell": self.fell}, {**counts, "seconds": seconds}, {"key": self.key})
