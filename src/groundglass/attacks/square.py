"""Square: random search over square windows, which shrink as the budget is spent."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from groundglass.attacks.balls import L2, Linf
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.search import ScoreAttack
from groundglass.attacks.tensors import keep_better
from groundglass.core import counting
from groundglass.core.reading import constant, free_to_read
from groundglass.core.settings import In, since

# The share of pixels in a window is halved after so many ten-thousandths of the budget.
_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# Random integers are below this; their remainders by the small numbers used here are as good as uniform.
_MANY = 2**62
# A slot's random integers are drawn for so many steps at a time: making a generator takes longer than drawing them.
_AHEAD = 32


@dataclass(frozen=True, kw_only=True)
class Square(ScoreAttack):
    """Random search over square windows (Andriushchenko, Croce, Flammarion and Hein 2020), in L-inf or L2.

    The first query asks about vertical stripes of +-eps (in L2: a grid of bumps), or about `start` where one is given,
    each later one about the best image so far, changed in one window: it is kept if its loss is higher. In L-inf a
    window is set to +eps or -eps, channel by channel. In L2 a bump is added to a window, and gets what length a second
    window, set to zero, had; all of the radius is used at any time. A query is a loss query and a check in one.

    Differences from the original:
        - `p_init` is AutoAttack's .8 for both norms. The paper has .05 in L-inf and .1 in L2 for undefended networks, and
          larger ones for robust networks.
        - The schedule is stretched over the queries that an image has left when its attack begins; the original's over a
          number of iterations that is set separately.
        - A window may touch the last row and column, which none of the original's does.
        - Every image has windows, bumps and their orientation of its own. In L2 the original's images share them in an
          iteration; in AutoAttack also in L-inf.
        - In L-inf a candidate never equals the image it was made from, as in the original (AutoAttack has no such rule).
          It is drawn at once, from the same distribution, where the original draws until it differs.
        - In L2 the length is shared out by channel, as in the original; AutoAttack gives each channel the whole.
        - Images of any size and shape: windows are at most the shorter side, and the first bumps are centred.
        - A candidate whose loss is the same to the last bit is kept too, see `ties`; the original drops it.

    Attributes:
        loss: "margin" as in the paper, or "ce".
        p_init: share of the pixels in a window at first, in (0, 1]; halved nine times.
        ties: keep a candidate of equal loss: on a loss of steps, as behind a binarisation, a search that waits for a gain
            stands still on a plateau, and one that takes equals crosses it. Where no two losses are equal nothing changes.
    """

    loss: Literal["ce", "margin", "dlr"] = "margin"
    p_init: Annotated[float, In("(0, 1]", "a share of the pixels")] = 0.8
    ties: bool = since(True, before=False)
    _takes_start: ClassVar[bool] = True
    kinds = (Linf, L2)

    def cost(self) -> int:
        return 1

    def begin(self, live: Live) -> State:
        start = _bumps(live) if isinstance(live.ball, L2) else _stripes(live)
        first = _stretched(live, start) if live.start is None else live.start.clone()
        lowest = torch.full_like(live.left, -torch.inf, dtype=torch.float64)
        state: State = {"x": first, "loss": lowest, "allowed": live.left}
        dice = torch.zeros(len(live), _AHEAD, live.original.shape[1] + 5, dtype=torch.int64, device=start.device)
        state["dice"] = dice
        if not isinstance(live.ball, L2):
            state["above"], state["below"] = (_stretched(live, sign * torch.ones_like(start)) for sign in (1, -1))
        return state

    def step(self, live: Live, state: State, ask: Ask) -> State:
        best, dice = state["x"], self._dice(live, state)
        candidate = self._changed(live, state, dice[live.slots, live.step % _AHEAD])
        if begins := live.beginning:
            first = live.at(begins)
            candidate[first] = best[first]  # the start is a candidate too
        answer = ask(candidate, 1, inside=True)
        kept = answer.loss >= state["loss"] if self.ties else answer.loss > state["loss"]
        keep_better(best, candidate, kept)
        return {**state, "loss": torch.maximum(answer.loss, state["loss"]), "dice": dice}

    def _dice(self, live: Live, state: State) -> Tensor:
        """Random integers for the next steps of each slot, drawn again when they are used up."""
        dice = state["dice"]
        if due := live.due(_AHEAD):
            dice = dice.clone()
            dice[live.at(due)] = live.integers(_MANY, *dice.shape[1:], path=("square",), slots=due)
        return dice

    def _changed(self, live: Live, state: State, dice: Tensor) -> Tensor:
        """The images, each changed in a window of its own."""
        x, allowed = state["x"], state["allowed"]
        channels, height, width = x.shape[1:]
        euclidean = isinstance(live.ball, L2)
        sides = self._sides(height, width, odd=euclidean)
        done = (live.step - 1).clamp_min(0) * 10_000 // allowed
        level = torch.bucketize(done, constant(_HALVED_AFTER, torch.int64, x.device))
        side = constant(sides, torch.int64, x.device)[level]
        up, dice = dice[:, :channels] % 2 == 0, dice[:, channels:]
        window = _Window(dice[:, 0], dice[:, 1], side, height, width)
        if not euclidean:
            return _recoloured(state, window, up, dice[:, 2])
        table = _patterns_like(sides, x.dtype, x.device)
        bump = window.cut(table, level, turned=dice[:, 2] % 2 == 0)[:, None] * _signs(up)
        return _rebalanced(live, x, window.mask, _Window(dice[:, 3], dice[:, 4], side, height, width).mask, bump)

    def _sides(self, height: int, width: int, *, odd: bool) -> tuple[int, ...]:
        """The side of a window at each level of the schedule: in L2 odd and at least 3, in small images what fits."""
        sides = [round(math.sqrt(self.p_init / 2**level * height * width)) for level in range(len(_HALVED_AFTER) + 1)]
        if odd:
            sides = [max(side, 3) // 2 * 2 + 1 for side in sides]
        return tuple(min(max(side, 1), height, width) for side in sides)


class _Window:
    """A square window in each slot's image.

    Attributes:
        mask: the pixels in it, [s, 1, h, w].
    """

    def __init__(self, down: Tensor, right: Tensor, side: Tensor, height: int, width: int) -> None:
        """`down` and `right` are large random integers: all places where the window fits are equally likely."""
        rows = counting(height, side.device) - (down % (height - side + 1))[:, None]
        columns = counting(width, side.device) - (right % (width - side + 1))[:, None]
        in_rows, in_columns = ((at >= 0) & (at < side[:, None]) for at in (rows, columns))
        self.mask = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
        self._rows, self._columns = rows, columns

    def cut(self, table: Tensor, which: Tensor, *, turned: Tensor) -> Tensor:
        """`table[which]`, [s, side, side], laid into the window, some with rows for columns; zero elsewhere. [s, h, w]"""
        last = table.shape[-1] - 1
        rows, columns = self._rows.clamp(0, last)[:, :, None], self._columns.clamp(0, last)[:, None, :]
        first, second = (torch.where(turned[:, None, None], a, b) for a, b in ((columns, rows), (rows, columns)))
        return table[which[:, None, None], first, second] * self.mask[:, 0]


def _recoloured(state: State, window: "_Window", up: Tensor, die: Tensor) -> Tensor:
    """Each channel's window at the upper or the lower side of L-inf's box; not all of them as they were."""
    x, above, below = state["x"], state["above"], state["below"]
    channels = x.shape[1]
    wanted = torch.where(up[:, :, None, None], above, below)
    same = ((x == wanted) | ~window.mask).flatten(1).all(1)
    if not free_to_read(same) or bool(same.any()):
        # Then some channels change sides: any subset but the empty one, all equally likely.
        subset = 1 + die % (2 ** min(channels, 62) - 1)
        bits = subset[:, None] >> counting(channels, x.device).clamp_max(62) & 1
        up = up ^ (same[:, None] & (bits == 1))
        wanted = torch.where(up[:, :, None, None], above, below)
    return torch.where(window.mask, wanted, x)


def _rebalanced(live: Live, x: Tensor, window: Tensor, other: Tensor, bump: Tensor) -> Tensor:
    """L2: a bump added to one window, which takes the length that the other had and that the image had left."""
    delta = x - live.original
    squared = live.ball.radii**2
    squared = squared.to(delta) if isinstance(squared, Tensor) else squared
    unused = (squared - live.ball.norm(delta) ** 2).clamp_min(0) / x.shape[1]
    length = (_energy(delta * (window | other)) + unused[:, None]).sqrt()
    old = delta * window / _wide(_energy(delta * window).sqrt() + 1e-10)
    new = old + bump
    new = new * _wide(length / _energy(new).sqrt().clamp_min(1e-10))
    return _stretched(live, torch.where(window, new, delta * ~other))


def _stripes(live: Live) -> Tensor:
    """Vertical stripes one pixel wide, of one random sign each in every channel."""
    channels, _, width = live.original.shape[1:]
    bits = live.integers(2, channels, width, path=("square", "stripes"))
    return (1 - 2 * bits[:, :, None, :]).expand_as(live.original).to(live.original)


def _bumps(live: Live) -> Tensor:
    """A centred grid of bumps, a fifth of the image wide, of random orientation, and of random sign in every channel."""
    channels, height, width = live.original.shape[1:]
    side = max(1, min(height, width) // 5)
    down, across = height // side, width // side
    bits = live.integers(2, channels + 1, down, across, path=("square", "bumps")) == 0
    pattern = _patterns((side,))[0].to(live.original)
    tiles = torch.where(bits[:, 0, ..., None, None], pattern, pattern.T)[:, None] * _signs(bits[:, 1:])
    grid = tiles.transpose(3, 4).reshape(len(live), channels, down * side, across * side)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    return F.pad(grid, (left, width - across * side - left, top, height - down * side - top))


@lru_cache(maxsize=32)
def _patterns(sides: tuple[int, ...]) -> Tensor:
    """A bump for each side, of length 1, padded with zeros to the largest: [k, s, s]. Do not change it."""
    table = torch.zeros(len(sides), max(sides), max(sides), dtype=torch.float64, device="cpu")
    for at, side in enumerate(sides):
        half = side // 2
        table[at, :half, :side] = _pyramid(half, side)
        table[at, half:side, :side] = -_pyramid(side - half, side)
    return (table / torch.linalg.vector_norm(table, dim=(1, 2), keepdim=True)).float()


@lru_cache(maxsize=32)
def _patterns_like(sides: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return _patterns(sides).to(device, dtype)


def _pyramid(height: int, width: int) -> Tensor:
    """Rectangles around one centre, the k-th of weight 1 / k^2, added up; of length 1 (the paper's eta)."""
    rings = max(height, width) // 2 + 1
    weights = 1 / torch.arange(1, rings + 1, dtype=torch.float64, device="cpu") ** 2
    from_ring = weights.flip(0).cumsum(0).flip(0)
    rows, columns = (counting(height) - height // 2).abs(), (counting(width) - width // 2).abs()
    pyramid = from_ring[torch.maximum(rows[:, None], columns[None, :])]
    return pyramid / torch.linalg.vector_norm(pyramid).clamp_min(1e-30)


def _stretched(live: Live, direction: Tensor) -> Tensor:
    """The image at the end of the ball in this direction, in [0, 1]."""
    ball = live.ball
    return ball.project(live.original + ball.step(direction, ball.radii), live.original)


def _energy(delta: Tensor) -> Tensor:
    """The squared length of each channel, [s, c]."""
    return delta.square().flatten(2).sum(2)


def _signs(up: Tensor) -> Tensor:
    """+-1, with two dimensions more: for the rows and columns that share the sign."""
    return (2 * up.float() - 1)[..., None, None]


def _wide(values: Tensor) -> Tensor:
    """One value an image, [s], or a channel, [s, c], with a dimension of length 1 for every other of the image."""
    return values.view(*values.shape, *[1] * (4 - values.ndim))
