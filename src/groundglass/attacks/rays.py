"""RayS: the nearest corner of L-inf's box, found from labels alone."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from groundglass.attacks.balls import Ball, Linf
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.search import LabelAttack
from groundglass.core import counting
from groundglass.core.settings import In

# The first corner is tried at the far end of the pixels' range.
_FARTHEST = 1.0
# Two radii cannot come much nearer to each other in float32.
_NEAREST = 1e-7


@dataclass(frozen=True, kw_only=True)
class RayS(LabelAttack):
    """Ray searching (Chen and Gu 2020): among directions of signs, the one in which the nearest point fools the model. In L-inf.

    The signs of one block of pixels are flipped at a time: the whole image, its halves, its quarters and so on to single
    pixels, in the order channel, row, column. A quick check asks about the new direction at the best radius so far; only if
    it fools the model does a binary search for a smaller radius follow, and if it finds one, the signs are kept. The
    attack succeeds with the first point inside the ball that fools the model. A step asks one query. Nothing is random.

    Differences from the original:
        - It ends with the first query inside the ball that fools the model, also in the middle of a binary search; the
          original ends that search first. So the adversarial image is in the ball, and seldom much nearer.
        - Radii are in L-inf, the change of a pixel; the original has the Euclidean length of the same direction.
        - Where no corner has fooled the model yet, the quick check is made at radius 1, which is the corner of the range
          of pixels, as the batched original's at infinity. The original for single images tries lengths 1 to 10.
        - A targeted attack starts as an untargeted one does, from corners of the range of pixels, not from an image of the
          target's class as the original: where no corner has that class it finds nothing.
        - In a box that differs by channel, so do the directions.

    Attributes:
        tolerance: a binary search ends when the radius is known to this Euclidean length, pixel units; in one of
            3 x 32 x 32 pixels that is 1.8e-5. The original's.
    """

    tolerance: Annotated[float, In("(0, inf)", "a Euclidean length, pixel units")] = 1e-3
    kinds = (Linf,)

    def cost(self) -> int:
        return 1

    def begin(self, live: Live) -> State:
        low = high = live.original.new_zeros(len(live))
        best = torch.full_like(low, torch.inf)
        level, block = torch.zeros_like(live.step), torch.zeros_like(live.step)
        signs = torch.ones_like(live.original, dtype=torch.int8)
        searching = torch.zeros_like(live.step, dtype=torch.bool)
        return {
            "signs": signs,
            "best": best,
            "level": level,
            "block": block,
            "searching": searching,
            "low": low,
            "high": high,
        }

    def step(self, live: Live, state: State, ask: Ask) -> State:
        best, low, high, searching = state["best"], state["low"], state["high"], state["searching"]
        pixels = live.original[0].numel()
        turned, end = _block(state["level"], state["block"], pixels)
        signs = torch.where(turned.view_as(live.original), -state["signs"], state["signs"])
        radius = torch.where(searching, (low + high) / 2, best.clamp_max(_FARTHEST))
        fooled = self._ask(live, signs, radius, ask)

        # A quick check that fooled the model opens a search below it; a search goes on in the half that fooled it or not.
        low = torch.where(searching & ~fooled, radius, torch.where(searching, low, 0))
        high = torch.where(fooled, radius, high)
        searching = searching | fooled
        wide = high - low > max(self.tolerance / math.sqrt(pixels), _NEAREST)
        nearer = searching & ~wide & (high < best)
        over = ~(searching & wide)
        level, block = _next(state["level"], state["block"], end, pixels)
        return {
            "signs": torch.where(nearer[:, None, None, None], signs, state["signs"]),
            "best": torch.where(nearer, high, best),
            "level": torch.where(over, level, state["level"]),
            "block": torch.where(over, block, state["block"]),
            "searching": searching & wide,
            "low": low,
            "high": high,
        }

    def _ask(self, live: Live, signs: Tensor, radius: Tensor, ask: Ask) -> Tensor:
        """Whether the model is fooled in these directions, so far from the images."""
        ball = live.ball
        unit = ball.step(signs.to(live.original), 1.0)
        # Rounding is monotonic: with a radius of at most eps no pixel moves by more than eps, rounded alike, moves it.
        x = (live.original + unit * radius[:, None, None, None]).clamp(0, 1)
        return ask(x, 1, inside=radius <= _radii(ball, radius)).fooled


def _radii(ball: Ball, like: Tensor) -> float | Tensor:
    return ball.radii.to(like) if isinstance(ball.radii, Tensor) else ball.radii


def _block(level: Tensor, block: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """The pixels of a block, [s, pixels], and where it ends. A level has 2^level blocks, or fewer if they are used up."""
    size = -(-pixels // 2**level)
    start, end = block * size, ((block + 1) * size).clamp_max(pixels)
    pixel = counting(pixels, level.device)
    return (pixel >= start[:, None]) & (pixel < end[:, None]), end


def _next(level: Tensor, block: Tensor, end: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """The block after this one: of the next level when all pixels had their turn; single pixels again and again."""
    whole = end == pixels
    deepest = (pixels - 1).bit_length()
    return torch.where(whole, (level + 1).clamp_max(deepest), level), torch.where(whole, 0, block + 1)
