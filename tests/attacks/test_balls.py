import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundglass.attacks import L0, L1, L2, PGD, Linf
from groundglass.attacks.balls import Each
from groundglass.core import generator

LENGTHS = st.one_of(
    st.floats(0, 1).map(Linf),
    st.tuples(*[st.floats(0, 1)] * 3).map(Linf),
    st.just(L2(0.0)),
    st.floats(1e-3, 6).map(L2),
    st.just(L1(0.0)),
    st.floats(1e-3, 20).map(L1),
)
BALLS = st.one_of(LENGTHS, st.integers(0, 16).map(L0))


def images(seed: int, spread: float, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around centres, near and far, in [0, 1] and out of it; some centres black or white."""
    random = torch.Generator().manual_seed(seed)
    centre = (1.4 * torch.rand(count, 3, 4, 4, generator=random) - 0.2).clamp(0, 1)
    return centre + spread * torch.randn(centre.shape, generator=random), centre


@settings(deadline=None, max_examples=60)
@given(ball=BALLS, seed=st.integers(0, 10**6), spread=st.sampled_from([1e-4, 0.01, 0.1, 2.0]))
def test_projection_lands_in_the_ball_and_in_range_and_stays(ball, seed, spread):
    x, centre = images(seed, spread)
    once = ball.project(x, centre)
    assert bool(ball.contains(once, centre, tolerance=2e-6 * max(1, ball.radius)).all())
    assert float(once.min()) >= 0
    assert float(once.max()) <= 1
    assert torch.equal(ball.project(once, centre), once)


@settings(deadline=None, max_examples=40)
@given(ball=LENGTHS, seed=st.integers(0, 10**6))
def test_projection_leaves_inner_points_alone(ball, seed):
    _, centre = images(seed, 0.0)
    near = (centre + 0.5 * ball.step(torch.randn_like(centre), ball.radius)).clamp(0, 1)
    assert torch.equal(ball.project(near, centre), near)
    assert torch.equal(ball.project(centre, centre), centre)


@settings(deadline=None, max_examples=30)
@given(ball=BALLS, seed=st.integers(0, 10**6))
def test_random_points_are_in_the_ball_and_depend_on_their_generator_alone(ball, seed):
    _, centre = images(seed, 0.0)
    for draw in (ball.random_start, ball.random_extreme):
        streams = [generator(seed, i) for i in range(4)]
        points = draw(centre, streams)
        assert bool(ball.contains(points, centre, tolerance=2e-6 * max(1, ball.radius)).all())
        alone = draw(centre[2:3], [generator(seed, 2)])
        assert torch.equal(alone, points[2:3])


def test_random_points_fill_the_ball_and_extremes_its_border():
    centre = torch.full((300, 3, 4, 4), 0.5)
    streams = [generator(0, i) for i in range(300)]
    box = Linf((0.1, 0.2, 0.3))
    delta = (box.random_start(centre, streams) - centre).abs().amax((0, 2, 3))
    assert delta.tolist() == pytest.approx([0.1, 0.2, 0.3], rel=0.01)
    corner = (box.random_extreme(centre, streams) - centre).abs()
    assert torch.allclose(corner, torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1).expand_as(corner))
    sphere = L2(0.3)
    lengths = sphere.norm(sphere.random_start(centre, streams) - centre)
    # Uniform in a ball of dimension 48: the share within half the median's volume is a half.
    assert float((lengths < 0.3 * 0.5 ** (1 / 48)).float().mean()) == pytest.approx(0.5, abs=0.1)
    assert sphere.norm(sphere.random_extreme(centre, streams) - centre).tolist() == pytest.approx([0.3] * 300, rel=1e-4)


def test_projection_is_the_nearest_point_where_the_range_does_not_bind():
    centre = torch.full((1, 1, 1, 2), 0.5)
    x = centre + torch.tensor([0.3, 0.4])
    assert (L2(0.25).project(x, centre) - centre).flatten().tolist() == pytest.approx([0.15, 0.2])
    assert (Linf(0.35).project(x, centre) - centre).flatten().tolist() == pytest.approx([0.3, 0.35])


def test_steps_have_the_size_asked_for_and_none_where_there_is_no_gradient():
    grad = torch.randn(4, 3, 4, 4)
    grad[1] = 0
    grad[2] *= 1e-30
    moves = L2(1.0).step(grad, 0.2)
    assert L2(1.0).norm(moves).tolist() == pytest.approx([0.2, 0, 0.2, 0.2], rel=1e-5)
    moves = Linf(0.1).step(grad, 0.02)
    assert moves.abs().amax((1, 2, 3)).tolist() == pytest.approx([0.02, 0, 0.02, 0.02])
    assert bool((moves * grad >= 0).all())


def test_a_box_that_differs_by_channel_takes_steps_of_its_shape():
    box = Linf((0.1, 0.2, 0.4))
    moves = box.step(torch.ones(1, 3, 2, 2), 0.04)
    assert moves[0, :, 0, 0].tolist() == pytest.approx([0.01, 0.02, 0.04])
    assert box.radius == 0.4
    with pytest.raises(ValueError, match="has 3 values"):
        box.check(torch.rand(2, 1, 4, 4))


def test_contains_sees_what_is_outside():
    centre = torch.full((3, 3, 4, 4), 0.5)
    x = centre.clone()
    x[0, 0, 0, 0] += 0.11
    x[1] += 0.09
    x[2, 0, 0, 0] = 1.2
    assert Linf(0.1).contains(x, centre).tolist() == [False, True, False]
    assert L2(0.5).contains(x, centre).tolist() == [True, False, False]
    assert Linf(1.0).contains(x, centre).tolist() == [True, True, False]


def test_a_radius_in_the_wrong_units_is_refused():
    images = torch.rand(2, 3, 4, 4)
    for eps in (8, (8 / 255, 8, 8 / 255)):
        with pytest.raises(ValueError, match="8/255, not 8"):
            Linf(eps).check(images)
    with pytest.raises(ValueError, match="8/255, not 8"):
        Linf.each([0.1, 8]).check(images)
    for width in (0.3, 49.0, 255.0):
        Linf(width).scaled(1 / width).check(images)  # images in [0, width], all of them
    with pytest.raises(ValueError, match="must be in"):
        Linf(-0.1)
    with pytest.raises(ValueError, match="0 or more"):
        L2(math.nan)
    with pytest.raises(ValueError, match="128/255, not 128"):
        L2(128).check(torch.rand(2, 3, 32, 32))
    L2(55.4).check(torch.rand(2, 3, 32, 32))


def test_radii_for_each_image_may_be_fractions():
    assert Linf.each(["8/255", 0.5]) == Linf.each([8 / 255, 0.5])
    assert Linf(("1/255", "2/255")) == Linf((1 / 255, 2 / 255))
    with pytest.raises(ValueError, match="eight"):
        Linf.each(["eight/255"])


@pytest.mark.parametrize(
    ("ball", "said"),
    [
        (Linf(300), r"=300\) must be in \[0, 255\]"),
        (L2(3000), r"=3000\) must be in \[0, 1766"),
        (L1(20_000), r"=20000\) must be in \[0, 12240\]"),
        (Linf.each([1, 300]), r"=300\) must be in \[0, 255\]"),
    ],
    ids=repr,
)
def test_a_radius_that_is_too_large_is_told_in_the_units_of_the_images(ball, said):
    images, labels = torch.rand(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64)

    def model(x):
        return x.flatten(1)[:, :3]

    def call(ball):
        return PGD(steps=2)(model, 255 * images, labels, ball, bounds=(0, 255))

    with pytest.raises(ValueError, match=said):
        call(ball)
    if not isinstance(ball, Each):
        with pytest.raises(ValueError, match=said):
            call([type(ball)(1), ball])
    call(Linf(255))
    call(L2(255 * 48**0.5))
