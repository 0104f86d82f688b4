import pytest
import torch
from torch import nn

from groundglass.attacks import Linf, RayS
from tests.attacks.query_problem import live_slots
from tests.attacks.toy import Constant, Linear, Recorded, queried

SHAPE = (3, 2, 2)
WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))


def run(model, images, labels, ball, attack=None, budget=40):
    return queried(model, images, labels, attack or RayS(), ball, budget)


def smallest_fooling_radius(asked, model):
    """Of all that was asked about, the smallest radius that fooled the model."""
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
    assert smallest_fooling_radius(torch.cat(model.asked), model.model) == pytest.approx(
        nearest, abs=2 * 1e-3 / 12**0.5
    )
    assert smallest_fooling_radius(torch.cat(model.asked), model.model) >= nearest - 1e-6
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
    model = Recorded(Constant())
    run(model, torch.full((1, 1, 2, 3), 0.5), torch.tensor([0]), Linf(0.1), budget=24)
    corners = ["".join("+" if v > 0.5 else "-" for v in x.flatten()) for x in model.rows]
    assert all(set(x.flatten().tolist()) <= {0.0, 1.0} for x in model.rows)
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
    moves = [(round(float(x[0, 0, 0]) - 0.5, 4), round(float(x[0, 0, 1]) - 0.5, 4)) for x in model.rows]
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


def test_a_tolerance_below_the_numbers_resolution_ends_a_search_too():
    image, label = torch.full((1, *SHAPE), 0.5), torch.tensor([1])
    model = Recorded(Linear(torch.ones(SHAPE), 0.3 * 12))
    run(model, image, label, Linf(0.1), RayS(tolerance=1e-30), budget=60)
    # All turned to -, searched; afterwards halves are tried, with both signs in a question.
    assert any(len((x - 0.5).sign().unique()) == 2 for x in model.rows)


def test_a_step_leaves_the_state_it_was_given():
    step = torch.zeros(3, dtype=torch.int64)
    live = live_slots(torch.full((3, *SHAPE), 0.5), step, Linf(0.1), left=step + 9)
    attack = RayS()
    state = attack.begin(live)

    class Told:
        fooled = torch.tensor([True, False, True])

    for _ in range(3):
        before = {name: value.clone() for name, value in state.items()}
        after = attack.step(live, state, lambda *_, **__: Told())
        assert all(torch.equal(state[name], value) for name, value in before.items())
        state = after
