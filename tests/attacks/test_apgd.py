import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from groundglass.attacks import APGD, FGSM, L2, PGD, GradientAccess, Linf, RandomNoise
from groundglass.attacks.apgd import checkpoints
from groundglass.attacks.losses import dlr, find_loss, margin, targeted_dlr
from groundglass.core import generator
from tests.attacks.toy import Recorded, RowModel, attacked, blobs, trained
from tests.attacks.toy import problem as make_problem

CLASSES = 6


@pytest.fixture(scope="module")
def problem():
    model, images, _ = make_problem(classes=CLASSES)
    model.first.data *= 10  # so that its loss bends within the ball: steps of 2 eps are too long for some
    return model, images, model(images).argmax(1)


# --- the losses ---


def test_dlr_by_hand():
    logits = torch.tensor([[4.0, 1.0, 2.0, 0.0], [4.0, 1.0, 2.0, 0.0]])
    # Label first: -(4 - 2) / (4 - 1). Label third: -(2 - 4) / (4 - 1).
    assert dlr(logits, torch.tensor([0, 2])).tolist() == pytest.approx([-2 / 3, 2 / 3])
    # Towards the class of 0: -(4 - 0) / (4 - (1 + 0) / 2); towards that of 2, from that of 1: -(1 - 2) / 3.5.
    targeted = targeted_dlr(logits, torch.tensor([0, 1]), torch.tensor([3, 2]))
    assert targeted.tolist() == pytest.approx([-4 / 3.5, 1 / 3.5])
    assert find_loss("dlr") is dlr


numbers = st.lists(st.integers(-1000, 1000), min_size=4, max_size=8, unique=True)


@settings(max_examples=50, deadline=None)
@given(numbers, st.integers(0, 3), st.integers(1, 3), st.floats(1e-5, 1e5), st.floats(-100, 100))
def test_neither_scale_nor_shift_changes_dlr(row, label, away, scale, shift):
    logits = torch.tensor([row], dtype=torch.float64) / 10
    labels, targets = torch.tensor([label]), torch.tensor([(label + away) % 4])
    for loss in (dlr, lambda z, y: targeted_dlr(z, y, targets)):
        value = loss(logits, labels)
        assert torch.allclose(loss(scale * logits + shift, labels), value, rtol=1e-5, atol=1e-5)
    # It says the same as the margin about who wins.
    assert torch.equal(dlr(logits, labels) > 0, margin(logits, labels) > 0)
    assert float(dlr(logits, labels)) >= -1


@given(st.integers(-4, 4), st.lists(st.integers(0, 1), min_size=4, max_size=6))
@settings(max_examples=30, deadline=None)
def test_ties_give_finite_losses_and_gradients(power, row):
    for loss in (dlr, lambda z, y: targeted_dlr(z, y, torch.tensor([1]))):
        logits = (10.0**power * torch.tensor([row])).requires_grad_()
        value = loss(logits, torch.tensor([0]))
        (grad,) = torch.autograd.grad(value.sum(), logits)
        assert bool(value.isfinite().all())
        assert bool(grad.isfinite().all())


def test_too_few_classes_are_pointed_out(problem):
    images, labels = torch.rand(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64)
    two, three = RowModel(classes=2), RowModel(classes=3)
    with pytest.raises(ValueError, match=r"at least 3 classes, and the model has 2: use loss='margin'"):
        attacked(two, images, labels, APGD(loss="dlr"), Linf(0.1))
    with pytest.raises(ValueError, match="at least 4 classes"):
        attacked(three, images, three(images).argmax(1), APGD(loss="dlr", targets=2), Linf(0.1))
    with pytest.raises(ValueError, match="at most 5"):
        attacked(*problem, APGD(loss="dlr", targets=6), Linf(0.1))


# --- the schedule ---


def test_the_checkpoints_are_the_papers():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    for steps in (1, 2, 5, 10, 37, 1000):
        shares = [0.0, 0.22]
        while shares[-1] < 1:
            shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
        expected = {math.ceil(share * steps - 1e-6) for share in shares[1:]}
        assert checkpoints(steps) == sorted(point for point in expected if point < steps)


class Peak(nn.Module):
    """Two classes; the loss is highest where the mean has moved by `top`, and falls off on both sides."""

    def __init__(self, top):
        super().__init__()
        self.top, self.asked = top, []

    def forward(self, x):
        shift = (x - 0.5).mean((1, 2, 3))
        self.asked.append(float(shift[0].detach()))
        score = 1 + (shift - self.top).abs()
        return torch.stack([torch.zeros_like(score), score], dim=1)


def test_the_step_is_halved_where_it_oscillates():
    eps, top = 0.1, 0.013
    model, images = Peak(top), torch.full((1, 3, 4, 4), 0.5)
    attack = APGD(steps=100, alpha=1, random_start=False, loss="margin")
    result, _ = attacked(model, images, torch.tensor([1]), attack, Linf(eps))
    path = torch.tensor(model.asked[1:])  # The first is the check of the image itself.
    moves = path.diff().abs()
    # From border to border at first: a step of 2 eps. Fewer than 3 of 4 moves climb, so every checkpoint halves it.
    ends = [0, *checkpoints(100), 100]
    longest = [float(moves[a:b].max()) for a, b in pairwise(ends)]
    assert longest[0] == pytest.approx(2 * eps, rel=1e-4)
    for count in range(2, len(longest)):
        # The move after a checkpoint starts at the best iterate, wherever the path was; the others are one step long.
        inner = moves[ends[count] + 1 : ends[count + 1]]
        assert inner.tolist() == pytest.approx([2 * eps / 2**count] * len(inner), rel=1e-3)
    assert abs(float((result.adversarial - images).mean()) - top) < 2 * eps / 2**6


