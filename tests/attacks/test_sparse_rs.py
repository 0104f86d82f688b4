from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from groundglass.attacks import L0, SparseRS
from groundglass.core import whole
from tests.attacks.query_problem import live_slots
from tests.attacks.sparse_optima import best_in_l0
from tests.attacks.test_square import Kept
from tests.attacks.toy import Linear, blobs, queried, trained

RANDOM = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(3, 3, 3, generator=RANDOM)
IMAGES = torch.cat([torch.full((2, 3, 3, 3), 0.5), torch.rand(2, 3, 3, 3, generator=RANDOM)])


def test_it_finds_the_best_pixels_of_a_linear_model():
    result = queried(Linear(-WEIGHT, 99.0), IMAGES, torch.ones(4, dtype=torch.int64), SparseRS(), L0(2), 900)
    for found, image in zip(result.adversarial, IMAGES, strict=True):
        assert torch.allclose(found - image, best_in_l0(WEIGHT, image, 2), atol=1e-6)


def test_more_queries_fool_more():
    images, labels = blobs(60, seed=5)
    fooled = [queried(trained(), images, labels, SparseRS(), L0(6), budget).success_rate for budget in (5, 40, 200)]
    assert fooled == sorted(fooled)
    assert fooled[2] > fooled[0] + 0.2


def asked(ball, images, *, budget, climbing=True, **settings):
    """What is asked about each image after the image itself, [questions, n, c, h, w]."""
    model = Kept(climbing)
    queried(model, images, torch.zeros(len(images), dtype=torch.int64), SparseRS(**settings), ball, budget)
    return torch.stack(model.asked[1:])


GREY = torch.full((6, 3, 10, 12), 0.5)


def changed(path, images=GREY):
    return (path != images).any(-3)


def test_all_pixels_that_the_ball_allows_are_at_corners_all_the_time():
    path = asked(L0(8), GREY, budget=60)
    assert changed(path).flatten(2).sum(2).unique().tolist() == [8]
    corners = path.movedim(2, -1)[changed(path)]
    assert corners.unique().tolist() == [0, 1]
    assert len(corners.unique(dim=0)) == 8
    assert len({tuple(one.flatten().tolist()) for one in changed(path)[0]}) == len(GREY)


def test_as_many_pixels_leave_as_come_and_fewer_as_the_budget_is_spent():
    path = changed(asked(L0(40), GREY, budget=121))
    moves = [(after & ~before).flatten(1).sum(1) for before, after in pairwise(path)]
    # .3 of 40, over 4 after the first of 120 (83 ten-thousandths), over 20 at the end.
    assert [set(one.tolist()) for one in moves[:1]] == [{3}]
    assert set(moves[-1].tolist()) == {1}
    for (before, after), coming in zip(pairwise(path), moves, strict=True):
        assert torch.equal((before & ~after).flatten(1).sum(1), coming)
        assert len(set(coming.tolist())) == 1


def test_the_schedule_is_the_originals_stretched_over_the_budget():
    done = [0, 1, 50, 51, 200, 201, 500, 501, 1000, 1001, 2000, 2001, 4000, 4001, 6000, 6001, 8000, 8001, 9999]
    allowed = torch.full((len(done),), 400)
    found = SparseRS()._moving(whole(done), allowed, 10_000).tolist()
    assert found == [120, 60, 60, 30, 30, 24, 24, 20, 20, 15, 15, 12, 12, 10, 10, 8, 8, 6, 6]
    assert SparseRS()._moving(whole([1000]), whole([20]), 100).tolist() == [1], ".3 / 6 * 20 is 1"
    assert SparseRS()._moving(whole([0] * 4), whole([0, 1, 99, 100]), 100).tolist() == [0, 1, 1, 30]


def test_what_does_not_climb_is_dropped():
    path = asked(L0(8), GREY, budget=60, climbing=False)
    # Each question is made of the start, the only one that was kept.
    assert (changed(path[-20:]) & ~changed(path[:1])).flatten(2).sum(2).unique().tolist() == [1]


def test_any_pixel_comes_at_any_corner_but_its_own_colour():
    """One pixel of four may differ from a black image: it is never black, and all else is as likely."""
    black = torch.zeros(40, 3, 2, 2)
    path = asked(L0(1), black, budget=60)[1:]
    where, colours = changed(path, black).flatten(2), path.amax((3, 4))
    kinds = (colours * torch.tensor([1, 2, 4])).sum(2).long()
    counts = torch.bincount(kinds.flatten(), minlength=8)
    assert int(counts[0]) == 0
    expected = kinds.numel() / 7
    assert bool(((counts[1:] - expected).abs() < 5 * expected**0.5).all()), counts
    places = where.sum((0, 1))
    assert bool(((places - places.sum() / 4).abs() < 5 * (places.sum() / 4) ** 0.5).all()), places
    # The pixel that left does not come back at once.
    assert not bool((where[1:] & where[:-1]).any())


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 3), (70, 2, 2)])
@pytest.mark.parametrize("ball", [L0(0), L0(1), L0.each([1, 0]), "all", "all but one"], ids=repr)
def test_images_of_any_shape_and_any_number_of_pixels(shape, ball):
    images, pixels = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)), shape[1] * shape[2]
    ball = {"all": L0(pixels), "all but one": L0(pixels - 1)}.get(ball, ball)
    path = asked(ball, images, budget=30)
    assert all(bool(ball.contains(x, images).all()) for x in path)
    if ball.radius == pixels > 1:
        recoloured = [(after != before).any(1).flatten(1).sum(1) for before, after in pairwise(path)]
        assert all(bool((one >= 1).all()) for one in recoloured)


@pytest.mark.parametrize("ball", [L0(3), L0.each([3, 9, 100])], ids=repr)
def test_a_step_leaves_the_state_until_it_was_answered(ball):
    """It may be interrupted there, and is then made again from the same state."""
    images = torch.full((3, 3, 10, 10), 0.5)
    step = torch.tensor([0, 3, 900])
    slots = live_slots(images, step, ball, left=torch.full_like(step, 1000))
    attack = SparseRS()
    state = attack.begin(slots)
    before = {name: value.clone() for name, value in state.items()}

    class Told:
        loss = torch.ones(3)

    def ask(*_, **__):
        assert all(torch.equal(state[name], value) for name, value in before.items())
        return Told()

    after = attack.step(slots, state, ask)
    assert not torch.equal(after["loss"], before["loss"])
    assert after["order"].sort(dim=1).values.tolist() == [list(range(100))] * 3
    dropped = attack.step(slots, replace_loss(state), lambda *_, **__: Told())
    assert torch.equal(dropped["order"], before["order"])


def replace_loss(state):
    return {**state, "loss": torch.full_like(state["loss"], 2.0)}


def test_settings_that_cannot_be_are_refused():
    for alpha in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="alpha_init"):
            SparseRS(alpha_init=alpha)
    assert replace(SparseRS(), ties=False).cost() == 1
