from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from groundglass.attacks import L2, NES, Linf, ScoreAccess, Square
from groundglass.attacks.square import _patterns
from tests.attacks.query_problem import Forbidden, live_slots
from tests.attacks.toy import Linear, queried
from tests.attacks.toy import problem as make_problem

WEIGHT = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(4))
BALLS = [Linf(0.09), Linf((0.12, 0.06, 0.09)), L2(0.8)]


@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_the_number_of_an_image_names_its_windows(ball):
    model, images, labels = make_problem(2, side=8)
    twins = queried(model, images[1:2].expand(2, -1, -1, -1), labels[1:2].expand(2), Square(), ball, 15)
    assert not torch.equal(twins.adversarial[0], twins.adversarial[1])


@pytest.mark.parametrize(("side", "eps"), [(-1, 0.1), (1, (0.1, 0.05, 0.02))])
def test_linf_comes_to_the_optimum_of_a_linear_model(side, eps):
    """Every pixel at the right side of its box: also in the last row and column, and of either class."""
    widths = torch.tensor(eps).view(-1, 1, 1)
    gain = float((widths * WEIGHT.abs()).sum())
    images = torch.full((2, *WEIGHT.shape), 0.5)
    labels = torch.full((2,), int(side > 0))
    # Out of reach, so that the attack spends all it has.
    result = queried(Linear(WEIGHT, side * gain * 1.001), images, labels, Square(), Linf(eps), 250)
    assert not bool(result.success.any())
    assert torch.allclose(result.adversarial - images, (-side * widths * WEIGHT.sign()).expand_as(images), atol=1e-6)
    assert result.loss.tolist() == pytest.approx([-0.001 * gain] * 2, rel=0.01)
    assert bool(queried(Linear(WEIGHT, side * gain * 0.98), images, labels, Square(), Linf(eps), 250).success.all())


def test_l2_climbs_on_a_linear_model_as_the_original_does():
    """Weights that are smooth, as bumps are. The original comes to .3 of what is possible; a random direction, to .1."""
    weight = torch.randn(3, 1, 1, generator=torch.Generator().manual_seed(1)).expand(3, 5, 5)
    best = float(weight.norm())
    images, labels = torch.full((4, 3, 5, 5), 0.5), torch.ones(4, dtype=torch.int64)
    result = queried(Linear(weight, best), images, labels, Square(), L2(1.0), 100)
    # The loss is -(w x + b).
    gained = 1 + result.loss / best
    assert float(gained.min()) > 0.3
    assert float(gained.max()) < 1
    assert result.norm.tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert bool(queried(Linear(weight, 0.28 * best), images, labels, Square(), L2(1.0), 100).success.all())
    assert not bool(queried(Linear(weight, 1.01 * best), images, labels, Square(), L2(1.0), 100).success.any())


class Kept(nn.Module):
    """A model that nothing fools, and that remembers what it was asked: each question is worse than the one before."""

    def __init__(self, climbing=True):
        super().__init__()
        self.asked, self.climbing = [], climbing

    def forward(self, x):
        self.asked.append(x.clone())
        height = 1 + len(self.asked) * (-1e-3 if self.climbing else 1e-3)
        return torch.tensor([[height, -1.0]]).repeat(len(x), 1)


def asked(ball, images, *, budget, climbing=True, **settings):
    """What is asked about each image after the image itself, [questions, n, c, h, w]."""
    model = Kept(climbing)
    labels = torch.zeros(len(images), dtype=torch.int64)
    queried(model, images, labels, Square(**settings), ball, budget)
    return torch.stack(model.asked[1:])


GREY = torch.full((6, 3, 10, 12), 0.5)


def test_linf_starts_from_vertical_stripes():
    start = asked(Linf(0.1), GREY, budget=2)[0] - GREY
    assert torch.allclose(start.abs(), torch.tensor(0.1))
    assert torch.equal(start, start[:, :, :1].expand_as(start))
    columns = start[:, :, 0] > 0
    assert 0.35 < columns.float().mean() < 0.65
    assert len({tuple(row.flatten().tolist()) for row in columns}) == len(GREY)
    assert not torch.equal(columns[:, 0], columns[:, 1])


