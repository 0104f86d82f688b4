"""Evolution strategies over tiles: black-box optimisation of a few numbers in place of an image."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from groundglass.attacks.balls import Linf
from groundglass.attacks.bandits import enlarged
from groundglass.attacks.evolution import STRATEGIES
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.search import ScoreAttack
from groundglass.core.settings import Count

_MANY = 2**62


@dataclass(frozen=True, kw_only=True)
class TiledES(ScoreAttack):
    """An evolution strategy over tiles (Meunier, Atif and Teytaud 2019, "Yet another but more efficient black-box adversarial
    attack: tiling and evolution strategies"), in L-inf.

    Every tile of every channel has a number z, and all of its pixels are moved by eps tanh(z); or, `discrete`, by eps or -eps
    with odds exp(z), drawn anew for each query. An evolution strategy looks for the z of highest loss. A step asks one query, a
    loss query and a check in one. The strategies are this project's own, made as nevergrad's, for many images at once: objects
    of a library for each image could not be saved without pickles, nor go on bit for bit.

    Differences from the original: the (1+1)-ES and CMA do not ask about the image itself first; a tile of the discrete
    search has one number, the difference of the original's two.

    Attributes:
        strategy: "(1+1)", "de" or "cma", whose covariance is diagonal.
        tiles: on each side of the image.
        discrete: corners of the box alone.
    """

    strategy: Literal["(1+1)", "de", "cma"] = "(1+1)"
    tiles: Count = 8
    discrete: bool = False
    kinds = (Linf,)

    def cost(self) -> int:
        return 1

    def begin(self, live: Live) -> State:
        return STRATEGIES[self.strategy]().begin(self._grid(live).flatten(1))

    def step(self, live: Live, state: State, ask: Ask) -> State:
        strategy = STRATEGIES[self.strategy]()
        points = strategy.ask(live, state)
        grid = points.view(len(live), *self._grid(live).shape[1:])
        most = live.ball.step(torch.ones_like(live.original), live.ball.radii)
        x = live.original + self._signs(live, grid) * most
        answer = ask(live.ball.project(x, live.original), 1, inside=True)
        return strategy.tell(live, state, points, answer.loss)

    def _signs(self, live: Live, grid: Tensor) -> Tensor:
        """How far each pixel moves, in radii."""
        # In float64: what float32 rounds may depend on an image's place in the batch.
        if not self.discrete:
            return enlarged(grid.double().tanh().float(), live.original)
        drawn = live.integers(_MANY, *grid.shape[1:], path=("tiled-es",)).double() / _MANY
        return enlarged(torch.where(drawn < grid.double().sigmoid(), 1.0, -1.0).float(), live.original)

    def _grid(self, live: Live) -> Tensor:
        """Zeros, one a tile."""
        count, channels, height, width = live.original.shape
        return live.original.new_zeros(count, channels, min(self.tiles, height), min(self.tiles, width))
