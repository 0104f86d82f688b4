"""Bandits: a gradient that is learned from query to query, tile by tile."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from groundglass.attacks.balls import L2
from groundglass.attacks.search import Ask, Live, ScoreAttack, State


@dataclass(frozen=True, kw_only=True)
class Bandits(ScoreAttack):
    """Bandit optimisation with a time and a data prior (Ilyas, Engstrom and Madry 2019), in L-inf or L2.

    A prior p, on a coarse grid, stands for the gradient. A step asks two losses to move p towards the gradient, moves
    the image along p, and asks one check. The defaults are the paper's (section 3.2.1).

    Differences from the original:
        - In L-inf the exponentiated-gradient update is done on atanh(p), where it is an addition: the same numbers
          without its overflow, and a component that has come to +1 or -1 can leave again.
        - Losses are in float64: of a confident network float32's differences are zero.
        - Probes are clamped to [0, 1]: the model is asked about images.
        - An image that is fooled stops; the original's keeps moving. The check counts as a query, and a loss query costs
          one pass through the model, not two. Of an image that is not fooled the iterate of highest loss is kept.
        - The original's own settings: L-inf online_lr=100, exploration=1, tile_size=50 of 299 pixels; L2 online_lr=.1,
          exploration=.01, fd_eta=.01, step_size=.5.

    Attributes:
        exploration: delta, size of the noise on the prior.
        fd_eta: eta, length of a probe, pixel units.
        online_lr: learning rate of the prior.
        tile_size: side of the prior's grid, or the image's if that is smaller.
        step_size: pixel units; a sign step in L-inf, a step of this length in L2.
    """

    exploration: float = 0.1
    fd_eta: float = 0.1
    online_lr: float = 0.1
    tile_size: int = 16
    step_size: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("exploration", "fd_eta", "online_lr", "step_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` (={getattr(self, name):g}) must be above 0")
        if self.tile_size < 1:
            raise ValueError(f"`tile_size` (={self.tile_size}) must be at least 1")

    def cost(self) -> int:
        return 3

    def begin(self, live: Live) -> State:
        count, channels, height, width = live.original.shape
        grid = live.original.new_zeros(count, channels, min(height, self.tile_size), min(width, self.tile_size))
        return {"x": live.original, "prior": grid}

    def step(self, live: Live, state: State, ask: Ask) -> State:
        x, stored = state["x"], state["prior"]
        euclidean = isinstance(live.ball, L2)
        prior = stored if euclidean else stored.tanh()
        shape = prior.shape[1:]
        noise = live.draw(lambda g: torch.randn(shape, generator=g), "bandits") * (
            self.exploration / shape.numel() ** 0.5
        )
        probes = torch.stack([x + self._probe(prior + noise, x), x + self._probe(prior - noise, x)], dim=1)
        told = ask(probes.flatten(0, 1), live.slots.repeat_interleave(2), inside=False)
        above, below = told.loss.view(-1, 2).unbind(1)
        slope = (above - below) / (self.fd_eta * self.exploration)
        grad = noise * slope[:, None, None, None].to(noise.dtype)
        ask.count_estimates(live.slots, grad)
        stored = stored + self.online_lr * grad
        direction = _enlarged(stored if euclidean else stored.tanh(), x)
        moved = live.ball.project(x + live.ball.step(direction, self.step_size), live.original)
        ask(moved, live.slots, inside=True, check=True)
        return {"x": moved, "prior": stored}

    def _probe(self, grid: Tensor, like: Tensor) -> Tensor:
        """The move of length `fd_eta` along a grid."""
        large = _enlarged(grid, like)
        length = torch.linalg.vector_norm(large.flatten(1), dim=1).clamp_min(1e-8)
        return large * (self.fd_eta / length)[:, None, None, None]


def _enlarged(grid: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(grid, size=like.shape[2:], mode="nearest")
