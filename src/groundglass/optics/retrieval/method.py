"""A way of retrieving U: inputs that are fixed beforehand, and a solver for a block of rows from their readings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Complex64, Float, UInt8
from torch import Tensor

from groundglass.kernels.tensor import is_card

# Times as many rows as on the CPU, whose caches they should stay in.
_ON_A_CARD = 16

#: Of some rows, as the camera gives them.
Readings = Float[Tensor, "rows frames"] | UInt8[Tensor, "rows frames"]
#: Rows of U.
Rows = Complex64[Tensor, "rows n"]


class Design(Protocol):
    """The inputs of a retrieval. None of them depends on a reading, so all rows of U share them."""

    @property
    def in_features(self) -> int: ...

    def __len__(self) -> int:
        """Frames."""
        ...

    def bits(self, start: int, stop: int) -> UInt8[Tensor, "frames n"]:
        """The inputs of frames [start, stop)."""
        ...

    def exposures(self) -> Float[Tensor, "frames"]:
        """Of every frame, times the device's own exposure; float64. All 1 where the attacker has no control of it."""
        ...


@dataclass(frozen=True)
class Scale:
    """How readings come from intensities; public.

    A reading y at exposure e says that e * |Ux|^2 lies in [y - 1/2, y + 1/2], in reading steps; without an upper end at
    `top`, without a lower one at 0.

    Attributes:
        top: the largest reading; None for a float camera, which neither rounds nor clips.
        mean_reading: of random half-on inputs at the device's own exposure.
        noise: std of a reading between frames of one input, in reading steps, as far as it was measured.
    """

    top: int | None
    mean_reading: float
    noise: float = 0.0


class RetrievalMethod(Protocol):
    """A frozen dataclass: its settings.

    Attributes:
        name: the name in records and reports.
        exposure_control: whether it needs to set the exposure.
    """

    @property
    def name(self) -> str: ...

    @property
    def exposure_control(self) -> bool: ...

    def least(self, in_features: int) -> int:
        """The fewest frames with which it can work."""
        ...

    def design(self, in_features: int, frames: int, scale: Scale, *, seed: int) -> Design:
        """At most `frames` inputs, and as many of them as it can use.

        Raises:
            ValueError: fewer than `least`.
        """
        ...

    def solve(self, design: Design, readings: Readings, scale: Scale, *, seed: int) -> Rows:
        """The rows, in units in which |Ux|^2 at exposure 1 is in reading steps; each up to phase and conjugation.

        Computed where the readings lie, and left there. What a CUDA card finds differs from what the CPU finds in the last
        digits, or, of a search that ends where a step is small enough, by less than that step.

        Rows are independent: a row's result does not depend on which others are solved with it, nor on threads.

        Raises:
            TypeError: a design of another method.
        """
        ...


@runtime_checkable
class SolvesAgain(Protocol):
    """A method that has something else to try of rows that went wrong. What has nothing random in it has not."""

    def solve_again(self, design: Design, readings: Readings, scale: Scale, *, seed: int) -> Rows:
        """As `RetrievalMethod.solve`, of a few rows that held-out readings spoke against: with more patience."""
        ...


D = TypeVar("D", bound=Design)


def own_design(method: RetrievalMethod, design: Design, kind: type[D]) -> D:
    """The design, if it is the method's own; else a TypeError."""
    if not isinstance(design, kind):
        raise TypeError(f"the design is a {type(design).__name__}: {type(method).__name__} solves its own alone")
    return design


def in_blocks(solve: Callable[[Tensor], Tensor], readings: Readings, rows: int) -> Rows:
    """Solve a few rows at a time (at least one), and more of them on a card: it bounds memory and changes no row."""
    rows *= _ON_A_CARD if is_card(readings.device) else 1
    return torch.cat([solve(block) for block in readings.split(max(1, rows))])
