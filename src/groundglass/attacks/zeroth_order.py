"""ZOO: Carlini and Wagner's attack by differences of scores, some coordinates at a time."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from groundglass.attacks.attack import Attack
from groundglass.attacks.balls import L2, Ball, Each, Linf
from groundglass.attacks.nearest import NearestImageAttack
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.search import ScoreAttack
from groundglass.core import counting
from groundglass.core.settings import Count, NotNegative, Positive

_BETA1, _BETA2, _ADAM_EPS = 0.9, 0.999, 1e-8
# Newton's method takes no curvature for smaller than this; one below 0 for 1, which is a step along the gradient.
_LEAST_CURVATURE = 0.1
# Of importance: the share of the coordinates that are drawn as if all were alike, so that none is out of reach.
_ALIKE = 0.01
# Of importance: a change counts for so large a part of the grid's side.
_POOLED = 8
_MANY = 2**62


@dataclass(frozen=True, kw_only=True)
class ZOO(NearestImageAttack, ScoreAttack):
    """Zeroth order optimisation (Chen, Zhang, Sharma, Yi and Hsieh 2017, "ZOO: zeroth order optimization based black-box attacks
    to deep neural networks without training substitute models").

    Minimises |x - image|^2 + c f(x), f = max(label's log-probability - largest other, -confidence): that of logits (towards a
    target: largest other - target's). A step draws some coordinates, asks about the iterate and about points a little to either
    side of it along each, and moves each by Adam or by Newton's method. A search over c, as Carlini and Wagner's, begins again at
    the image: with ten times c until it fools, then by halves.

    Without a ball the whole budget goes into a smaller L2 distance. In a ball, L2 or L-inf, iterates are projected into it, and
    the work ends with the first image that fools the model, be it a probe.

    Differences from the original:
        - Searches go on until the budget is spent. All that is asked may be the nearest image, probes too.
        - Pixels are clamped to [0, 1], as in the original on MNIST; not tanh's space, where black and white have no gradient.
        - Balls, which the original does without.
        - Importance: a hundredth of the draws are uniform, also where nothing has changed yet. The original draws so only after
          its space was enlarged.

    Attributes:
        loss: "margin", which is the paper's.
        coordinates: of a step; each costs two queries, and the iterate one.
        solver: "adam" or "newton", for each coordinate alone.
        learning_rate: of both.
        h: to either side, pixel units.
        steps: of a search, unless a tenth of them gains less than 0.01%.
        initial_c: the first c.
        confidence: logits by which the other class must win.
        sides: of smaller grids that are searched in place of the image, one after the other, enlarged bilinearly (dimension
            reduction and the hierarchical attack); the search stays on the last. Empty: the image itself.
        enlarge_every: steps of a search on each grid.
        importance: coordinates are drawn in proportion to the largest change near them.
    """

    loss: Literal["ce", "margin", "dlr"] = "margin"
    coordinates: Count = 128
    solver: Literal["adam", "newton"] = "adam"
    learning_rate: Positive = 0.01
    h: Positive = 1e-4
    steps: Count = 1000
    initial_c: Positive = 0.01
    confidence: NotNegative = 0.0
    sides: tuple[Count, ...] = ()
    enlarge_every: Count = 500
    importance: bool = False
    norm = "L2"
    kinds = (L2, Linf)

    def check_ball(self, ball: Ball | None) -> None:
        if ball is not None:
            Attack.check_ball(self, ball)

    def cost(self) -> int:
        return 2 * self.coordinates + 1

    def begin(self, live: Live) -> State:
        flat = torch.zeros_like(live.original).flatten(1)
        number = flat.new_zeros(len(live), dtype=torch.float64)
        return {
            "change": flat,  # of the grid that is searched, in the first entries
            "first": flat,  # Adam's moments of each coordinate, and how often it was moved
            "second": flat,
            "moved": torch.zeros_like(flat, dtype=torch.int64),
            "done": torch.zeros_like(live.step),  # steps of this search
            "c": torch.full_like(number, self.initial_c),
            "low": number,
            "high": torch.full_like(number, torch.inf),
            "won": torch.zeros_like(live.step, dtype=torch.bool),  # something fooled in this search
            "before": torch.full_like(number, torch.inf),  # what was minimised, a tenth of the steps ago
        }

    def step(self, live: Live, state: State, ask: Ask) -> State:
        state = self._enlarged(live, state)
        grid = _Grid(live, self._sides(live, state))
        at = self._drawn(live, state, grid)
        count = at.shape[1]
        change = state["change"][:, None].repeat(1, 2 * count + 1, 1)
        # The iterate, then for each coordinate a point above and one below.
        for side, moved in ((1, self.h), (2, -self.h)):
            change[:, side::2].scatter_add_(2, at[:, :, None], change.new_full((*at.shape, 1), moved))
        x = grid.images(change)
        answer = ask(x.flatten(0, 1), 2 * count + 1, inside=True)
        distance = (x - live.original[:, None]).double().square().flatten(2).sum(2)
        short = (self.confidence - answer.loss.view_as(distance)).clamp_min(0)
        total = distance + state["c"][:, None] * short
        grad = (total[:, 1::2] - total[:, 2::2]) / (2 * self.h)
        curvature = (total[:, 1::2] + total[:, 2::2] - 2 * total[:, :1]) / self.h**2
        ask.count_estimates(live.slots, grad)
        state = self._moved(state, at, grad, curvature)
        if not self.sides:  # what the ball or [0, 1] does not allow is no change
            state["change"] = (grid.images(state["change"][:, None])[:, 0] - live.original).flatten(1)
        won = state["won"] | answer.fooled.view_as(distance)[:, 0]
        return self._searched({**state, "won": won, "done": state["done"] + 1}, total[:, 0])

    def _drawn(self, live: Live, state: State, grid: "_Grid") -> Tensor:
        """Which coordinates move, [s, k]: different ones."""
        entries = state["change"].shape[1]
        drawn = live.integers(_MANY, entries, path=("zoo",)).double() / _MANY
        # Whoever waits for the shortest time: exponential, of a rate in proportion to the importance.
        waits = -drawn.clamp_min(1e-18).log()
        if self.importance:
            weight = grid.pooled(state["change"])
            share = (1 - _ALIKE) * weight / weight.sum(1, keepdim=True).clamp_min(1e-30) + _ALIKE / grid.entries[
                :, None
            ]
            waits = waits / share
        waits = waits.masked_fill(counting(entries, waits.device) >= grid.entries[:, None], torch.inf)
        return waits.topk(min(self.coordinates, grid.fewest), dim=1, largest=False).indices

    def _moved(self, state: State, at: Tensor, grad: Tensor, curvature: Tensor) -> State:
        """Each of these coordinates by its own rule."""
        if self.solver == "newton":
            curvature = torch.where(curvature < 0, 1.0, curvature).clamp_min(_LEAST_CURVATURE)
            move = self.learning_rate * grad / curvature
        else:
            first = _BETA1 * state["first"].gather(1, at).double() + (1 - _BETA1) * grad
            second = _BETA2 * state["second"].gather(1, at).double() + (1 - _BETA2) * grad.square()
            times = state["moved"].gather(1, at) + 1
            unbiased = (1 - _BETA2 ** times.double()).sqrt() / (1 - _BETA1 ** times.double())
            move = self.learning_rate * unbiased * first / (second.sqrt() + _ADAM_EPS)
            state = {
                **state,
                "first": state["first"].scatter(1, at, first.float()),
                "second": state["second"].scatter(1, at, second.float()),
                "moved": state["moved"].scatter(1, at, times),
            }
        return {**state, "change": state["change"].scatter_add(1, at, -move.float())}

    def _searched(self, state: State, total: Tensor) -> State:
        """Whose search is over begins another, at the image, with another c."""
        patience = max(1, self.steps // 10)
        looks = state["done"] % patience == 1 % patience
        stuck = looks & (total > 0.9999 * state["before"])
        over = stuck | (state["done"] >= self.steps)
        c, won = state["c"], state["won"]
        high = torch.where(over & won, torch.minimum(state["high"], c), state["high"])
        low = torch.where(over & ~won, torch.maximum(state["low"], c), state["low"])
        another = torch.where(high.isinf(), 10 * c, (low + high) / 2)
        fresh = {name: torch.where(over[:, None], 0, state[name]) for name in ("change", "first", "second", "moved")}
        return {
            **state,
            **fresh,
            "c": torch.where(over, another, c),
            "low": low,
            "high": high,
            "done": torch.where(over, 0, state["done"]),
            "won": won & ~over,
            "before": torch.where(over, torch.inf, torch.where(looks, total, state["before"])),
        }

    # --- smaller grids ---

    def _sides(self, live: Live, state: State) -> list[int] | None:
        """The side of the grid that each slot searches; None: the image itself."""
        if not self.sides:
            return None
        stages = (state["done"] // self.enlarge_every).clamp_max(len(self.sides) - 1).tolist()
        return [self._side(live, stage) for stage in stages]

    def _side(self, live: Live, stage: int) -> int:
        return min(self.sides[stage], *live.original.shape[2:])

    def _enlarged(self, live: Live, state: State) -> State:
        """Whoever goes on to the next grid takes along what was found on the last; Adam begins anew."""
        if not self.sides:
            return state
        stages = {
            slot: done // self.enlarge_every
            for slot, done in enumerate(state["done"].tolist())
            if done and not done % self.enlarge_every and done // self.enlarge_every < len(self.sides)
        }
        for stage in sorted(set(stages.values())):
            at = live.at([slot for slot, other in stages.items() if other == stage])
            old, new = self._side(live, stage - 1), self._side(live, stage)
            channels = live.original.shape[1]
            found = state["change"][at, : channels * old**2].view(-1, channels, old, old)
            found = F.interpolate(found, size=(new, new), mode="bilinear", align_corners=False).flatten(1)
            flat = F.pad(found, (0, state["change"].shape[1] - found.shape[1]))
            state = {**state, "change": state["change"].index_put((at,), flat)}
            for name in ("first", "second", "moved"):
                state[name] = state[name].index_put((at,), torch.zeros_like(state[name][at]))
        return state


class _Grid:
    """What each slot searches: its image, or a smaller grid of one of a few sides.

    Attributes:
        entries: of each slot's grid, [s].
        fewest: of any.
    """

    def __init__(self, live: Live, sides: list[int] | None) -> None:
        self._live, self._sides = live, sides
        channels, height, width = live.original.shape[1:]
        known = [channels * height * width] * len(live) if sides is None else [channels * side**2 for side in sides]
        self.fewest = min(known)
        self.entries = live.at(known)

    def images(self, change: Tensor) -> Tensor:
        """Images in the ball, [s, k, c, h, w], of changes [s, k, entries]."""
        original = self._live.original
        shape = (*change.shape[:2], *original.shape[1:])
        if self._sides is None:
            full = change.view(shape)
        else:
            full = change.new_empty(shape)
            for side, at in self._groups(self._sides):
                small = change[at, :, : original.shape[1] * side**2].reshape(-1, original.shape[1], side, side)
                large = F.interpolate(small, size=original.shape[2:], mode="bilinear", align_corners=False)
                full[at] = large.view(len(at), *shape[1:])
        centre = original[:, None].expand(shape).flatten(0, 1)
        return _repeated(self._live.ball, change.shape[1]).project(centre + full.flatten(0, 1), centre).view(shape)

    def pooled(self, change: Tensor) -> Tensor:
        """The largest change near each entry, float64 [s, entries]."""
        channels, height, width = self._live.original.shape[1:]
        found = torch.zeros_like(change, dtype=torch.float64)
        sizes = [(height, width)] * len(self._live) if self._sides is None else [(side, side) for side in self._sides]
        for size in sorted(set(sizes)):
            at = self._live.at([slot for slot, other in enumerate(sizes) if other == size])
            used, kernel = channels * size[0] * size[1], max(1, min(size) // _POOLED)
            grid = change[at, :used].view(-1, channels, *size).abs()
            near = F.max_pool2d(grid, kernel, ceil_mode=True).repeat_interleave(kernel, 2).repeat_interleave(kernel, 3)
            found[at, :used] = near[:, :, : size[0], : size[1]].flatten(1).double()
        return found

    def _groups(self, sides: list[int]) -> list[tuple[int, Tensor]]:
        return [
            (side, self._live.at([slot for slot, other in enumerate(sides) if other == side]))
            for side in sorted(set(sides))
        ]


def _repeated(ball: Ball, times: int) -> Ball:
    """The ball of each image, so often."""
    if not isinstance(ball.radii, Tensor):
        return ball
    return Each(ball.kind, tuple(ball.radii.repeat_interleave(times).tolist())).at(slice(None))
