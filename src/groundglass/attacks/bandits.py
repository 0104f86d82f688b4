"""Bandits: a gradient that is learned from query to query, tile by tile."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from groundglass.attacks.balls import L2, Linf
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.search import ScoreAttack
from groundglass.attacks.tensors import per_image
from groundglass.core import counting
from groundglass.core.reading import constant
from groundglass.core.settings import Count, Positive

# A slot's noise is drawn for so many steps at a time: making a generator takes longer than drawing some hundred numbers.
_AHEAD = 8


@dataclass(frozen=True, kw_only=True)
class Bandits(ScoreAttack):
    """Bandit optimisation with a time and a data prior (Ilyas, Engstrom and Madry 2019), in L-inf or L2.

    A prior p, on a coarse grid, takes the place of the gradient. A step asks two losses to move p towards the gradient, moves
    the image along p, and asks one check. The defaults are the paper's (section 3.2.1); its code sweeps `fd_eta` over .1, .5
    and 1, as it does NES's sigma.

    Differences from the original:
        - In L-inf the exponentiated-gradient update is done on atanh(p), where it is an addition: the same numbers
          without its overflow, and a component that has come to +1 or -1 can leave again.
        - Losses are in float64: of a confident network float32's differences are zero.
        - Probes are clamped to [0, 1]: the model is asked about images.
        - An image that is fooled stops; the original's keeps moving. The check counts as a query, and a loss query costs
          one pass through the model, not two. Of an image that is not fooled the iterate of highest loss is kept.
        - Where both losses are equal the prior stays, and the image moves on along it: a probe that is too short for a loss
          of steps learns nothing. `AttackResult.zero_gradients` counts them.
        - The original's own settings: L-inf online_lr=100, exploration=1, tile_size=50 of 299 pixels; L2 online_lr=.1,
          exploration=.01, fd_eta=.01, step_size=.5.

    Attributes:
        exploration: delta, size of the noise on the prior.
        fd_eta: eta, length of a probe, pixel units.
        online_lr: learning rate of the prior.
        tile_size: side of the prior's grid, or the image's if that is smaller.
        step_size: pixel units; a sign step in L-inf, a step of this length in L2; None: a fifth of the radius.
    """

    exploration: Positive = 0.1
    fd_eta: Positive = 0.1
    online_lr: Positive = 0.1
    tile_size: Count = 16
    step_size: Positive | None = None
    kinds = (Linf, L2)

    def cost(self) -> int:
        return 3

    def begin(self, live: Live) -> State:
        count, channels, height, width = live.original.shape
        grid = live.original.new_zeros(count, channels, min(height, self.tile_size), min(width, self.tile_size))
        noise = grid[:, None].expand(-1, _AHEAD, -1, -1, -1)
        return {"x": live.original, "prior": grid, "noise": noise}

    def step(self, live: Live, state: State, ask: Ask) -> State:
        x, stored = state["x"], state["prior"]
        euclidean = isinstance(live.ball, L2)
        prior = stored if euclidean else stored.tanh()
        drawn = self._drawn(live, state["noise"])
        noise = drawn[live.slots, live.step % _AHEAD] * (self.exploration / prior[0].numel() ** 0.5)
        both = torch.stack([prior + noise, prior - noise], dim=1)
        # Enlarged to the image, each has the length `fd_eta`.
        probes = _moved(x[:, None], both * (self.fd_eta / _length(both, x).clamp_min(1e-8)))
        answer = ask(probes.flatten(0, 1).clamp_(0, 1), 2, inside=False)
        above, below = answer.loss.view(-1, 2).unbind(1)
        slope = (above - below) / (self.fd_eta * self.exploration)
        grad = noise * slope[:, None, None, None].to(noise.dtype)
        ask.count_estimates(live.slots, grad)
        stored = stored + self.online_lr * grad
        direction = stored if euclidean else stored.tanh()
        size = self.step_in(live.ball)
        if euclidean:
            size = per_image(size.to(x)) if isinstance(size, Tensor) else size
            stride = direction * (_length(direction, x).clamp_min(1e-30).reciprocal() * size)
        else:  # a sign is the same for all pixels of a tile
            stride = live.ball.step(direction, size)
        moved = live.ball.project(_moved(x, stride), live.original)
        ask(moved, 1, inside=True, check=True)
        return {"x": moved, "prior": stored, "noise": drawn}

    def _drawn(self, live: Live, noise: Tensor) -> Tensor:
        """Normal numbers for the next steps of each slot, drawn anew when they are used up."""
        if due := live.due(_AHEAD):
            noise = noise.clone()
            noise[live.at(due)] = live.normal(*noise.shape[1:], path="bandits", slots=due)
        return noise


def _length(grid: Tensor, like: Tensor) -> Tensor:
    """Euclidean length of grids [..., c, t, t], each enlarged to the image; [..., 1, 1, 1]."""
    rows, columns = (
        constant(_pixels_of_each(size, tiles), grid.dtype, grid.device)
        for size, tiles in zip(like.shape[-2:], grid.shape[-2:], strict=True)
    )
    pixels = rows[:, None] * columns
    return (grid.square() * pixels).flatten(-3).sum(-1).sqrt()[..., None, None, None]


@lru_cache(maxsize=64)
def _pixels_of_each(size: int, tiles: int) -> tuple[int, ...]:
    """How many pixels of a side belong to each tile."""
    return tuple(
        _tile_of(size, tiles, torch.zeros(0, device="cpu", dtype=torch.float32)).bincount(minlength=tiles).tolist()
    )


def _tile_of(size: int, tiles: int, like: Tensor) -> Tensor:
    """Which tile each pixel of a side belongs to: the nearest, as in nearest upsampling."""
    return counting(size, like.device) * tiles // size


def enlarged(grid: Tensor, like: Tensor) -> Tensor:
    """Grids [..., c, t, t] as large as the images `like`, each number for the pixels of its tile."""
    rows, columns = (_tile_of(size, tiles, like) for size, tiles in zip(like.shape[-2:], grid.shape[-2:], strict=True))
    return grid[..., rows, :][..., columns]


def _moved(x: Tensor, grid: Tensor) -> Tensor:
    """Images [..., c, h, w] moved by grids [..., c, t, t], enlarged."""
    height, width = x.shape[-2:]
    down, across = grid.shape[-2:]
    if height % down or width % across:
        return x + enlarged(grid, x)
    tiles = x.unflatten(-1, (across, -1)).unflatten(-3, (down, -1))
    return (tiles + grid[..., :, None, :, None]).flatten(-4, -3).flatten(-2)
