import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundglass.attacks import L0, L1, PGD
from groundglass.core import generator
from tests.attacks.sparse_optima import best_in_l1
from tests.attacks.toy import Linear


def points(seed, spread, shape=(3, 3, 4, 4)):
    """Points around centres, of which some are at an end of [0, 1]."""
    random = torch.Generator().manual_seed(seed)
    centre = (1.4 * torch.rand(shape, generator=random) - 0.2).clamp(0, 1)
    return centre + spread * torch.randn(shape, generator=random), centre


# --- L1 ---


@settings(deadline=None, max_examples=60)
@given(eps=st.floats(1e-2, 20), seed=st.integers(0, 10**6), spread=st.sampled_from([0.01, 0.2, 1.0, 5.0]))
def test_no_point_of_the_l1_ball_is_nearer(eps, seed, spread):
    """From the nearest point p of a convex set nothing in it lies further towards x: (x - p) (y - p) <= 0 for the y that is
    farthest in that direction, and that is known. It bounds the squared distance of p to the nearest point."""
    x, centre = points(seed, spread)
    found = L1(eps).project(x, centre)
    for a, p, c in zip(x.double(), found.double(), centre.double(), strict=True):
        farthest = c + best_in_l1(a - p, c, eps)
        assert float(((a - p) * (farthest - p)).sum()) <= 2e-6 * max(1, float((a - p).abs().sum()))


def test_an_l1_projection_by_hand():
    centre = torch.tensor([0.9, 0.5, 0.5, 0.5]).view(1, 1, 2, 2)
    x = centre + torch.tensor([1.0, 0.45, -0.25, 0.05]).view(1, 1, 2, 2)
    # .1 is all that the first may; then .4 is left, and a threshold of .15 takes .3, .1 and 0.
    found = (L1(0.5).project(x, centre) - centre).flatten()
    assert found.tolist() == pytest.approx([0.1, 0.3, -0.1, 0.0], abs=1e-6)
    # Clamped to [0, 1] it may be inside already: shrinking it to the ball before that would be further away.
    found = (L1(0.86).project(x, centre) - centre).flatten()
    assert found.tolist() == pytest.approx([0.1, 0.45, -0.25, 0.05], abs=1e-6)