def test_linf_changes_one_square_at_a_time_and_always_something():
    # Images at the border of the range too: there, half of the signs change nothing.
    images = torch.cat([GREY, torch.zeros_like(GREY), torch.ones_like(GREY)])
    path = asked(Linf(0.1), images, budget=100)
    seen = set()
    for before, after in pairwise(path):
        changed = (before != after).any(1)
        assert bool(changed.flatten(1).any(1).all())
        for one in changed:
            rows, columns = one.any(1).nonzero(), one.any(0).nonzero()
            seen.add(int(max(rows.max() - rows.min(), columns.max() - columns.min())) + 1)
    early, late = path[:2], path[-20:]
    assert max(seen) == 10
    assert int((early[1:] != early[:-1]).any(2).flatten(2).sum(2).max()) > 40
    assert int((late[1:] != late[:-1]).any(2).flatten(2).sum(2).max()) == 1
    touched = (path[1:] != path[:-1]).any(2).flatten(0, 1).any(0)
    assert bool(touched.all()), "the last row and column too"


def test_linf_turns_over_any_subset_of_the_channels_alike():
    """One pixel: every question differs from the one before in 1, 2 or 3 channels, and each subset is as likely."""
    pixel = torch.full((40, 3, 1, 1), 0.5)
    path = asked(Linf(0.1), pixel, budget=50) > 0.5
    subsets = ((path[1:] != path[:-1]).flatten(2).long() * torch.tensor([1, 2, 4])).sum(2)
    counts = torch.bincount(subsets.flatten(), minlength=8)
    assert int(counts[0]) == 0
    expected = subsets.numel() / 7
    assert bool(((counts[1:] - expected).abs() < 5 * expected**0.5).all()), counts


def test_what_does_not_climb_is_dropped():
    path = asked(Linf(0.1), GREY, budget=60, climbing=False)
    # Each question is made of the start, the only one that was kept.
    late = (path[-20:] != path[:1]).any(2).flatten(2).sum(2)
    assert bool((late == 1).all())


