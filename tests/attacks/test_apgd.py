import math
from dataclasses import replace
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
from tests.attacks.toy import Counting, Linear, RowModel, blobs, trained

COUNT = 37
CLASSES = 6


@pytest.fixture(scope="module")
def problem():
    """Images, labels of which some are wrong, and a radius at which some are fooled soon, some late, some never."""
    model = RowModel(seed=3, classes=CLASSES)
    model.first.data *= 10  # So that its loss bends within the ball: steps of 2 eps are too long for some.
    images = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    labels = model(images).argmax(1)
    labels[::7] = (labels[::7] + 1) % CLASSES
    return model, images, labels


BALL = Linf(0.015)
AUTO = APGD(steps=12, restarts=2)
TARGETED = APGD(steps=8, loss="dlr", targets=3)


def run(model, images, labels, attack=AUTO, ball=BALL, **options):
    access = GradientAccess(model)
    return attack(access, images, labels, ball, seed=5, **options), access


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
        run(two, images, labels, APGD(loss="dlr"))
    with pytest.raises(ValueError, match="at least 4 classes"):
        run(three, images, three(images).argmax(1), APGD(loss="dlr", targets=2))
    with pytest.raises(ValueError, match="at most 5"):
        run(*problem, APGD(loss="dlr", targets=6))


# --- the schedule ---


def test_the_checkpoints_are_the_papers():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    for steps in (1, 2, 5, 10, 37, 1000):
        shares = [0.0, 0.22]
        while shares[-1] < 1:
            shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
        expected = {math.ceil(share * steps - 1e-6) for share in shares[1:]}
        assert checkpoints(steps) == sorted(point for point in expected if point < steps)


@pytest.mark.parametrize("ball", [Linf(0.02), Linf((0.01, 0.02, 0.03)), L2(0.2)], ids=repr)
def test_moves_are_linear_in_their_size(ball):
    grad = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    grad[2] = 0
    for size in (1e-4, 0.03, 7.0):
        assert torch.allclose(ball.step(grad, 1.0) * size, ball.step(grad, size), rtol=1e-5, atol=0)


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
    result, _ = run(model, images, torch.tensor([1]), attack, Linf(eps))
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


class Recorded(nn.Module):
    """Keeps all that the model is asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.model(x)


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
    model, images, _ = problem
    labels, recorded = model(images).argmax(1), Recorded(model)
    attack = APGD(steps=30, stop_when_fooled=False, **settings)
    run(recorded, images, labels, attack, ball)
    paths = torch.stack(recorded.asked[1:], dim=1)
    assert paths.shape[:2] == (COUNT, 31)
    for row in range(0, COUNT, 6):
        image, start = images[row : row + 1], ball.random_start(images[row : row + 1], [generator(5, "apgd", row, 0)])
        path = plainly(
            model, image, labels[row : row + 1], ball, 30, start, find_loss(attack.loss), attack.rho, attack.alpha
        )
        assert torch.allclose(paths[row], path, atol=1e-6)


# --- what it is worth ---

SHAPE = (3, 4, 4)
WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
EPS = 0.1
BEST = {Linf: float(EPS * WEIGHT.abs().sum()), L2: float(EPS * WEIGHT.norm())}
DIRECTION = {Linf: EPS * WEIGHT.sign(), L2: EPS * WEIGHT / WEIGHT.norm()}


class Third(nn.Module):
    """One more class, that never wins: DLR needs it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        logits = self.model(x)
        return torch.cat([logits, torch.full_like(logits[:, :1], -20)], dim=1)


@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
@pytest.mark.parametrize("random_start", [True, False])
@pytest.mark.parametrize("kind", [Linf, L2])
def test_the_optimum_of_a_linear_model_is_reached(kind, random_start, loss):
    images, attack = torch.full((3, *SHAPE), 0.5), APGD(steps=30, loss=loss, random_start=random_start)
    # Just out of reach, so that what is left is the point of highest loss; then just within it.
    model = Third(Linear(WEIGHT, 1.001 * BEST[kind]))
    result, _ = run(model, images, torch.tensor([1, 1, 1]), attack, kind(EPS))
    assert not bool(result.success.any())
    assert torch.allclose(result.adversarial - images, -DIRECTION[kind].expand(3, *SHAPE), atol=1e-4)
    assert result.norm.tolist() == pytest.approx([EPS] * 3, abs=1e-5)
    model = Third(Linear(WEIGHT, 0.998 * BEST[kind]))
    result, _ = run(model, images, torch.tensor([1, 1, 1]), attack, kind(EPS))
    assert bool(result.success.all())


def test_dlr_climbs_where_the_gradient_of_cross_entropy_is_zero_in_float32():
    images, labels = blobs(100, seed=5)

    network = trained()

    def confident(x):
        return 1000 * network(x)

    ce, _ = run(confident, images, labels, APGD(steps=10), Linf(0.02))
    loud, _ = run(confident, images, labels, APGD(steps=10, loss="dlr"), Linf(0.02))
    plain, _ = run(network, images, labels, APGD(steps=10, loss="dlr"), Linf(0.02))
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
    assert rates == sorted(rates)
    assert rates[-1] > rates[0] + 0.25
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


# --- the bookkeeping ---


def test_the_problem_has_all_kinds_of_images(problem):
    for attack in (AUTO, TARGETED):
        result, _ = run(*problem, attack)
        assert 3 <= int(result.robust.sum()) <= COUNT - 10
        assert int((~result.clean_correct).sum()) == 6
        assert len(set(result.gradients[result.success].tolist())) >= 4


