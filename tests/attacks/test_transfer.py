import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundglass.attacks import (
    L2,
    PGD,
    Ensemble,
    GaussianKernel,
    GradientAccess,
    InputDiversity,
    Linf,
    SurrogatePGD,
    TransferPGD,
)  # fmt: skip
from groundglass.attacks.losses import cross_entropy
from groundglass.core import generator
from tests.attacks.toy import Linear, RowModel, attacked
from tests.attacks.toy import problem as make_problem

COUNT = 23

pytestmark = pytest.mark.filterwarnings("ignore:.*cannot reach the border:RuntimeWarning")

DIVERSITY, SMOOTHING = InputDiversity(probability=0.7), GaussianKernel(size=3, sigma=0.8)
PLAIN = TransferPGD(steps=6)
ALL = TransferPGD(steps=6, step_size=0.01, momentum=1.0, diversity=DIVERSITY, smoothing=SMOOTHING, random_start=True)


@pytest.fixture(scope="module")
def problem():
    return make_problem(COUNT, side=8)


def run(problem, attack, ball=None):
    return attacked(*problem, attack, ball or Linf(0.03))


# --- the attack ---


@pytest.mark.parametrize("eps", [0.1, 1.0, 2.0])
def test_a_long_way_in_l2_ends_inside_to_a_millionth(problem, eps):
    images = 0.45 + 0.1 * problem[1]  # room on all sides: clamping shortens
    labels = problem[0](images).argmax(1)
    attack = TransferPGD(steps=7, step_size=1.0, momentum=1.0)
    result, _ = run((problem[0], images, labels), attack, L2(eps))
    lengths = torch.linalg.vector_norm((result.adversarial.double() - images.double()).flatten(1), dim=1)
    assert float(lengths.max()) <= eps + 1e-6
    assert float(lengths.max()) > 0.99 * eps


def test_an_l2_path_that_ends_on_the_border_is_inside_to_a_millionth():
    """`project` lets a point be that is outside by less than a millionth of the radius: here, 1.6e-6."""
    model = Linear(0.5 + torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)), offset=-0.1)
    images, ball = torch.full((4, 3, 8, 8), 0.5), L2(2.0)
    attack = TransferPGD(steps=4, step_size=0.5 * (1 + 0.8e-6))
    result = attack(GradientAccess(model), images, torch.zeros(4, dtype=torch.int64), ball, seed=0)
    assert bool(result.success.all())
    assert bool(ball.contains(result.adversarial.double(), images.double(), tolerance=1e-6).all())


def test_without_its_parts_it_is_pgd_to_the_end(problem):
    pgd = PGD(steps=6, step_size=0.01, keep="last", stop_when_fooled=False)
    plain = TransferPGD(steps=6, step_size=0.01)
    a, b = run(problem, pgd)[0], run(problem, plain)[0]
    for field in ("adversarial", "success", "iterations", "gradients", "check_queries", "loss"):
        assert torch.equal(getattr(a, field), getattr(b, field)), field
    a, b = run(problem, pgd, L2(0.05))[0], run(problem, plain, L2(0.05))[0]
    assert torch.allclose(a.adversarial, b.adversarial, atol=1e-5)


@pytest.mark.parametrize("diversity", [None, DIVERSITY])
def test_highest_keeps_the_highest_of_those_that_fool(problem, diversity):
    attack = TransferPGD(steps=6, step_size=0.02, random_start=True, diversity=diversity)
    best, _ = run(problem, replace(attack, keep="highest"))
    assert set(best.check_queries[best.clean_correct].tolist()) == ({2} if diversity is None else {7})
    ends = [run(problem, replace(attack, steps=n))[0] for n in range(1, 7)]  # the same path, cut short
    for row in best.clean_correct.nonzero().squeeze(1).tolist():
        n = max(range(6), key=lambda n: (bool(ends[n].success[row]), float(ends[n].loss[row])))
        assert torch.equal(best.adversarial[row], ends[n].adversarial[row])
        assert bool(best.success[row]) == bool(ends[n].success[row])
        assert best.iterations[row] == n + 1
    assert len(set(best.iterations[best.clean_correct].tolist())) > 1


