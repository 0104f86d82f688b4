"""Sparse-RS: random search over which pixels change, and to which corner of the colour cube."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.search import ScoreAttack
from groundglass.attacks.sparse_balls import L0
from groundglass.attacks.tensors import keep_better
from groundglass.core import counting
from groundglass.core.reading import constant
from groundglass.core.settings import In

# After so many ten-thousandths of the budget the share of pixels that move is that of the start over so much.
_AFTER = (0, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_OVER = (1, 2, 4, 5, 6, 8, 10, 12, 15, 20)
# Random integers are below this; their remainders by the small numbers used here are as good as uniform.
_MANY = 2**62
# A slot's random integers are drawn for so many steps at a time: making a generator takes longer than drawing them.
_AHEAD = 32
# Of each pixel that moves: which one leaves, which one comes, its colour, and another colour where it has that one.
_DICE = 4


@dataclass(frozen=True, kw_only=True)
class SparseRS(ScoreAttack):
    """Random search in L0 (Croce, Andriushchenko, Singh, Flammarion and Hein 2022, "Sparse-RS", Algorithm 2).

    All pixels that the ball allows differ from the image, each at a corner of the colour cube. The first query asks about
    pixels and colours at random; each later one about the best image so far, in which a share of these pixels have their own
    colours again and as many others have random corners: it is kept if its loss is higher. A query is a loss query and a check in
    one.

    Differences from the original:
        - The schedule is stretched over the queries that an image has left when its attack begins; the original's over a
          number of iterations that is set separately.
        - A pixel never comes at its own colour; in the original only where one moves.
        - A candidate whose loss is the same to the last bit is kept too, see `ties`; the original drops it.
        - Where a ball allows all pixels there are no others: some of them get new colours.

    Attributes:
        loss: "margin" as in the paper, or "ce".
        alpha_init: share of the pixels of the ball that move at first, in (0, 1]; at the end a twentieth of it, and at least
            one pixel.
        ties: keep a candidate of equal loss; see `Square`.
    """

    loss: Literal["ce", "margin", "dlr"] = "margin"
    alpha_init: Annotated[float, In("(0, 1]", "a share of the pixels that may change")] = 0.3
    ties: bool = True
    kinds = (L0,)

    def cost(self) -> int:
        return 1

    def begin(self, live: Live) -> State:
        channels, pixels = live.original.flatten(2).shape[1:]
        # All pixels, those that are changed first.
        order = live.permutation(pixels, path=("sparse-rs", "pixels"))
        bits = live.integers(2, channels, pixels, path=("sparse-rs", "colours"))
        changed = torch.zeros_like(order, dtype=torch.bool)
        changed.scatter_(1, order, counting(pixels, order.device) < _allowed(live)[:, None])
        flat = live.original.flatten(2)
        first = torch.where(changed[:, None], bits.to(flat), flat).view_as(live.original)
        lowest = torch.full_like(live.left, -torch.inf, dtype=torch.float64)
        # Of the largest ball of the set; what a smaller one needs comes first, and is the same.
        moves = max(1, int(self.alpha_init * live.ball.radius))
        dice = torch.zeros(len(live), moves, _AHEAD, _DICE, dtype=torch.int64, device=order.device)
        return {"x": first, "loss": lowest, "allowed": live.left, "order": order, "dice": dice}

    def step(self, live: Live, state: State, ask: Ask) -> State:
        best, dice = state["x"], self._dice(live, state)
        candidate, order = self._changed(live, state, dice[live.slots, :, live.step % _AHEAD])
        if begins := live.beginning:
            first = live.at(begins)
            candidate[first], order[first] = best[first], state["order"][first]  # the start is a candidate too
        answer = ask(candidate, 1, inside=True)
        kept = answer.loss >= state["loss"] if self.ties else answer.loss > state["loss"]
        keep_better(best, candidate, kept)
        order = torch.where(kept[:, None], order, state["order"])
        return {**state, "order": order, "loss": torch.maximum(answer.loss, state["loss"]), "dice": dice}

    def _moving(self, done: Tensor, allowed: Tensor, pixels: int) -> Tensor:
        """How many pixels move, [s], after so many ten-thousandths of the budget."""
        table, after = (constant(values, torch.int64, done.device) for values in (_OVER, _AFTER))
        over = table[torch.bucketize(done, after)]
        # Not a hair below a whole number, as .3 / 6 * 20 is.
        count = (self.alpha_init * allowed.double() / over + 1e-9).long().clamp_min(1)
        others = pixels - allowed
        return torch.minimum(count, torch.where(others > 0, others, allowed)) * (allowed > 0)

    def _dice(self, live: Live, state: State) -> Tensor:
        """Random integers for the next steps of each slot, drawn again when they are used up."""
        dice = state["dice"]
        if due := live.due(_AHEAD):
            dice = dice.clone()
            dice[live.at(due)] = live.integers(_MANY, *dice.shape[1:], path=("sparse-rs",), slots=due)
        return dice

    def _changed(self, live: Live, state: State, dice: Tensor) -> tuple[Tensor, Tensor]:
        """The images, some pixels of each at their own colours and as many others at corners; and the new order."""
        allowed, order, original = _allowed(live), state["order"].clone(), live.original.flatten(2)
        pixels, x = order.shape[1], state["x"].clone().flatten(2)
        moving = self._moving(live.step * 10_000 // state["allowed"], allowed, pixels)
        # All that the host must know, at once.
        counts, most_of_each = torch.stack([moving, allowed]).tolist()
        for number in range(max(counts)):
            # Whoever has moved in this step is at the front, of those that are changed or of the others, and stays there.
            these = [slot for slot, count in enumerate(counts) if count > number]
            slots = live.at(these)
            most, die = allowed[slots], dice[slots, number]
            leaves = _brought(order, slots, number + die[:, 0] % (most - number), to=torch.full_like(most, number))
            comes, others = leaves.clone(), [at for at, slot in enumerate(these) if most_of_each[slot] < pixels]
            if others:
                swap = live.at(others)
                some, front = slots[swap], most[swap] + number
                comes[swap] = _brought(order, some, front + die[swap, 1] % (pixels - front), to=front)
                order[some, front], order[some, number] = leaves[swap], comes[swap]
            x[slots, :, leaves] = original[slots, :, leaves]
            x[slots, :, comes] = _colours(die[:, 2:], state["x"].flatten(2)[slots, :, comes])
        return x.view_as(live.original), order


def _brought(order: Tensor, slots: Tensor, at: Tensor, *, to: Tensor) -> Tensor:
    """The entry at one place of each of these rows, changed there, in `order` itself, for the one at another. [k]"""
    found = order[slots, at]
    order[slots, at] = order[slots, to]
    order[slots, to] = found
    return found


def _colours(dice: Tensor, now: Tensor) -> Tensor:
    """A corner of the colour cube for each pixel, all alike but the one that it has now. [k, c]"""
    channels = counting(now.shape[1], now.device).clamp_max(61)
    up = dice[:, :1] >> channels & 1
    same = (up == now).all(1, keepdim=True)
    other = 1 + dice[:, 1:] % (2 ** min(now.shape[1], 62) - 1)
    return torch.where(same, up ^ (other >> channels & 1), up).to(now)


def _allowed(live: Live) -> Tensor:
    """Pixels that may change, [s]."""
    radii = live.ball.radii
    return radii.to(live.left) if isinstance(radii, Tensor) else torch.full_like(live.left, int(radii))