class Corners(nn.Module):
    """Fooled when four pixels are all up; one more of them up changes nothing: a plateau, and then a step."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def forward(self, x):
        up = x[:, 0, 0] > 0.5
        self.asked.append(up.sum(1))
        height = 1 - 2 * up.all(1).float()
        return torch.stack([height, torch.zeros_like(height)], dim=1)


def test_a_search_that_keeps_equals_crosses_a_plateau_and_one_that_waits_for_a_gain_stands_still():
    """Windows of one pixel. Without equals an image falls exactly if its first stripes lack at most one of the four."""
    images, labels = torch.full((24, 1, 4, 4), 0.5), torch.zeros(24, dtype=torch.int64)
    model = Corners()
    waits = queried(model, images, labels, Square(p_init=0.01, ties=False), Linf(0.1), 250)
    assert waits.success.tolist() == (model.asked[1] >= 3).tolist()
    assert not bool(waits.success.all())
    crosses = queried(Corners(), images, labels, Square(p_init=0.01), Linf(0.1), 250)
    assert bool(crosses.success[waits.success].all())
    assert int(crosses.success.sum()) >= 20


@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_where_no_two_losses_are_equal_keeping_equals_changes_nothing(ball):
    given = make_problem(6, side=8)
    found = [queried(*given, Square(ties=ties), ball, 60) for ties in (False, True)]
    assert all(torch.equal(getattr(found[0], name), getattr(found[1], name)) for name in ("adversarial", "queries"))


def test_l2_uses_all_of_the_radius_all_the_time():
    path = asked(L2(0.5), GREY, budget=80)
    norms = torch.linalg.vector_norm((path - GREY).flatten(2), dim=2)
    assert torch.allclose(norms, torch.tensor(0.5), atol=1e-5)
    # A bump onto the same bump changes nothing; that is rare.
    changed = (path[1:] != path[:-1]).flatten(2).any(2)
    assert float(changed.float().mean()) > 0.95


def test_l2_moves_length_between_two_windows_and_leaves_the_rest():
    path = (asked(L2(0.5), GREY, budget=80) - GREY)[-30:]
    for before, after in pairwise(path):
        changed = ((before - after).abs() > 1e-6).any(1)
        # At the end windows are 3 x 3; rounding apart, what is outside both stays, as the length inside does.
        assert int(changed.flatten(1).sum(1).max()) <= 2 * 9
        energies = [(x.square() * changed[:, None]).flatten(1).sum(1) for x in (before, after)]
        assert torch.allclose(*energies, atol=1e-5)


def test_l2_starts_from_bumps_of_alternating_halves():
    start = asked(L2(0.5), torch.full((3, 3, 17, 20), 0.5), budget=2)[0] - 0.5
    # 17 = 5 x 3 + 2: five bumps of 3 down, six across, in the middle.
    assert bool((start[:, :, [0, -1]] == 0).all())
    assert bool((start[..., [0, -1]] == 0).all())
    tiles = start[:, :, 1:-1, 1:-1].unfold(2, 3, 3).unfold(3, 3, 3)
    norms = torch.linalg.vector_norm(tiles, dim=(4, 5))
    assert torch.allclose(norms, norms[0, 0, 0, 0], atol=1e-6)
    unit = tiles / norms[..., None, None]
    pattern = _patterns((3,))[0]
    alike = [((unit - p).abs() < 1e-4).flatten(4).all(4) for p in (pattern, -pattern, pattern.T, -pattern.T)]
    assert bool(torch.stack(alike).sum(0).eq(1).all())
    assert all(bool(kind.any()) for kind in alike)


def test_the_bump_of_side_three_by_hand():
    # One row of the first half: weights 1/4, 1 + 1/4, 1/4. Two of the second: 1/4 but in the middle of the lower.
    above, below = torch.tensor([[1, 5, 1]]) / 27**0.5, torch.tensor([[1, 1, 1], [1, 5, 1]]) / 30**0.5
    expected = torch.cat([above, -below]) / 2**0.5
    assert torch.allclose(_patterns((3,))[0], expected, atol=1e-6)
    assert torch.allclose(_patterns((3, 9))[0, :3, :3], expected, atol=1e-6)
    assert _patterns((1, 2, 5, 29)).square().sum((1, 2)).tolist() == pytest.approx([1] * 4)


def test_the_schedule_is_the_originals_stretched_over_the_budget():
    attack = Square(p_init=0.8)
    assert attack._sides(32, 32, odd=False) == (29, 20, 14, 10, 7, 5, 4, 3, 2, 1)
    assert attack._sides(32, 32, odd=True) == (29, 21, 15, 11, 7, 5, 5, 3, 3, 3)
    sides = {1: 29, 6: 29, 7: 20, 26: 20, 27: 14, 101: 14, 102: 10, 251: 10, 252: 7, 4001: 2, 4002: 1}
    live = live_at(torch.tensor(list(sides)))
    state = attack.begin(live)
    # Off both sides of the box, so that a window changes every pixel in it.
    state = {**state, "x": live.original.clone(), "allowed": torch.full((len(sides),), 5000)}
    dice = attack._dice(replace(live, step=torch.zeros_like(live.step), made=[0] * len(live)), state)[:, 0]
    changed = attack._changed(live, state, dice) != state["x"]
    widths = changed.any(1).any(1).sum(1)
    assert widths.tolist() == list(sides.values())


def live_at(step):
    count = len(step)
    images = torch.full((count, 3, 32, 32), 0.5)
    return live_slots(images, step, Linf(0.1), left=torch.ones_like(step))


@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_a_step_leaves_the_state_until_it_was_answered(ball):
    """It may be interrupted there, and is then made again from the same state."""
    live = replace(live_at(torch.tensor([0, 3, 900])), ball=ball)
    attack = Square()
    state = attack.begin(live)
    before = {name: value.clone() for name, value in state.items()}

    class Told:
        loss = torch.ones(3)

    def ask(*_, **__):
        assert all(torch.equal(state[name], value) for name, value in before.items())
        return Told()

    after = attack.step(live, state, ask)
    assert not torch.equal(after["loss"], before["loss"])


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 7), (1, 9, 4), (70, 3, 3)])
@pytest.mark.parametrize("ball", [Linf(0.1), Linf(0.0), L2(0.3), L2(0.0)], ids=repr)
def test_images_of_any_shape(shape, ball):
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    path = asked(ball, images, budget=20)
    assert bool(torch.isfinite(path).all())
    assert all(bool(ball.contains(x, images).all()) for x in path)


def started(start, budget=250, *, reach=0.98, **changes):
    """A search on a linear model that needs this share of the ball's best, from `start`: a share of the pixels at its best
    side, the others at the worst."""
    gain = 0.1 * float(WEIGHT.abs().sum())
    images, labels = torch.full((2, *WEIGHT.shape), 0.5), torch.ones(2, dtype=torch.int64)
    best = -0.1 * WEIGHT.sign()
    from_here = None if start is None else images + torch.stack([best * (2 * start(n).float() - 1) for n in (0, 1)])
    access = ScoreAccess(Linear(WEIGHT, reach * gain), per_image=budget)
    return Square()(access, images, labels, Linf(0.1), seed=5, start=from_here, **changes), from_here


def test_from_a_start_that_fools_it_takes_one_query_and_from_one_that_is_near_fewer_than_blind():
    blind, _ = started(None)
    told, start = started(lambda n: torch.ones_like(WEIGHT, dtype=torch.bool))
    assert told.queries.tolist() == [2, 2]  # the image itself, and the start
    assert torch.equal(told.adversarial, start)
    near, _ = started(lambda n: torch.arange(WEIGHT.numel()).view_as(WEIGHT) != n)
    assert bool(blind.success.all())
    assert bool(near.success.all())
    assert int(near.queries.sum()) < 0.7 * int(blind.queries.sum())


def test_a_start_that_is_the_worst_of_the_ball_does_not_keep_it_from_the_end():
    worst, _ = started(lambda n: torch.zeros_like(WEIGHT, dtype=torch.bool), 1000)
    assert bool(worst.success.all())


def test_a_start_depends_on_its_image_alone_and_is_told_from_another(tmp_path):
    near = lambda n: torch.arange(WEIGHT.numel()).view_as(WEIGHT) % 3 != n  # noqa: E731
    both, _ = started(near)
    apart, _ = started(near, batch_size=1)
    assert torch.equal(both.adversarial, apart.adversarial)
    assert torch.equal(both.queries, apart.queries)
    path = tmp_path / "attack.safetensors"
    started(near, checkpoint=path)
    with pytest.raises(ValueError, match="images"):
        started(None, checkpoint=path)


@pytest.mark.parametrize(
    ("attack", "start", "said"),
    [
        (Square(), torch.full((2, 3, 2, 3), 0.7), "outside Linf"),
        (Square(), torch.full((2, 3, 2, 3), torch.nan), "outside Linf"),
        (Square(), torch.full((1, 3, 2, 3), 0.5), "shape"),
        (Square(), torch.full((2, 3, 2, 3), 0.5).tolist(), "not list"),
        (Square(), torch.full((2, 3, 2, 3), 0.7).numpy(), "outside Linf"),
        (NES(), torch.full((2, 3, 2, 3), 0.5), "leave out `start`"),
    ],
)
def test_a_start_that_cannot_be_is_refused_before_anything_is_asked(attack, start, said):
    access = ScoreAccess(Forbidden(), per_image=100)
    images, labels = torch.full((2, 3, 2, 3), 0.5), torch.ones(2, dtype=torch.int64)
    with pytest.raises((TypeError, ValueError), match=said):
        attack(access, images, labels, Linf(0.1), seed=0, start=start)