@pytest.mark.parametrize("entries", [48, 3072])
def test_a_projection_in_l1_depends_on_its_image_alone_and_uses_the_whole_radius(entries):
    random = torch.Generator().manual_seed(1)
    centre = torch.rand(5, 3, entries // 12, 4, generator=random)
    x = centre + 0.5 * torch.randn(centre.shape, generator=random)
    x[1] = centre[1]
    ball = L1.each([2.0, 2.0, 5.0, 0.0, 0.5])
    found = ball.project(x, centre)
    assert torch.equal(found[[1, 3]], centre[[1, 3]])
    assert ball.norm(found - centre)[[0, 2, 4]].tolist() == pytest.approx([2.0, 5.0, 0.5], rel=1e-4)
    for row, eps in enumerate(ball.eps):
        assert torch.equal(L1(eps).project(x[row : row + 1], centre[row : row + 1])[0], found[row])


def test_random_points_fill_the_l1_ball_uniformly_and_extremes_its_border():
    centre = torch.full((400, 3, 4, 4), 0.5)
    streams = [generator(0, i) for i in range(400)]
    delta = L1(0.4).random_start(centre, streams) - centre
    lengths = L1(0.4).norm(delta)
    # As in any ball of dimension 48; and an entry's mean size is eps / 49, its sign a coin's.
    assert float((lengths < 0.4 * 0.5 ** (1 / 48)).float().mean()) == pytest.approx(0.5, abs=0.1)
    assert float(delta.abs().mean()) == pytest.approx(0.4 / 49, rel=0.02)
    assert float((delta > 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    # The largest of 48 shares of a whole: the mean is H(48) / 48 of it.
    largest = (delta.flatten(1).abs().amax(1) / lengths).mean()
    assert float(largest) == pytest.approx(sum(1 / i for i in range(1, 49)) / 48, rel=0.05)
    assert L1(0.4).norm(L1(0.4).random_extreme(centre, streams) - centre).tolist() == pytest.approx(
        [0.4] * 400, rel=1e-4
    )


def test_a_step_in_l1_moves_the_largest_hundredth_and_has_the_length_asked_for():
    grad = torch.arange(1, 601).float().view(1, 3, 10, 20) * torch.tensor([1.0, -1.0]).repeat(300).view(1, 3, 10, 20)
    move = L1(1.0).step(grad, 0.3).flatten()
    assert move[:594].tolist() == [0] * 594
    assert move[594:].tolist() == pytest.approx([0.05, -0.05] * 3)
    assert not bool(L1(1.0).step(torch.zeros_like(grad), 0.3).any())
    # Equals are not told apart.
    assert torch.allclose(L1(1.0).step(torch.ones_like(grad), 0.6), torch.tensor(0.001))


def test_a_step_in_l1_leaves_out_what_cannot_move():
    weight = torch.tensor([5.0, 4.0, 3.0, 2.0]).view(1, 2, 2)
    image = torch.tensor([1.0, 0.9, 0.5, 0.5]).view(1, 1, 2, 2)
    result = PGD(steps=40, loss="margin")(Linear(-weight, 99.0), image, torch.tensor([1]), L1(0.4))
    assert (result.adversarial - image).flatten().tolist() == pytest.approx([0, 0.1, 0.3, 0], abs=0.03)


def test_contains_sees_what_is_outside_the_l1_ball():
    centre = torch.full((4, 3, 4, 4), 0.5)
    x = centre.clone()
    x[0] += 0.0099
    x[1] -= 0.0101
    x[2, 0, 0, 0] = 1.2
    assert L1(0.48).contains(x, centre).tolist() == [True, False, False, True]
    assert L1.each([0.48, 0.5, 1.0, 0.0]).contains(x, centre).tolist() == [True, True, False, True]


# --- L0 ---


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), eps=st.integers(0, 4), spread=st.sampled_from([0.05, 0.3, 2.0]))
def test_no_point_of_the_l0_ball_is_nearer(seed, eps, spread):
    x, centre = points(seed, spread, (2, 2, 2, 2))
    found = L0(eps).project(x, centre)
    nearest = []
    for chosen in combinations(range(4), eps):
        mask = torch.zeros(4, dtype=torch.bool)
        mask[list(chosen)] = True
        inside = torch.where(mask.view(2, 2), x.clamp(0, 1), centre)
        nearest.append((x - inside).square().flatten(1).sum(1))
    distance = (x - found).square().flatten(1).sum(1)
    assert torch.allclose(distance, torch.stack(nearest).amin(0), rtol=1e-5)
    assert bool((L0(eps).norm(found - centre) <= eps).all())


def test_what_would_go_far_out_of_range_is_worth_keeping():
    centre = torch.tensor([0.5, 0.5]).view(1, 1, 1, 2)
    x = torch.tensor([0.96, 1.5]).view(1, 1, 1, 2)
    # To 1 and .5: .25 + .2116; to .5 and .96: 1. In [0, 1] alone the two moved .5 and .46; at .9 and .05 it is the other way.
    assert L0(1).project(x, centre).flatten().tolist() == pytest.approx([0.5, 1.0])
    centre, x = torch.tensor([0.9, 0.5]).view(1, 1, 1, 2), torch.tensor([1.8, 0.8]).view(1, 1, 1, 2)
    # The first moves .1 in [0, 1], the second .3; but to send the first back is .17 worse, the second .09.
    assert L0(1).project(x, centre).flatten().tolist() == pytest.approx([1.0, 0.5])


def test_the_smallest_change_of_a_pixel_stays():
    centre = torch.zeros(1, 1, 4, 4)
    x = centre.clone()
    x[0, 0, 3, 3] = 1e-30
    assert torch.equal(L0(1).project(x, centre), x)
    assert torch.equal(L0(0).project(x, centre), centre)


def test_random_points_of_the_l0_ball_change_any_pixels_alike():
    centre = torch.full((600, 3, 4, 4), 0.5)
    streams = [generator(0, i) for i in range(600)]
    for draw in (L0(4).random_start, L0(4).random_extreme):
        delta = draw(centre, streams) - centre
        assert L0(4).norm(delta).tolist() == [4] * 600
        often = (delta != 0).any(1).float().mean(0)
        assert bool(((often - 0.25).abs() < 0.08).all())
    assert sorted(set(delta.flatten().tolist())) == [-0.5, 0, 0.5]
    alone = L0(4).random_start(centre[7:8], [generator(0, 7)])
    assert torch.equal(alone, L0(4).random_start(centre[:9], [generator(0, i) for i in range(9)])[7:8])


def test_contains_counts_pixels_not_channels():
    centre = torch.full((3, 3, 4, 4), 0.5)
    x = centre.clone()
    x[0, :, 0, 0] = 1.0
    x[1, 0, 0, :2] = 0.4
    x[2, 0, 0, 0] = 1.2
    assert L0(1).contains(x, centre).tolist() == [True, False, False]
    assert L0.each([0, 2, 1]).contains(x, centre).tolist() == [False, True, False]
    assert L0(1).norm(x - centre).tolist() == [1, 2, 1]


def test_each_image_may_have_pixels_of_its_own():
    x, centre = points(3, 0.3, (4, 3, 4, 4))
    ball = L0.each([0, 1, 5, 16])
    found = ball.project(x, centre)
    assert ball.norm(found - centre).tolist() == [0, 1, 5, 16]
    for row, eps in enumerate([0, 1, 5, 16]):
        assert torch.equal(L0(eps).project(x[row : row + 1], centre[row : row + 1])[0], found[row])
    assert ball.scaled(2.0) == ball
    assert L1.each([0.5, 1.0]).scaled(2.0) == L1.each([1.0, 2.0])


def test_radii_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="whole"):
        L0(2.5)
    with pytest.raises(ValueError, match="whole"):
        L0.each([1, 2.5])
    with pytest.raises(ValueError, match="0 or more"):
        L0(-1)
    with pytest.raises(ValueError, match="pixels of an image"):
        L0(17).check(torch.rand(2, 3, 4, 4))
    with pytest.raises(ValueError, match="sum over all"):
        L1(49).check(torch.rand(2, 3, 4, 4))
    with pytest.raises(ValueError, match="0 or more"):
        L1(math.nan)
    L0(16).check(torch.rand(2, 3, 4, 4))
    L1(48).check(torch.rand(2, 3, 4, 4))