def plainly(model, image, label, ball, steps, x, loss, rho, alpha):
    """Algorithm 1 for one image, as it is printed: the points that it asks about."""

    def ask(x):
        path.append(x)
        x = x.clone().requires_grad_()
        value = loss(model(x), label)
        return float(value.detach()), torch.autograd.grad(value.sum(), x)[0]

    path = []
    eta, previous = 2 * ball.radius, x
    value, grad = ask(x)
    best, best_value, best_grad = x, value, grad
    last, climbs, same_step, value_then = 0, 0, True, value
    for k in range(steps):
        if k in checkpoints(steps):
            halve = climbs < rho * (k - last) or (same_step and best_value == value_then)
            last, climbs, same_step, value_then = k, 0, not halve, best_value
            if halve:
                eta, x, value, grad = eta / 2, best, best_value, best_grad
        z = ball.project(x + eta * ball.step(grad, 1.0), image)
        new = z if k == 0 else ball.project(x + alpha * (z - x) + (1 - alpha) * (x - previous), image)
        previous, x, old = x, new, value
        value, grad = ask(x)
        climbs += value > old
        if value > best_value:
            best, best_value, best_grad = x, value, grad
    return torch.cat(path)


@pytest.mark.parametrize("settings", [{"loss": "ce"}, {"loss": "dlr", "rho": 0.5, "alpha": 0.6}], ids=str)
@pytest.mark.parametrize("ball", [Linf(0.3), Linf((0.1, 0.2, 0.3)), L2(2.0)], ids=repr)
def test_every_image_goes_the_way_of_the_algorithm(problem, ball, settings):
    """In large balls, where paths bend."""
    model, images, labels = problem
    recorded = Recorded(model)
    attack = APGD(steps=30, stop_when_fooled=False, **settings)
    attacked(recorded, images, labels, attack, ball)
    paths = torch.stack(recorded.asked[1:], dim=1)
    assert paths.shape[:2] == (len(images), 31)
    for row in range(0, len(images), 6):
        image, start = images[row : row + 1], ball.random_start(images[row : row + 1], [generator(5, "apgd", row, 0)])
        path = plainly(
            model, image, labels[row : row + 1], ball, 30, start, find_loss(attack.loss), attack.rho, attack.alpha
        )
        assert torch.allclose(paths[row], path, atol=1e-6)


# --- what it is worth ---


def test_dlr_climbs_where_the_gradient_of_cross_entropy_is_zero_in_float32():
    images, labels = blobs(100, seed=5)

    network = trained()

    def confident(x):
        return 1000 * network(x)

    ce, _ = attacked(confident, images, labels, APGD(steps=10), Linf(0.02))
    loud, _ = attacked(confident, images, labels, APGD(steps=10, loss="dlr"), Linf(0.02))
    plain, _ = attacked(network, images, labels, APGD(steps=10, loss="dlr"), Linf(0.02))
    assert ce.zero_gradient_share > 0.5
    assert loud.zero_gradient_share == 0
    assert int((loud.success != plain.success).sum()) <= 1, "up to rounding"
    assert loud.success_rate > ce.success_rate + 0.2


@pytest.mark.parametrize("ball", [Linf(0.015), L2(0.15)], ids=repr)
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_as_strong_as_pgd_with_as_many_gradients(ball, loss):
    images, labels = blobs(200, seed=5)
    rates = [
        attack(GradientAccess(trained()), images, labels, ball, seed=0).success_rate
        for attack in (RandomNoise(), FGSM(), PGD(steps=20, step_size=None), APGD(steps=20, loss=loss))
    ]
    assert rates[:3] == sorted(rates[:3])
    assert rates[3] > rates[2] - 0.01, "one image in 196: the trained network differs between versions of torch"
    assert rates[3] > rates[0] + 0.25
    assert rates[-1] < 1


@pytest.mark.parametrize(("norm", "ball"), [("Linf", Linf(0.015)), ("L2", L2(0.15))])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_as_strong_as_that_of_torchattacks(norm, ball, loss):
    torchattacks = pytest.importorskip("torchattacks")
    images, labels = blobs(200, seed=5)
    ours = APGD(steps=20, loss=loss)(GradientAccess(trained()), images, labels, ball, seed=0)
    theirs = torchattacks.APGD(trained(), norm=norm, eps=ball.radius, steps=20, loss=loss)(images, labels)
    standing = int((trained()(theirs).argmax(1) == labels).sum())
    assert 10 < standing < 190
    assert abs(int(ours.robust.sum()) - standing) <= 2


def test_each_target_is_aimed_at():
    """Of all runs, the one towards a class ends where the loss towards that class is highest."""
    model, images, _ = make_problem(classes=CLASSES)
    images = images[dlr(model(images), model(images).argmax(1)) < -0.02]
    labels, recorded = model(images).argmax(1), Recorded(model)
    # Nobody is near enough to be fooled: each run then asks about all images, 5 times for a gradient, once for a check.
    result, _ = attacked(recorded, images, labels, APGD(steps=5, loss="dlr", targets=5), Linf(1e-4))
    assert not bool(result.success.any())
    order = model(images).argsort(dim=1, descending=True)
    for number in range(5):
        losses = torch.stack([targeted_dlr(model(ends), labels, order[:, number + 1]) for ends in recorded.asked[6::6]])
        assert float((losses.argmax(0) == number).float().mean()) > 0.9