@pytest.mark.parametrize("attack", [AUTO, TARGETED, APGD(steps=5, stop_when_fooled=False)], ids=repr)
def test_counts_are_the_rows_that_went_through_the_model(problem, attack):
    model, images, labels = problem
    counting = Counting(model)
    result, access = run(counting, images, labels, attack, batch_size=10)
    assert int(result.gradients.sum()) == access.gradients
    assert int(result.check_queries.sum()) == access.check_queries
    assert access.gradients + access.check_queries == counting.rows
    runs = attack.restarts * max(1, attack.targets)
    assert set(result.gradients[result.robust].tolist()) == {attack.steps * runs}
    assert set(result.check_queries[result.robust].tolist()) == {1 + runs}
    wrong = ~result.clean_correct
    assert set(result.gradients[wrong].tolist()) == {0}
    assert set(result.check_queries[wrong].tolist()) == {1}


@pytest.mark.parametrize("attack", [AUTO, TARGETED], ids=repr)
def test_no_result_hangs_on_the_batch(problem, attack):
    model, images, labels = problem
    whole, _ = run(model, images, labels, attack)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
    half = COUNT // 2
    shuffled, _ = run(model, images[order], labels[order], attack, indices=order, batch_size=8)
    first, _ = run(model, images[:half], labels[:half], attack, indices=range(half))
    second, _ = run(model, images[half:], labels[half:], attack, indices=range(half, COUNT))
    variants = {
        "small batches": run(model, images, labels, attack, batch_size=5)[0],
        "one by one": run(model, images, labels, attack, batch_size=1)[0],
        "shuffled": shuffled.subset(order.argsort()),
        "split": type(whole).concat([first, second]),
    }
    for name, other in variants.items():
        for field in ("adversarial", "success", "iterations", "gradients", "check_queries", "norm", "loss"):
            assert torch.equal(getattr(whole, field), getattr(other, field)), (name, field)


def test_the_batch_is_kept_full(problem):
    counting = Counting(problem[0])
    _, access = run(counting, *problem[1:], APGD(steps=20), batch_size=4)
    checks = -(-COUNT // 4) + access.check_queries - COUNT
    assert counting.calls - checks <= access.gradients / 4 + 20


def test_seed_index_and_run_name_the_random_start(problem):
    model, images, labels = problem
    one = APGD(steps=1, stop_when_fooled=False)
    fixed, twice = replace(one, random_start=False), replace(one, random_start=False, restarts=2)

    def losses(attack, seed=5, **options):
        return attack(GradientAccess(model), images, labels, L2(0.1), seed=seed, **options).loss

    assert torch.equal(losses(one), losses(one))
    assert not torch.equal(losses(one), losses(one, seed=6))
    assert not torch.equal(losses(one), losses(one, indices=range(100, 100 + COUNT)))
    assert torch.equal(losses(fixed), losses(fixed, seed=6))
    assert not torch.equal(losses(twice), losses(twice, seed=6))


def test_restarts_and_targets_only_add(problem):
    once, _ = run(*problem, APGD(steps=4))
    often, _ = run(*problem, APGD(steps=4, restarts=4))
    assert bool((often.success | ~once.success).all())
    assert bool((often.loss >= once.loss)[often.robust].all())
    one, _ = run(*problem, APGD(steps=8, loss="dlr", targets=1))
    three, _ = run(*problem, TARGETED)
    assert bool((three.success | ~one.success).all())
    assert int(three.success.sum()) > int(one.success.sum())


def test_each_target_is_aimed_at():
    """Of all runs, the one towards a class ends where the loss towards that class is highest."""
    model = RowModel(seed=3, classes=CLASSES)
    images = torch.rand(COUNT, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    images = images[dlr(model(images), model(images).argmax(1)) < -0.02]
    labels, recorded = model(images).argmax(1), Recorded(model)
    # Nobody is near enough to be fooled: each run then asks about all images, 5 times for a gradient, once for a check.
    result, _ = run(recorded, images, labels, APGD(steps=5, loss="dlr", targets=5), Linf(1e-4))
    assert not bool(result.success.any())
    order = model(images).argsort(dim=1, descending=True)
    for number in range(5):
        losses = torch.stack([targeted_dlr(model(ends), labels, order[:, number + 1]) for ends in recorded.asked[6::6]])
        assert float((losses.argmax(0) == number).float().mean()) > 0.9


def test_robust_accuracy_is_the_same_with_and_without_stopping(problem):
    stopped, cheap = run(*problem, APGD(steps=12))
    full, dear = run(*problem, APGD(steps=12, stop_when_fooled=False))
    assert torch.equal(stopped.success, full.success)
    assert torch.equal(stopped.adversarial, full.adversarial)
    assert cheap.gradients < dear.gradients == 12 * int(full.clean_correct.sum())


@pytest.mark.parametrize("ball", [Linf(0.0), Linf((0.0, 0.0, 0.0)), L2(0.0)], ids=repr)
def test_a_ball_without_room_fools_nobody(problem, ball):
    result, _ = run(*problem, APGD(steps=3), ball)
    assert result.success_rate == 0
    assert float(result.norm.max()) == 0


def test_no_images_no_work(problem):
    model, images, labels = problem
    for attack in (AUTO, TARGETED):
        result, access = run(model, images[:0], labels[:0], attack)
        assert len(result) == access.rows == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "at least 1"),
        ({"restarts": 0}, "at least 1"),
        ({"rho": 1.5}, "paper's is 0.75"),
        ({"alpha": 0.0}, "no momentum"),
        ({"targets": -1}, "0 .untargeted. or"),
        ({"targets": 3}, "needs loss='dlr'"),
        ({"loss": "dlrr"}, "did you mean 'dlr'"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        APGD(**settings)
