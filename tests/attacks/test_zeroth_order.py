"""ZOO: Carlini and Wagner's objective without a gradient, coordinate by coordinate."""

from dataclasses import replace

import pytest
import torch

from groundglass.attacks import L2, ZOO, CarliniWagnerL2, ScoreAccess
from tests.attacks.toy import Linear, Recorded, blobs, trained

SHAPE = (1, 4, 4)
WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
ATTACK = ZOO(coordinates=16, steps=150, initial_c=0.1)


def asked_in_a_step(attack, budget, images=None):
    images = torch.full((1, *SHAPE), 0.5) if images is None else images
    model = Recorded(Linear(WEIGHT, 1.0))
    found = attack(model, images, torch.ones(len(images), dtype=torch.int64), budget=budget, seed=1)
    return torch.cat(model.asked) - 0.5, found


def test_on_a_linear_model_the_distance_comes_to_the_known_one():
    distance = 0.15
    images = torch.full((2, *SHAPE), 0.5)
    model = Linear(WEIGHT, distance * float(WEIGHT.norm()))
    for attack in (ATTACK, replace(ATTACK, solver="newton", learning_rate=0.3)):
        found = attack(model, images, torch.ones(2, dtype=torch.int64), budget=8_000)
        assert bool(found.success.all())
        assert bool((found.norm >= distance * (1 - 1e-4)).all())
        assert float(found.norm.max()) < 1.05 * distance


def test_it_comes_as_near_as_carlini_and_wagner_with_gradients():
    images, labels = blobs(2, seed=5)
    wagner = CarliniWagnerL2(steps=40, searches=3, learning_rate=0.03, initial_c=0.1)(trained(), images, labels)
    attack = ZOO(coordinates=192, steps=40, initial_c=0.1)
    found = attack(ScoreAccess(trained(), per_image=1 + 3 * 40 * attack.cost()), images, labels)
    assert bool(found.success.all())
    assert float(found.norm.mean()) == pytest.approx(float(wagner.norm.mean()), rel=0.1)


def test_a_step_asks_about_the_iterate_and_both_sides_of_each_coordinate():
    attack = ZOO(coordinates=3, h=0.01)
    moves, _ = asked_in_a_step(attack, 15)
    first, second = moves[1:8], moves[8:15]
    assert torch.equal(first[0], torch.zeros(SHAPE))
    pairs = first[1:].flatten(1).view(3, 2, -1)
    assert torch.allclose(pairs.sum(1), torch.zeros(3, 16), atol=1e-6)
    places = pairs[:, 0].argmax(1)
    assert len(set(places.tolist())) == 3
    assert torch.allclose(pairs[:, 0].amax(1), torch.full((3,), 0.01), atol=1e-6)
    # Adam's first step is the learning rate along each, downwards: against the weights' sign.
    moved = second[0].flatten()
    assert torch.allclose(moved[places], -0.01 * WEIGHT.flatten()[places].sign(), atol=1e-5)
    assert int((moved != 0).sum()) == 3


def test_a_grid_that_is_smaller_moves_pixels_together_and_is_enlarged():
    attack = ZOO(coordinates=4, sides=(2, 4), enlarge_every=1, h=0.01)
    moves, _ = asked_in_a_step(attack, 1 + 2 * 9)
    one = moves[2].flatten()
    assert int((one.abs() > 1e-7).sum()) > 1, "one number of the grid is felt by several pixels"
    kept = moves[10]
    assert int((kept.abs() > 1e-7).sum()) > 8, "what the first grid found is kept on the second"
    assert int(((moves[11] - kept).abs() > 1e-6).sum()) == 1, "on the grid of the image one number is one pixel"


def test_importance_draws_where_something_has_changed():
    images, labels = blobs(4, seed=5)
    dark = images * 0.02  # nothing to gain but at one pixel

    class Spot(torch.nn.Module):
        def forward(self, x):
            lead = 0.5 - x[:, 0, 0, 0] - x[:, 0, 0, 1]
            return torch.stack([lead, -lead], dim=1)

    needed = []
    for importance in (False, True):
        attack = ZOO(coordinates=4, importance=importance, learning_rate=0.02, initial_c=10.0)
        found = attack(ScoreAccess(Spot(), per_image=6000), dark, torch.zeros_like(labels), L2(2.0), seed=3)
        assert bool(found.success.all())
        needed.append(float(found.queries.double().mean()))
    assert needed[1] < 0.7 * needed[0]
