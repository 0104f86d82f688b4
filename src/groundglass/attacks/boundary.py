"""What attacks share that follow the boundary by labels alone: a first point beyond it, and searches on the way back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from groundglass.attacks.balls import Linf
from groundglass.attacks.draws import Draw
from groundglass.attacks.hyperplanes import Metric
from groundglass.attacks.nearest import NearestImageAttack
from groundglass.attacks.questions import Ask, Live
from groundglass.attacks.search import LabelAttack
from groundglass.attacks.tensors import Flags, Images, PerImage, per_image
from groundglass.core import counting
from groundglass.core.reading import free_to_read

# Random integers are below this.
_MANY = 2**62
# Tries before anything but noise is asked about.
_NOISE_FIRST = 8


@dataclass(frozen=True, kw_only=True)
class BoundarySearch(NearestImageAttack, LabelAttack):
    """From any image that fools the model along the boundary to one that is near. A step asks one query for each image, whatever
    its search is about to do: that is its phase, a number in the state.

    Attributes:
        draw: how random numbers are drawn; see `ScoreAttack`.
    """

    draw: Draw = "mt19937"
    _takes_start: ClassVar[bool] = True

    def cost(self) -> int:
        return 1

    def fooled(self, live: Live, x: Images, ask: Ask) -> Flags:
        """Whether these images, one of each slot and in [0, 1], fool the model."""
        return ask(x, 1, inside=live.ball.contains(x, live.original, tolerance=1e-6)).fooled


def slots_of(flags: Flags) -> list[int]:
    """The slots for which something must be made. On a card the host does not look, and it is made for all."""
    known = flags.tolist() if free_to_read(flags) else [True] * len(flags)
    return [slot for slot, yes in enumerate(known) if yes]


def put(into: Tensor, live: Live, slots: list[int], made: Tensor) -> Tensor:
    """`into`, with what was made for these slots."""
    if not slots:
        return into
    return made if len(slots) == len(live) else into.index_put((live.at(slots),), made)


def uniform(live: Live, slots: list[int], path: str) -> Tensor:
    """Numbers in [0, 1) for these slots, of an image's shape."""
    drawn = live.integers(_MANY, *live.original.shape[1:], path=(path, "uniform"), slots=slots)
    return (drawn.double() / _MANY).float()


def guess(live: Live, noise: Images, slots: list[int], path: str) -> Images:
    """What is asked about until something fools: the start that was given; noise; after some of it every second time large
    squares at the ends of the range, as a model may take all fine noise for one class."""
    squares = put(noise, live, slots, _squares(live, slots, path))
    found = torch.where(per_image((live.step < _NOISE_FIRST) | (live.step % 2 == 0)), noise, squares)
    if isinstance(live.ball, Linf) and isinstance(live.ball.eps, tuple):  # a box that is narrower in some channels
        found = live.original + live.ball.step(torch.ones_like(found), 1.0) * (found - live.original)
    return found if live.start is None else torch.where(per_image(live.step == 0), live.start, found)


def _squares(live: Live, slots: list[int], path: str) -> Images:
    """Black or white in each channel, in 1, 4 or 16 squares: the fewest most often."""
    channels, height, width = live.original.shape[1:]
    dice = live.integers(_MANY, 1 + 16 * channels, path=(path, "squares"), slots=slots)
    side = 2 ** (dice[:, 0] % 3)
    row, column = (counting(n, dice.device) * side[:, None] // n for n in (height, width))
    at = (row[:, :, None] * side[:, None, None] + column[:, None, :]).flatten(1)
    colours = (dice[:, 1:] % 2).view(-1, channels, 16)
    found = colours.gather(2, at[:, None].expand(-1, channels, -1))
    return found.view(-1, channels, height, width).to(live.original)


def between(live: Live, x: Images, share: PerImage) -> Images:
    """The point so far on the way from the image to `x`."""
    # The end itself is what was asked about, to the last bit.
    return torch.where(per_image(share == 1), x, live.original + per_image(share) * (x - live.original))


def length(live: Live, x: Images) -> PerImage:
    """How far these are from their images, in the norm of the ball."""
    return Metric(live.ball).length(x - live.original)


def pick(phase: Tensor, *cases: Callable[[], Tensor]) -> Tensor:
    """What is made for phase 0, 1, ..., in that order; the last is for all phases from there on. What nobody needs is not made,
    but on a card."""
    last = len(cases) - 1
    here = phase.tolist() if free_to_read(phase) else range(len(cases))
    needed = sorted({min(max(number, 0), last) for number in here})
    found = cases[needed[-1]]()
    for number in needed[:-1]:
        value = cases[number]()
        which = phase <= 0 if number == 0 else phase == number
        found = torch.where(per_image(which) if value.ndim == 4 else which, value, found)
    return found


def nobody(flags: Flags) -> bool:
    """Whether there is nothing to do. On a card the host does not look, and does it."""
    return free_to_read(flags) and not bool(flags.any())
