"""What an attack by queries is: a start, and a step that asks. The scheduler does the rest, for any number of images."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor

from groundglass.attacks.access import LabelAccess, QueryAccess, ScoreAccess
from groundglass.attacks.balls import Ball
from groundglass.attacks.losses import find_loss
from groundglass.attacks.result import AttackResult
from groundglass.core import Progress, generator, silent

State = dict[str, Tensor]
"""What an attack remembers between steps: tensors, one row a slot. The scheduler keeps, drops and saves rows."""


@dataclass(frozen=True)
class Live:
    """The images under attack, one slot each. A step sees all of them, and treats each as if it were alone.

    Attributes:
        original: the images.
        labels: their true classes.
        numbers: the number of each in its set. Its random streams hang on that and the seed alone.
        step: steps made so far.
        left: queries that each may still ask; at least the attack's `cost`.
        ball: where an adversarial image may be.
        seed: of the random streams.
        scratch: memory that steps use again and again; see `buffer`.
    """

    original: Float[Tensor, "s c h w"]
    labels: Int64[Tensor, "s"]
    numbers: Sequence[int]
    step: Int64[Tensor, "s"]
    left: Int64[Tensor, "s"]
    ball: Ball
    seed: int
    scratch: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def slots(self) -> Int64[Tensor, "s"]:
        """0, 1, ...: one query for each slot."""
        return torch.arange(len(self), device=self.original.device)

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
            path: names the stream.
            slots: for these slots alone.
            at: what distinguishes one draw from the next, for each of those slots; their step if not given.
            out: where to put it.
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
        loss: what the attack climbs, in float64: a confident network's cross-entropy is nearer to 0 than float32 tells, and
            its differences would be lost. NaN from an access that gives labels alone.
        fooled: the predicted class is not the label.
    """

    loss: Float[Tensor, "q"]
    fooled: Bool[Tensor, "q"]


class Ask(ABC):
    """The one way to put a question to the model. Questions are packed into full batches, counted and answered."""

    @abstractmethod
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
            inside: the row is in its image's ball: if it fools the model, that image's attack ends with this step.
            check: asked only to see whether it fools the model; counted apart.
        """

    @abstractmethod
    def count_estimates(self, slots: Int64[Tensor, "k"], grad: Float[Tensor, "k c h w"]) -> None:
        """Note that these slots estimated a gradient, and whether it was zero everywhere: then nothing was learned."""


@dataclass(frozen=True, kw_only=True)
class QueryAttack(ABC):
    """An attack that only asks.

    Subclasses are frozen dataclasses, their configuration. They implement `begin`, `step` and `cost` for many images at
    once; a step must treat every slot alike and alone, must not change `state` in place before its last question is
    answered (it may be interrupted there), and asks at most `cost` questions for a slot.
    """

    @abstractmethod
    def cost(self) -> int:
        """Queries that one step asks for one image, at most."""

    @abstractmethod
    def begin(self, live: Live) -> State:
        """The state of images whose attack begins. Asks nothing."""

    @abstractmethod
    def step(self, live: Live, state: State, ask: Ask) -> State:
        """One step for every live image; the state after it."""

    def check_ball(self, ball: Ball) -> None:  # noqa: B027 - most attacks take any ball
        """Refuse a ball that the attack is not made for."""

    @abstractmethod
    def _check_access(self, access: QueryAccess) -> None:
        """Refuse an access that tells too little, or more than the attack needs."""

    def __call__(
        self,
        access: QueryAccess,
        images: Float[Tensor, "n c h w"],
        labels: Int64[Tensor, "n"],
        ball: Ball,
        *,
        seed: int,
        indices: Sequence[int] | Tensor | None = None,
        batch_size: int = 256,
        checkpoint: Path | None = None,
        progress: Progress = silent,
    ) -> AttackResult:
        """Attack each image until it is fooled, or its budget does not suffice for another step.

        Args:
            access: with a budget for each image: `ScoreAccess(model, per_image=15_000)`. All that goes through the
                model counts: loss queries, success checks, and one check of the image itself.
            images, labels: an image that the model gets wrong costs one check, and is left alone.
            indices: the number of each image in its set, for its random streams; 0, 1, ... if not given.
            batch_size: rows in a pass through the model. It changes no result, if the model's logits for an image do
                not depend on the batch; nor does the order of the images, or attacking a set in parts.
            checkpoint: a file for unfinished work, replaced every half a minute and when an error of the model ends the
                attack. If it is there, the attack goes on from it, to the same result. An access that is new
                is told what was asked before.
            progress: told the queries asked, and that many and what the budget still allows; images live, finished, fooled.

        Raises:
            ValueError: images, labels, ball, budget or model that cannot be, or a checkpoint of another attack, of other
                images or of another network; says what to do.
            NonFiniteError: NaN or infinite logits.
            Exception: whatever the model raises; a note on it names the file that keeps what was done.
        """
        from groundglass.attacks.scheduler import Scheduler

        self._check_access(access)
        self.check_ball(ball)
        scheduler = Scheduler(
            self, access, images, labels, ball, seed=seed, indices=indices, batch_size=batch_size, checkpoint=checkpoint
        )
        return scheduler.run(progress)


@dataclass(frozen=True, kw_only=True)
class ScoreAttack(QueryAttack):
    """An attack that asks for logits.

    Attributes:
        loss: what is climbed, "ce" (cross-entropy), "margin" or "dlr" (needs 3 classes).
    """

    loss: Literal["ce", "margin", "dlr"] = "ce"

    def __post_init__(self) -> None:
        find_loss(self.loss)

    def _check_access(self, access: QueryAccess) -> None:
        if not isinstance(access, ScoreAccess):
            raise TypeError(f"{type(self).__name__} asks for logits: give a ScoreAccess, not {_name(access)}")


@dataclass(frozen=True, kw_only=True)
class LabelAttack(QueryAttack):
    """An attack that asks for the predicted class alone."""

    def _check_access(self, access: QueryAccess) -> None:
        if not isinstance(access, LabelAccess):
            raise TypeError(f"{type(self).__name__} asks for labels alone: give a LabelAccess, not {_name(access)}")


def _name(access: Any) -> str:
    return (
        type(access).__name__ if isinstance(access, QueryAccess) else f"{type(access).__name__}: wrap the model in it"
    )