def test_one_that_fools_is_kept_before_one_of_higher_loss():
    """Of three classes the second wins by little at the first move, none at the next, where the label is less likely."""

    def model(x):
        shift = (x - 0.5).mean((1, 2, 3))
        own = 0.6 - 5 * shift
        second = 0.3 + 0.25 * torch.exp(-(((shift - 0.02) / 0.008) ** 2))
        third = 0.01 + 0.29 * torch.sigmoid((shift - 0.03) * 400)
        return torch.stack([own, second, third], dim=1).log()

    images, labels = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64)
    last, kept = (
        TransferPGD(steps=2, keep=keep)(GradientAccess(model), images, labels, Linf(0.04), seed=0)
        for keep in ("last", "highest")
    )
    assert last.success.tolist() == [False, False]
    assert kept.success.tolist() == [True, True]
    assert kept.iterations.tolist() == [1, 1]
    assert bool((kept.loss < last.loss).all())


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("smoothing", [None, SMOOTHING])
@pytest.mark.parametrize("diversity", [None, DIVERSITY])
def test_the_move_is_the_formula_of_the_papers(problem, norm, smoothing, diversity):
    """One image at a time, by autograd alone; TI after DI and before the normalisation, as in the originals' code."""
    model, images, labels = problem
    eps, steps, mu = (0.04, 5, 0.9) if norm == "Linf" else (0.3, 5, 0.9)
    ball = Linf(eps) if norm == "Linf" else L2(eps)
    attack = TransferPGD(steps=steps, momentum=mu, smoothing=smoothing, diversity=diversity)
    found, _ = run(problem, attack, ball)
    without, _ = run(problem, replace(attack, momentum=0.0), ball)
    changed = 0
    for i in found.clean_correct.nonzero().squeeze(1).tolist():
        x, g = images[i : i + 1].clone(), torch.zeros(1, 3, 8, 8)
        for step in range(steps):
            x.requires_grad_()
            seen = x if diversity is None else diversity.draw(x, [generator(5, "transfer", i, step)]).apply(x)
            (grad,) = torch.autograd.grad(F.cross_entropy(model(seen), labels[i : i + 1]), x)
            if smoothing is not None:
                line = torch.tensor(smoothing.weights())
                grad = F.conv2d(grad, torch.outer(line, line).expand(3, 1, 3, 3), padding=1, groups=3)
            g = mu * g + grad / grad.abs().mean()
            x = x.detach()
            if norm == "Linf":
                x = (images[i] + (x + eps / steps * g.sign() - images[i]).clamp(-eps, eps)).clamp(0, 1)
            else:
                x = x + eps / steps * g / g.norm()
                delta = x - images[i]
                x = (images[i] + delta * min(1.0, eps / float(delta.norm()))).clamp(0, 1)
        # A sign may turn where a smoothed gradient is nearly zero.
        far = (found.adversarial[i] - x[0]).abs() > 1e-5
        assert float(far.float().mean()) < 0.01
        changed += int(float(((without.adversarial[i] - x[0]).abs() > 1e-5).float().mean()) > 0.01)
    assert changed > 10


# --- input diversity ---


def test_a_view_is_a_shrunk_image_at_a_place_on_grey():
    images = torch.rand(400, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    view = InputDiversity(probability=0.5).draw(images, [generator(0, i) for i in range(400)])
    seen = view.apply(images)
    sizes = []
    for image, out in zip(images, seen, strict=True):
        found = [
            (side, top, left)
            for side in (28, 29, 30, 31, 32)
            for top in range(33 - side)
            for left in range(33 - side)
            if float(out[0, top, left]) == float(image[0, 0, 0])
            and torch.equal(
                out,
                F.pad(
                    F.interpolate(image[None], size=(side, side), mode="nearest"),
                    (left, 32 - side - left, top, 32 - side - top),
                    value=0.5,
                )[0],
            )
        ]
        assert len(found) == 1, "exactly one shrunk and padded image is this view"
        sizes.append(found[0])
    assert 160 < sum(side == 32 for side, _, _ in sizes) < 240
    assert {side for side, _, _ in sizes} == {28, 29, 30, 31, 32}
    assert len(set(sizes)) > 45, "of the 54 views and the image itself"
    assert {top for side, top, _ in sizes if side == 28} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 12, 20)], ids=str)
def test_the_transpose_of_a_view_is_its_transpose(shape):
    draw = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(9, *shape, generator=draw, dtype=torch.float64) for _ in range(2))
    view = InputDiversity(probability=0.8, fill=0.0, smallest=0.7).draw(x, [generator(1, i) for i in range(9)])
    left, right = (view.apply(x) * grad).sum((1, 2, 3)), (x * view.pull(grad)).sum((1, 2, 3))
    assert torch.allclose(left, right, rtol=1e-12)
    assert bool((left.abs() > 1e-3).all())
    x.requires_grad_()
    (expected,) = torch.autograd.grad((view.apply(x) * grad).sum(), x)
    assert torch.equal(view.pull(grad), expected)
    assert not torch.equal(expected, grad)


def test_diversity_of_probability_zero_changes_nothing(problem):
    never = run(problem, replace(PLAIN, diversity=InputDiversity(probability=0.0)))[0]
    plain, always = run(problem, PLAIN)[0], run(problem, replace(PLAIN, diversity=InputDiversity(probability=1.0)))[0]
    assert torch.equal(never.adversarial, plain.adversarial)
    assert not torch.equal(always.adversarial, plain.adversarial)


# --- translation invariance ---


