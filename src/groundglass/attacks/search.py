"""Attacks by queries, as they are called: images in, a result out, within a budget for each image."""

import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from groundglass.attacks.attack import Attack, Call
from groundglass.attacks.balls import Ball, falls_short
from groundglass.attacks.draws import Draw
from groundglass.attacks.losses import find_loss
from groundglass.attacks.nearest import NearestImageAttack
from groundglass.attacks.query_access import LabelAccess, ScoreAccess
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.result import AttackResult
from groundglass.attacks.scheduler import Scheduler
from groundglass.core.settings import since


@dataclass(frozen=True, kw_only=True)
class QueryAttack(Attack):
    """An attack that only asks: a start, and a step. The scheduler does the rest, for any number of images.

    Subclasses are frozen dataclasses, their configuration. They implement `begin`, `step` and `cost` for many images at
    once; a step must treat every slot alike and alone, must not change `state` in place before its last question is
    answered (it may be interrupted there), and asks at most `cost` questions for a slot.
    """

    usual_batch: ClassVar[int] = 256
    default_budget: ClassVar[int | None] = 10_000

    @abstractmethod
    def cost(self) -> int:
        """Queries that one step asks for one image, at most."""

    @abstractmethod
    def begin(self, live: Live) -> State:
        """The state of images whose attack begins. Asks nothing."""

    @abstractmethod
    def step(self, live: Live, state: State, ask: Ask) -> State:
        """One step for every live image; the state after it."""

    def step_in(self, ball: Ball) -> float | Tensor:
        """The length of a step in this ball, or of each image's, pixel units: `step_size`, or a fifth of the radius. Infinite
        where steps have no fixed length."""
        size: float | None = getattr(self, "step_size", math.inf)
        return ball.radii / 5 if size is None else size

    def reach(self, budget: int, ball: Ball) -> float:
        """How far from an image all steps within a budget can lead, pixel units; infinite where steps have no fixed length."""
        size = self.step_in(ball)
        steps = (budget - 1) // self.cost()
        return (size if isinstance(size, float) else float(size.max())) * steps if steps else 0.0

    def _attack_all(self, call: Call) -> AttackResult:
        access = call.access
        scheduler = Scheduler(
            self,
            access,
            call.images,
            call.labels,
            self._around(call),
            seed=call.seed,
            indices=call.indices,
            start=call.start,
            batch_size=call.batch_size,
            checkpoint=None if call.checkpoint is None else call.checkpoint.path,
            criterion=call.criterion,
            nearest=call.ball is None,
        )
        self._warn(access.per_image, call)
        return scheduler.run(call.progress)

    def _around(self, call: Call) -> Ball:
        """Where an adversarial image may be."""
        if call.ball is not None:
            return call.ball
        assert isinstance(self, NearestImageAttack), "check_ball refuses no ball"
        return self._everywhere(call.images)

    def _warn(self, budget: int | None, call: Call) -> None:
        """Where all steps that the budget pays for cannot reach the border of the ball."""
        ball = call.ball
        if ball is None or budget is None or not len(call.images) or not falls_short(self.reach(budget, ball), ball):
            return
        steps = (budget - 1) // self.cost()
        warnings.warn(
            f"{steps} steps of {self.reach(budget, ball) / steps:g} cannot reach the border of a ball of radius "
            f"{ball.radius:g}, and {budget} queries pay for no more: robustness will look too high. Allow more "
            "queries, or set a larger step_size",
            RuntimeWarning,
            stacklevel=5,
        )


@dataclass(frozen=True, kw_only=True)
class ScoreAttack(QueryAttack):
    """An attack that asks for logits.

    Attributes:
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
        draw: how random numbers are drawn, "mt19937" (a generator of torch's for each image and draw) or "philox" (by counters,
            for all images at once, where they are). The second takes less time. Each gives other results than the other does, the
            same on every machine.
    """

    _access = ScoreAccess
    loss: Literal["ce", "margin", "dlr"] = "ce"
    draw: Draw = since("mt19937", before="mt19937")

    def __post_init__(self) -> None:
        super().__post_init__()
        find_loss(self.loss)


@dataclass(frozen=True, kw_only=True)
class LabelAttack(QueryAttack):
    """An attack that asks for the predicted class alone."""

    _access = LabelAccess
