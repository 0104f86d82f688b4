import pytest
import torch
from torch import nn

from groundglass.attacks import L2, Linf, ScoreAccess
from groundglass.attacks.access import LabelAccess
from groundglass.attacks.questions import Live
from groundglass.attacks.rays import RayS
from groundglass.attacks.result import AttackResult
from tests.attacks.toy import Counting, Linear, RowModel

COUNT = 16
SHAPE = (3, 2, 2)
WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
BALLS = [Linf(0.1), Linf((0.12, 0.06, 0.12))]
FIELDS = ("adversarial", "success", "iterations", "loss_queries", "check_queries", "norm")


@pytest.fixture(scope="module")
def problem():
    """Images, labels of which some are wrong, and radii at which some are fooled soon, some late, some never."""
    model = RowModel(seed=3, size=3 * 8 * 8)
    images = torch.rand(COUNT, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    labels = model(images).argmax(1)
    labels[::7] = (labels[::7] + 1) % 3
    return model, images, labels


def run(model, images, labels, ball=BALLS[0], attack=None, budget=40, seed=5, **options):
    access = LabelAccess(model, per_image=budget)
    return (attack or RayS())(access, images, labels, ball, seed=seed, **options)


@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_every_row_is_counted_and_none_is_beyond_the_budget(problem, ball):
    model, images, labels = problem
    counting = Counting(model)
    result = run(counting, images, labels, ball, batch_size=7)
    assert 0 < result.success_rate < 1
    assert int(result.queries.sum()) == counting.rows
    assert set(result.queries[result.robust].tolist()) == {40}
    won = result.success
    assert torch.equal(result.loss_queries[won], result.iterations[won])
    assert len(set(result.loss_queries[won].tolist())) >= 3
    wrong = ~result.clean_correct
    assert int(wrong.sum()) == 3
    assert result.queries[wrong].tolist() == [1] * 3
    assert torch.equal(result.adversarial[~won], images[~won])


@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_what_is_found_is_in_the_ball_and_fools_the_model(problem, ball):
    model, images, labels = problem
    result = run(model, images, labels, ball)
    won = result.success
    assert bool(ball.contains(result.adversarial, images, tolerance=1e-6).all())
    assert bool((model(result.adversarial).argmax(1) != labels)[won].all())


@pytest.mark.parametrize("ball", BALLS, ids=repr)
def test_no_result_hangs_on_the_batch_or_the_seed(problem, ball):
    model, images, labels = problem
    whole = run(model, images, labels, ball)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    half = COUNT // 2
    variants = {
        "small batches": run(model, images, labels, ball, batch_size=3),
        "one by one": run(model, images, labels, ball, batch_size=1),
        "seed": run(model, images, labels, ball, seed=6),
        "shuffled": run(model, images[order], labels[order], ball, indices=order, batch_size=4).subset(order.argsort()),
        "split": AttackResult.concat(
            [
                run(model, images[:half], labels[:half], ball, indices=range(half)),
                run(model, images[half:], labels[half:], ball, indices=range(half, COUNT)),
            ]
        ),
    }
    for name, other in variants.items():
        for field in FIELDS:
            assert torch.equal(getattr(whole, field), getattr(other, field)), (name, field)


class Failing(nn.Module):
    """Stops answering after so many passes."""

    def __init__(self, model, passes):
        super().__init__()
        self.model, self.left = model, passes

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("gone")
        return self.model(x)


def test_an_interrupted_attack_goes_on_to_the_same_result(problem, tmp_path):
    model, images, labels = problem
    path = tmp_path / "attack.safetensors"
    with pytest.raises(ConnectionError):
        run(Failing(model, 20), images, labels, batch_size=8, checkpoint=path)
    whole, resumed = (run(model, images, labels, batch_size=8, checkpoint=at) for at in (None, path))
    for field in FIELDS:
        assert torch.equal(getattr(whole, field), getattr(resumed, field)), field


class Recorded(nn.Module):
    """Remembers what it was asked, a row at a time."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, x):
        self.asked += list(x.clone())
        return self.model(x)


class Never(nn.Module):
    def forward(self, x):
        return torch.tensor([[2.0, -1.0]]).repeat(len(x), 1)


def smallest_fooling_radius(asked, model):
    """Of all that was asked about, the smallest radius that fooled the model."""
    asked = torch.stack(asked)
    fooled = model(asked).argmax(1) != model(asked[:1]).argmax(1)
    return float((asked - asked[0]).flatten(1).abs().amax(1)[fooled].min())


@pytest.mark.parametrize("side", [-1, 1])
def test_the_radius_comes_to_the_distance_of_a_linear_boundary(side):
    """|w x + b| / |w|_1 is the least, at the corner sign(w). Every pixel has its turn."""
    nearest = 0.15
    offset = side * nearest * float(WEIGHT.abs().sum())
    image, label = torch.full((1, *SHAPE), 0.5), torch.tensor([int(side > 0)])
    model = Recorded(Linear(WEIGHT, offset))
    missed = run(model, image, label, Linf(nearest * 0.999), budget=250)
    assert not bool(missed.success.any())
    assert smallest_fooling_radius(model.asked, model.model) == pytest.approx(nearest, abs=2 * 1e-3 / 12**0.5)
    assert smallest_fooling_radius(model.asked, model.model) >= nearest - 1e-6
    reached = run(Linear(WEIGHT, offset), image, label, Linf(nearest + 2 * 1e-3 / 12**0.5), budget=250)
    assert bool(reached.success.all())
    assert torch.equal((reached.adversarial - image).sign()[0], -side * WEIGHT.sign())


def test_a_box_that_differs_by_channel_has_corners_that_do():
    eps = torch.tensor([0.2, 0.1, 0.05]).view(3, 1, 1)
    offset = 0.99 * float((eps * WEIGHT.abs()).sum())
    image, label = torch.full((1, *SHAPE), 0.5), torch.tensor([1])
    result = run(Linear(WEIGHT, offset), image, label, Linf((0.2, 0.1, 0.05)), budget=250)
    assert bool(result.success.all())
    share = (result.adversarial - image) / eps
    assert torch.allclose(share.abs(), share.abs().max(), atol=1e-5)


def test_blocks_are_halved_in_the_order_of_the_pixels():
    """Where nothing fools the model, every question is a corner of the range: all ones but for one block."""
    model = Recorded(Never())
    run(model, torch.full((1, 1, 2, 3), 0.5), torch.tensor([0]), Linf(0.1), budget=24)
    corners = ["".join("+" if v > 0.5 else "-" for v in x.flatten()) for x in model.asked[1:]]
    assert all(set(x.flatten().tolist()) <= {0.0, 1.0} for x in model.asked[1:])
    singles = ["-+++++", "+-++++", "++-+++", "+++-++", "++++-+", "+++++-"]
    whole_and_halves = ["------", "---+++", "+++---"]
    # A quarter of six pixels is two: three blocks are enough.
    quarters = ["--++++", "++--++", "++++--"]
    assert corners[:18] == whole_and_halves + quarters + singles + singles
    assert len(corners) == 23


class OneWay(nn.Module):
    """Fooled where the first pixel falls below .2, or all pixels together by more than a little."""

    def forward(self, x):
        flat = x.flatten(1)
        fooled = (flat[:, 0] < 0.2) | (flat < 0.1).all(1)
        return torch.stack([1 - 3.0 * fooled, -torch.ones_like(flat[:, 0])], dim=1)


def test_a_search_is_binary_and_goes_on_from_what_it_found():
    model = Recorded(OneWay())
    tolerance = 0.1 * 2**0.5
    run(model, torch.full((1, 1, 1, 2), 0.5), torch.tensor([0]), Linf(0.05), RayS(tolerance=tolerance), budget=12)
    moves = [(round(float(x[0, 0, 0]) - 0.5, 4), round(float(x[0, 0, 1]) - 0.5, 4)) for x in model.asked[1:]]
    # The corner at radius 1, clamped; then 1/2, 1/4 (not fooled), 3/8, 5/16: known to 1/16 < .1.
    assert moves[:5] == [(-0.5, -0.5), (-0.5, -0.5), (-0.25, -0.25), (-0.375, -0.375), (-0.3125, -0.3125)]
    # Halves, checked at the best radius. The first is to be turned back to +, and does not fool; the second does.
    assert moves[5] == (0.3125, -0.3125)
    assert moves[6] == (-0.3125, 0.3125)
    # A search below it: 5/32, 15/64 (1/16 and more from 5/16 to 15/64: .078 < .1).
    assert moves[7:9] == [(-0.1562, 0.1562), (-0.2344, 0.2344)]
    # Nothing nearer: the signs stay as they were, and the next block is of one pixel again.
    assert moves[9] == (0.3125, -0.3125)


def test_it_ends_in_the_midst_of_a_search():
    image, label = torch.full((1, *SHAPE), 0.5), torch.tensor([1])
    model = Recorded(Linear(torch.ones(SHAPE), 0.01 * 12))
    result = run(model, image, label, Linf(0.2))
    # Radii 1, 1/2, 1/4, 1/8: the first within .2.
    assert result.queries.tolist() == [5]
    assert result.iterations.tolist() == [4]
    assert result.norm.tolist() == pytest.approx([0.125])


def test_a_model_that_nothing_fools():
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    result = run(Never(), images, torch.zeros(3, dtype=torch.int64), budget=60)
    assert result.success.tolist() == [False] * 3
    assert result.queries.tolist() == [60] * 3
    assert torch.equal(result.adversarial, images)


def test_a_tolerance_below_the_numbers_resolution_ends_a_search_too():
    image, label = torch.full((1, *SHAPE), 0.5), torch.tensor([1])
    model = Recorded(Linear(torch.ones(SHAPE), 0.3 * 12))
    run(model, image, label, Linf(0.1), RayS(tolerance=1e-30), budget=60)
    # All turned to -, searched; afterwards halves are tried, with both signs in a question.
    assert any(len((x - 0.5).sign().unique()) == 2 for x in model.asked)


def test_a_step_leaves_the_state_it_was_given():
    step = torch.zeros(3, dtype=torch.int64)
    live = Live(torch.full((3, *SHAPE), 0.5), step, range(3), step, step + 9, Linf(0.1), seed=0)
    attack = RayS()
    state = attack.begin(live)

    class Told:
        fooled = torch.tensor([True, False, True])

    for _ in range(3):
        before = {name: value.clone() for name, value in state.items()}
        after = attack.step(live, state, lambda *_, **__: Told())
        assert all(torch.equal(state[name], value) for name, value in before.items())
        state = after


def test_settings_balls_and_accesses_that_cannot_be_are_refused(problem):
    model, images, labels = problem
    for tolerance in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="tolerance"):
            RayS(tolerance=tolerance)
    with pytest.raises(ValueError, match=r"give Linf\(eps=8 / 255\), not L2"):
        run(model, images, labels, L2(0.5))
    with pytest.raises(TypeError, match="LabelAccess"):
        RayS()(ScoreAccess(model, per_image=9), images, labels, Linf(0.1), seed=0)
