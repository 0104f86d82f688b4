"""What a search by queries is: a start, and a step that asks. The scheduler does the rest, for any number of images."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Generator, Tensor

from groundglass.attacks.balls import Ball
from groundglass.core import generator

State = dict[str, Tensor]
"""What an attack remembers between steps: tensors, one row a slot. The scheduler keeps, drops and saves rows."""


@dataclass(frozen=True)
class Live:
    """The images under attack, one slot each. A step sees all of them, and treats each as if it were alone.

    Attributes:
        original: the images.
        labels: their true classes.
        numbers: the number of each in its set. Its random streams depend on that and the seed alone.
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
        loss: what the attack climbs, in float64: a confident network's cross-entropy is nearer to 0 than float32 resolves,
            and its differences would be lost. NaN from an access that gives labels alone.
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
class Search(ABC):
    """An attack, seen by the scheduler.

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

    @property
    def climbs(self) -> str:
        """The loss that answers give, by name."""
        return "ce"
