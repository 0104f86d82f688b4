"""Evolution strategies: what they find of functions that are known, and the tiles that they move."""

import pytest
import torch

from groundglass.attacks import Linf, TiledES
from groundglass.attacks.evolution import STRATEGIES
from tests.attacks.query_problem import live_slots
from tests.attacks.toy import Linear, Recorded

NUMBERS = 8
SCALES = torch.logspace(0, 1.5, NUMBERS)
OPTIMUM = torch.linspace(-2, 2, NUMBERS)


def best_of(name, steps, scales, seeds=6):
    """The least of a quadratic function that each of some searches finds."""
    strategy = STRATEGIES[name]()
    zeros = torch.zeros(seeds, NUMBERS)
    state, found = strategy.begin(zeros), torch.full((seeds,), torch.inf).double()
    images = torch.zeros(seeds, 1, 2, 4)
    for step in range(steps):
        live = live_slots(images, torch.full((seeds,), step), Linf(0.1), left=torch.full((seeds,), 9))
        points = strategy.ask(live, state)
        values = (scales * (points - OPTIMUM)).double().square().sum(1)
        found = torch.minimum(found, values)
        state = strategy.tell(live, state, points, -values)
    return float(found.median())


@pytest.mark.parametrize(("name", "least"), [("(1+1)", 1e-4), ("de", 1e-1), ("cma", 1e-6)])
def test_a_sphere_is_minimised(name, least):
    assert best_of(name, 800, torch.ones(NUMBERS)) < least


def test_a_diagonal_covariance_learns_how_long_each_axis_is():
    assert best_of("cma", 1500, SCALES) < 1e-2 * best_of("(1+1)", 1500, SCALES)


@pytest.mark.parametrize("discrete", [False, True])
def test_tiles_move_together_within_the_ball(discrete):
    model = Recorded(Linear(torch.ones(3, 6, 6), 1e3))
    attack = TiledES(tiles=2, discrete=discrete)
    attack(model, torch.full((1, 3, 6, 6), 0.5), torch.tensor([1]), Linf((0.1, 0.05, 0.02)), budget=20)
    moves = torch.cat(model.asked)[1:] - 0.5
    tiles = moves.view(-1, 3, 2, 3, 2, 3).permute(0, 1, 2, 4, 3, 5).flatten(4)
    assert torch.equal(tiles.amax(-1), tiles.amin(-1))
    share = tiles[..., 0].flatten(2) / torch.tensor([0.1, 0.05, 0.02])[None, :, None]
    assert float(share.abs().max()) <= 1 + 1e-5
    assert bool((share.abs() > 1 - 1e-4).all()) == discrete
    assert len(share.flatten(1).unique(dim=0)) > 10


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_on_a_linear_model_it_comes_to_the_corner_of_its_tiles(strategy):
    weight = (
        torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(1)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    )
    images, labels, ball = torch.full((4, 1, 8, 8), 0.5), torch.ones(4, dtype=torch.int64), Linf(0.1)
    reach = 0.1 * float(weight.abs().sum())
    easy = TiledES(strategy=strategy, tiles=2)(Linear(weight, 0.9 * reach), images, labels, ball, budget=400)
    assert bool(easy.success.all())
    never = TiledES(strategy=strategy, tiles=2)(Linear(weight, 1.01 * reach), images, labels, ball, budget=400)
    assert not never.success.any()
    assert bool((never.loss > -0.2 * reach).all())
