"""NES: a gradient estimated from losses at random points around the image."""

from dataclasses import dataclass
from typing import Annotated

import torch

from groundglass.attacks.balls import L2, Linf
from groundglass.attacks.questions import Ask, Live, State
from groundglass.attacks.search import ScoreAttack
from groundglass.core.settings import In, Positive


@dataclass(frozen=True, kw_only=True)
class NES(ScoreAttack):
    """Steps along a gradient estimated from antithetic pairs of queries (Ilyas et al. 2018), in L-inf or L2.

    The defaults are the paper's (section 3.2.1); it sweeps `sigma` over .05, .1, .5 and 1 and keeps the best for each
    network. A step asks `samples` loss queries at the image plus and minus noise, and one check of where it arrives.

    Differences from the original:
        - The noise is scaled by the dimension d of the image, u / sqrt(d), as in the bandits authors' NES: `sigma` is the
          Euclidean length of a probe, in pixel units. The paper's code scales by its 16 x 16 prior's dimension, which
          makes the noise twice as large a pixel.
        - Probes are clamped to [0, 1]: the model is asked about images.
        - `samples` are queries, as in NES's paper. In the bandits authors' code and the paper's, 50 are 50 pairs.
        - Losses are in float64: of a confident network float32's differences are zero.
        - Where every pair has equal losses the estimate is zero, the image stays, and the step is lost: a probe that is
          too short for a loss of steps. `AttackResult.zero_gradients` counts them.
        - The check counts as a query. Of an image that is not fooled the iterate of highest loss is kept.

    Attributes:
        samples: loss queries for one estimate, in pairs.
        sigma: length of a probe, pixel units.
        step_size: pixel units; a sign step in L-inf, a step of this length in L2 (the bandits authors' L2 setting: .3); None: a
            fifth of the radius. The paper's is .01.
    """

    samples: Annotated[int, In("[2, inf)", "they are asked in pairs")] = 50
    sigma: Positive = 0.1
    step_size: Positive | None = None
    kinds = (Linf, L2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples % 2:
            raise ValueError(f"`samples` (={self.samples}) must be even: they are asked in pairs")

    def cost(self) -> int:
        return self.samples + 1

    def begin(self, live: Live) -> State:
        return {"x": live.original}

    def step(self, live: Live, state: State, ask: Ask) -> State:
        x, shape, pairs = state["x"], live.original.shape[1:], self.samples // 2
        noise, probes = live.buffer("noise", len(live), pairs, *shape), live.buffer("x", len(live), 2, pairs, *shape)
        live.normal(pairs, *shape, path="nes", out=noise)
        noise *= self.sigma / shape.numel() ** 0.5
        torch.add(x[:, None], noise, out=probes[:, 0])
        torch.sub(x[:, None], noise, out=probes[:, 1])
        answer = ask(probes.flatten(0, 2).clamp_(0, 1), self.samples, inside=False)
        above, below = answer.loss.view(-1, 2, pairs).unbind(1)
        slope = (above - below)[:, :, None, None, None]
        # Scale does not matter to a normalised step. Added one by one, so that a slot's sum has one order in any batch.
        grad = torch.zeros_like(x, dtype=slope.dtype)
        for pair in range(pairs):
            grad += noise[:, pair] * slope[:, pair]
        ask.count_estimates(live.slots, grad)
        moved = live.ball.project(x + live.ball.step(grad, self.step_in(live.ball)).to(x.dtype), live.original)
        ask(moved, 1, inside=True, check=True)
        return {"x": moved}