@pytest.mark.parametrize(
    "kernel", [GaussianKernel(), GaussianKernel(size=5, sigma=0.8), GaussianKernel(size=1)], ids=repr
)
def test_a_kernel_sums_to_one_and_smooths_as_a_convolution_does(kernel):
    line = torch.tensor(kernel.weights(), dtype=torch.float64)
    assert float(line.sum()) == pytest.approx(1, abs=1e-12)
    assert torch.equal(line, line.flip(0))
    grad = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = torch.outer(line, line).expand(3, 1, kernel.size, kernel.size)
    assert torch.allclose(kernel(grad), F.conv2d(grad, whole, padding=kernel.size // 2, groups=3), atol=1e-12)
    inner = kernel(torch.ones(1, 1, 32, 32))[..., 8:-8, 8:-8]
    assert torch.allclose(inner, torch.ones_like(inner), atol=1e-6)
    rough, smooth = (g.diff(dim=3).abs().mean() / g.abs().mean() for g in (grad, kernel(grad)))
    assert smooth < 0.8 * rough or kernel.size == 1
    assert torch.equal(kernel(grad[1:2]), kernel(grad)[1:2])


# --- ensembles ---


def test_an_ensemble_of_two_has_the_gradient_of_the_mean_of_their_logits(problem):
    first, images, labels = problem
    second = RowModel(seed=8, size=3 * 8 * 8)
    access = GradientAccess(Ensemble([first, second]))
    found = access.loss_and_grad(images, labels, cross_entropy)
    x = images.clone().requires_grad_()
    mean = (first(x) + second(x)) / 2
    (expected,) = torch.autograd.grad(cross_entropy(mean, labels).sum(), x)
    assert torch.equal(found.logits, mean.detach())
    assert torch.allclose(found.grad, expected, atol=1e-7)
    assert access.gradients == COUNT
    alone = GradientAccess(first).loss_and_grad(images, labels, cross_entropy)
    assert torch.equal(GradientAccess(Ensemble([first])).loss_and_grad(images, labels, cross_entropy).grad, alone.grad)
    mixed = GradientAccess(Ensemble([first, copy.deepcopy(second).double()])).logits(images)  # each in its own type
    assert torch.allclose(mixed, access.logits(images), atol=1e-5)
    weighted = GradientAccess(Ensemble([first, second], weights=[3, 1])).logits(images)
    assert torch.allclose(weighted, 0.75 * first(images) + 0.25 * second(images), atol=1e-6)


def test_images_made_on_two_networks_fool_both_more_often(problem):
    first, images, _ = problem
    second = RowModel(seed=8, size=3 * 8 * 8)
    both_right = first(images).argmax(1) == second(images).argmax(1)
    images, labels = images[both_right], first(images).argmax(1)[both_right]
    fooled = {}
    for name, source in (("one", first), ("two", Ensemble([first, second]))):
        found = TransferPGD(momentum=1.0)(GradientAccess(source), images, labels, Linf(0.06), seed=0).adversarial
        fooled[name] = int((second(found).argmax(1) != labels).sum())
    assert fooled["two"] > fooled["one"]


def test_members_are_in_eval_mode_and_may_write_over_their_input(problem):
    _, images, _ = problem
    drop = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3))

    class Rude(nn.Module):
        def forward(self, x):
            return drop(x.sub_(0.5) if not x.requires_grad else x - 0.5)

    rude = Rude()
    ensemble = Ensemble([rude, drop, lambda x: drop(x) * 0])
    ensemble.train()
    access = GradientAccess(ensemble)
    assert torch.equal(access.logits(images), access.logits(images))
    assert drop.training
    drop.eval()
    expected = (drop(images - 0.5) + drop(images)) / 3
    assert torch.allclose(access.logits(images), expected, atol=1e-6)


@pytest.mark.parametrize("keep", ["last", "highest"])
def test_a_surrogates_images_are_all_attacked_and_only_those_it_got_right_are_successes(keep):
    """On a linear source the optimum is known: also of the images that it gets wrong."""
    weight = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(6))
    images = 0.5 + 0.02 * torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(7))
    model, ball = Linear(weight, 0.0), Linf(0.05)
    labels = model(images).argmax(1)
    labels[[1, 4]] = 1 - labels[[1, 4]]
    away = torch.where(labels == 1, -1.0, 1.0).view(-1, 1, 1, 1)
    best = (images + 0.05 * away * weight.sign()).clamp(0, 1)
    attack = {"steps": 5, "step_size": 0.02, "keep": keep}
    spared, _ = run((model, images, labels), TransferPGD(**attack), ball)
    every, _ = run((model, images, labels), SurrogatePGD(**attack), ball)
    assert torch.allclose(every.adversarial, best, atol=1e-6)
    assert torch.equal(spared.adversarial[[1, 4]], images[[1, 4]])
    assert torch.equal(spared.success, every.success)
    assert every.clean_correct.tolist() == [True, False, True, True, False, True]
    assert not bool(every.success[[1, 4]].any())
    assert every.gradients.tolist() == [5] * 6
