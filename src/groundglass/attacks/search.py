"""Attacks by queries, as they are called: images in, a result out, within a budget for each image."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.attacks.access import LabelAccess, Model, QueryAccess, ScoreAccess, open_access
from groundglass.attacks.balls import Ball, as_ball, falls_short
from groundglass.attacks.checkpoint import AttackCheckpoint
from groundglass.attacks.losses import find_loss
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.result import AttackResult
from groundglass.attacks.scheduler import Scheduler
from groundglass.core import Progress, silent
from groundglass.core.settings import Count, Settings, fit


@dataclass(frozen=True, kw_only=True)
class QueryAttack(Settings, ABC):
    """An attack that only asks: a start, and a step. The scheduler does the rest, for any number of images.

    Subclasses are frozen dataclasses, their configuration. They implement `begin`, `step` and `cost` for many images at
    once; a step must treat every slot alike and alone, must not change `state` in place before its last question is
    answered (it may be interrupted there), and asks at most `cost` questions for a slot.
    """

    _access: ClassVar[type[QueryAccess]]
    _takes_start: ClassVar[bool] = False

    @abstractmethod
    def cost(self) -> int:
        """Queries that one step asks for one image, at most."""

    @abstractmethod
    def begin(self, live: Live) -> State:
        """The state of images whose attack begins. Asks nothing."""

    @abstractmethod
    def step(self, live: Live, state: State, ask: Ask) -> State:
        """One step for every live image; the state after it."""

    def check_ball(self, ball: Ball) -> None:
        """Refuse a ball that the attack is not made for."""

    @property
    def title(self) -> str:
        """What records call it."""
        return type(self).__name__

    def reach(self, budget: int) -> float:
        """How far from an image all steps within a budget can lead, pixel units; infinite where steps have no `step_size`."""
        size: float | None = getattr(self, "step_size", None)
        return math.inf if size is None else size * ((budget - 1) // self.cost())

    def __call__(
        self,
        access: QueryAccess | Model,
        images: Float[Tensor, "n c h w"],
        labels: Int64[Tensor, "n"],
        ball: Ball,
        *,
        seed: int,
        indices: Sequence[int] | Tensor | None = None,
        start: Float[Tensor, "n c h w"] | None = None,
        batch_size: int = 256,
        checkpoint: AttackCheckpoint | Path | str | None = None,
        progress: Progress = silent,
    ) -> AttackResult:
        """Attack each image until it is fooled, or its budget is too small for another step.

        Args:
            access: with a budget for each image: `ScoreAccess(model, per_image=15_000)`. All that goes through the
                model counts: loss queries, success checks, and one check of the image itself.
            images, labels: tensors or numpy arrays: images [n, c, h, w] in [0, 1]; labels [n], [n, 1] or one-hot. An image
                that the model gets wrong costs one check, and is left alone.
            indices: the number of each image in its set, for its random streams; 0, 1, ... if not given.
            start: where to begin each search, an image in the ball: a transfer prior, such as the adversarial image that a
                surrogate gives (as in Cheng et al. 2019, which keep its gradient, not its image). It is asked first, at
                the price of a query. `Square` takes one.
            batch_size: rows in a pass through the model. It changes no result, if the model's logits for an image do
                not depend on the batch; nor does the order of the images, or attacking a set in parts.
            checkpoint: a file for unfinished work, replaced every half minute and when an error of the model ends the
                attack. If it is there, the attack goes on from it, to the same result. A new access takes
                over the counts of what was asked before.
            progress: gets the queries asked, and their number plus what the budget still allows; images live, finished, fooled.

        Warns:
            RuntimeWarning: all steps that the budget pays for cannot reach the border of the ball; before any question.

        Raises:
            ValueError: images, labels, ball, budget or model that cannot be used, or a checkpoint of another attack, of other
                images or of another network; says what to do.
            OSError: the checkpoint cannot be written; raised before the model is asked.
            NonFiniteError: NaN or infinite logits.
            Exception: whatever the model raises; a note on it names the file that keeps what was done.
        """
        access = open_access(access, self._access, type(self).__name__)
        ball = as_ball(ball)
        self.check_ball(ball)
        if start is not None and not self._takes_start:
            raise ValueError(f"{type(self).__name__} begins at the image itself: leave out `start`, or use Square")
        seed, batch_size = fit(int, seed, "seed"), fit(Count, batch_size, "batch_size")
        path = checkpoint.path if isinstance(checkpoint, AttackCheckpoint) else checkpoint
        scheduler = Scheduler(
            self,
            access,
            images,
            labels,
            ball,
            seed=seed,
            indices=indices,
            start=start,
            batch_size=batch_size,
            checkpoint=path,
        )
        if len(images) and access.per_image is not None and falls_short(self.reach(access.per_image), ball):
            steps = (access.per_image - 1) // self.cost()
            warnings.warn(
                f"{steps} steps of {self.reach(access.per_image) / steps:g} cannot reach the border of a ball of radius "
                f"{ball.radius:g}, and {access.per_image} queries pay for no more: robustness will look too high. Allow more "
                "queries, or set a larger step_size",
                RuntimeWarning,
                stacklevel=2,
            )
        return scheduler.run(progress)


@dataclass(frozen=True, kw_only=True)
class ScoreAttack(QueryAttack):
    """An attack that asks for logits.

    Attributes:
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    _access = ScoreAccess
    loss: Literal["ce", "margin", "dlr"] = "ce"

    def __post_init__(self) -> None:
        super().__post_init__()
        find_loss(self.loss)


@dataclass(frozen=True, kw_only=True)
class LabelAttack(QueryAttack):
    """An attack that asks for the predicted class alone."""

    _access = LabelAccess
