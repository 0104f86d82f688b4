"""Attacks for the nearest image: distances that are known, planes that are solved otherwise, and what is asked for them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from groundglass.attacks import FAB, L1, L2, CarliniWagnerL2, DeepFool, Each, Linf, Targeted
from groundglass.attacks.hyperplanes import Metric
from tests.attacks.toy import Counting, Linear, attacked, blobs, trained

SHAPE = (3, 4, 4)
WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
KINDS = {Linf: 0.03, L2: 0.15, L1: 0.4}
DUAL = {Linf: WEIGHT.abs().sum(), L2: WEIGHT.norm(), L1: WEIGHT.abs().max()}
BOUNDARY = FAB(steps=10)


def cases(*attacks):
    return [(attack, kind) for attack in attacks for kind in KINDS if kind in attack.kinds]


# --- the way to a plane ---


def problem(seed, rows=4, entries=12):
    """Images, gradients and rises: within reach for the first rows, out of it for the last."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, 1, 3, entries // 3, generator=g)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = 0.0, 1.0
    grad = torch.randn(x.shape, generator=g)
    grad[:, 0, 1, 1] = 0.0
    up = torch.where(grad > 0, 1 - x, x)
    most = (grad.abs() * up).flatten(1).sum(1)
    return x, grad, most * torch.tensor([0.05, 0.6, 0.95, 1.5]), most


def solved(kind, x, grad, rise):
    """The shortest move by a solver of scipy."""
    x, w = x.flatten().double().numpy(), grad.flatten().double().numpy()
    n = len(x)
    if kind is L2:
        bounds = [(-a, 1 - a) for a in x]
        found = minimize(
            lambda d: d @ d, np.zeros(n), jac=lambda d: 2 * d, bounds=bounds, method="SLSQP",
            constraints={"type": "eq", "fun": lambda d: w @ d - rise, "jac": lambda d: w},
            options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        return float(np.linalg.norm(found.x))
    # Moves up and down apart, each at most `most` in L-inf.
    ends = [(0, 1 - a) for a in x] + [(0, a) for a in x]
    both = np.concatenate([w, -w])[None]
    if kind is L1:
        return linprog(np.ones(2 * n), A_eq=both, b_eq=[rise], bounds=ends).fun
    cost = np.append(np.zeros(2 * n), 1.0)
    below = np.hstack([np.eye(2 * n), -np.ones((2 * n, 1))])
    found = linprog(
        cost, A_ub=below, b_ub=np.zeros(2 * n), A_eq=np.append(both, [[0.0]], 1), b_eq=[rise], bounds=[*ends, (0, 1)]
    )
    return found.fun


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_way_to_a_plane_is_the_shortest(kind, sign):
    x, grad, rise, most = problem(seed=1)
    grad = sign * grad
    delta = Metric(kind(1.0)).to_plane(x, grad, sign * rise)
    assert float((x + delta).min()) >= -1e-6
    assert float((x + delta).max()) <= 1 + 1e-6
    climbed = sign * (grad * delta).flatten(1).sum(1)
    assert torch.allclose(climbed, torch.minimum(rise, most), rtol=1e-4)
    wanted = [solved(kind, a, b, sign * float(c)) for a, b, c in zip(x[:3], grad[:3], rise[:3], strict=True)]
    assert kind(1.0).norm(delta)[:3].tolist() == pytest.approx(wanted, rel=1e-4)
    assert torch.equal(Metric(kind(1.0)).to_plane(x, 0 * grad, rise), torch.zeros_like(x))
    alone = [Metric(kind(1.0)).to_plane(x[i : i + 1], grad[i : i + 1], sign * rise[i : i + 1]) for i in range(4)]
    assert torch.equal(torch.cat(alone), delta)


def test_a_box_that_differs_by_channel_is_crossed_in_all_channels_at_once():
    x, grad = torch.full((1, 3, 2, 2), 0.5), torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    widths = (0.01, 0.02, 0.0)
    metric = Metric(Linf(widths))
    rise = (grad.abs() * torch.tensor(widths).view(3, 1, 1)).flatten(1).sum(1)
    delta = metric.to_plane(x, grad, rise)
    assert torch.allclose(delta, grad.sign() * torch.tensor(widths).view(3, 1, 1), atol=1e-6)
    assert float(metric.length(delta)) == pytest.approx(0.02)
    assert float(metric.dual(grad)) == pytest.approx(float(rise) / 0.02)


# --- distances ---


@pytest.mark.parametrize(("attack", "kind"), cases(BOUNDARY, replace(BOUNDARY, targets=1), DeepFool()))
@pytest.mark.parametrize("side", [-1, 1])
def test_on_a_linear_model_the_distance_is_the_known_one(attack, kind, side):
    distance = KINDS[kind]
    model = Linear(WEIGHT, side * distance * float(DUAL[kind]))
    images = torch.full((3, *SHAPE), 0.5)
    labels = model(images).argmax(1)
    found, _ = attacked(model, images, labels, replace(attack, norm=kind.__name__), None)
    assert bool(found.success.all())
    within = 0.02 if isinstance(attack, DeepFool) else 1e-3
    assert bool((found.norm >= distance * (1 - 1e-5)).all())
    assert bool((found.norm <= distance * (1 + within) * (1 + 1e-5)).all())
    assert torch.allclose(found.norm, kind(1.0).norm(found.adversarial - images))
    for radius, fooled in ((1.021 * distance, True), (0.99 * distance, False)):
        inside, _ = attacked(model, images, labels, attack, kind(radius))
        assert bool(kind(radius).contains(inside.adversarial, images, tolerance=1e-6).all())
        assert inside.success.tolist() == [fooled] * 3
        each, _ = attacked(model, images, labels, attack, Each(kind, [radius, 0.5 * distance, radius]))
        assert each.success.tolist() == [fooled, False, fooled]


@pytest.mark.parametrize(("attack", "kind"), cases(BOUNDARY, DeepFool()))
def test_a_white_image_goes_around_what_it_cannot_do(attack, kind):
    """Only darkening is possible: the nearest image by another solver."""
    images = torch.ones(1, *SHAPE)
    short = 0.3 * float(WEIGHT.clamp_min(0).sum())
    model = Linear(WEIGHT, short - float((0.5 * WEIGHT).sum()))
    found, _ = attacked(model, images, torch.tensor([1]), replace(attack, norm=kind.__name__), None)
    assert bool(found.success.all())
    wanted = solved(kind, images, WEIGHT, -short)
    assert float(found.norm) == pytest.approx(wanted, rel=0.03 if isinstance(attack, DeepFool) else 2e-3)


def test_fab_is_nearer_than_deepfool_and_no_farther_than_carlini_and_wagner():
    images, labels = blobs(20, seed=5)
    found = {
        name: attacked(trained(), images, labels, attack, None)[0]
        for name, attack in {
            "deepfool": DeepFool(norm="L2"),
            "short": FAB(norm="L2", steps=3),
            "long": FAB(norm="L2", steps=8),
            "again": FAB(norm="L2", steps=8, restarts=2),
            "towards": FAB(norm="L2", steps=8, targets=2),
            "wagner": CarliniWagnerL2(steps=25, searches=4, learning_rate=0.03, initial_c=0.1),
        }.items()
    }
    assert all(torch.equal(one.success, found["long"].clean_correct) for one in found.values())
    right = found["long"].success
    mean = {name: float(one.norm[right].mean()) for name, one in found.items()}
    assert mean["again"] <= 1.001 * mean["long"]
    assert mean["long"] < mean["deepfool"]
    assert mean["long"] <= mean["short"]
    assert 0.7 * mean["wagner"] < mean["long"] < 1.01 * mean["wagner"]
    assert mean["towards"] == pytest.approx(mean["long"], rel=0.02)
    # What an image costs: a gradient for every other class and a check a move.
    assert set(found["long"].gradients[right].tolist()) == {8 * 2}
    assert set(found["towards"].gradients[right].tolist()) == {8 * 2}
    assert set(found["again"].gradients[right].tolist()) == {2 * 8 * 2}
    assert set(found["long"].check_queries[right].tolist()) == {1 + 8 + 3}


def test_in_a_ball_the_work_ends_inside_it_and_as_many_fall():
    images, labels = blobs(60, seed=5)
    early, _ = attacked(trained(), images, labels, FAB(steps=8), L2(0.2))
    to_the_end, _ = attacked(trained(), images, labels, FAB(steps=8, stop_when_fooled=False), L2(0.2))
    assert torch.equal(early.success, to_the_end.success)
    assert 0.2 < early.success_rate < 0.9
    assert int(early.gradients.sum()) < int(to_the_end.gradients.sum())
    assert float(to_the_end.norm[early.success].mean()) < float(early.norm[early.success].mean())


@pytest.mark.parametrize("attack", [FAB(steps=6, norm="Linf"), DeepFool(norm="Linf")], ids=repr)
def test_a_target_has_one_boundary(attack):
    images, labels = blobs(30, seed=5)
    target = (trained()(images).argmax(1) + 1) % 3
    labels = trained()(images).argmax(1)
    found, _ = attacked(trained(), images, labels, attack, None, criterion=Targeted(target))
    assert bool(found.success.all())
    assert torch.equal(trained()(found.adversarial).argmax(1), target)
    free, _ = attacked(trained(), images, labels, attack, None)
    assert float(found.norm.mean()) > float(free.norm.mean())
    if isinstance(attack, FAB):
        assert set(found.gradients.tolist()) == {6}
        with pytest.raises(ValueError, match="targets=0"):
            attacked(trained(), images, labels, replace(attack, targets=1), None, criterion=Targeted(target))


def test_deepfool_ends_when_it_is_across_and_looks_at_so_many_classes():
    images, labels = blobs(30, seed=5)
    two, _ = attacked(trained(), images, labels, DeepFool(norm="L2", classes=2), None)
    every, _ = attacked(trained(), images, labels, DeepFool(norm="L2"), None)
    right = two.success
    assert torch.equal(two.gradients[right], two.iterations[right])
    assert torch.equal(every.gradients[right], 2 * every.iterations[right])
    assert int(every.iterations.max()) < 10
    assert float(every.norm[right].mean()) <= float(two.norm[right].mean()) + 1e-3


def test_bounds_scale_the_distances():
    images, labels = blobs(12, seed=5)
    unit = FAB(norm="L2", steps=4)(trained(), images, labels)
    wide = FAB(norm="L2", steps=4)(lambda x: trained()(x / 255), 255 * images, labels, bounds=(0, 255))
    assert wide.norm.tolist() == pytest.approx((255 * unit.norm).tolist(), rel=1e-3)


def test_without_a_ball_a_norm_is_needed_and_with_one_it_must_be_the_same():
    images, labels = blobs(4, seed=5)
    model = Counting(trained())
    for attack, ball, said in (
        (FAB(), None, r"FAB\(norm='Linf'\)"),
        (DeepFool(), None, r"DeepFool\(norm='Linf'\)"),
        (FAB(norm="L2"), Linf(0.1), "leave out `norm`"),
        (DeepFool(), L1(1.0), "Linf and L2"),
        (CarliniWagnerL2(), Linf(0.1), "L2"),
        (FAB(targets=3), Linf(0.1), "at most 2"),
    ):
        with pytest.raises(ValueError, match=said):
            attacked(model, images, labels, attack, ball)
    assert model.rows == 4, "only how many classes there are is asked for"
    for make in (lambda: FAB(norm="L0"), lambda: DeepFool(classes=1), lambda: FAB(backward=1.0), lambda: FAB(bias=2)):
        with pytest.raises((TypeError, ValueError)):
            make()


def test_what_is_printed_without_a_ball_says_how_near_the_images_are():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
    images = torch.tensor([0.6, 0.4, 0.5, 0.5]).view(1, 1, 2, 2)
    found = DeepFool(norm="Linf")(model, images, torch.tensor([0]))
    assert found.norm[0] == pytest.approx(0.1, rel=0.05), "each of two values moves half of their difference"
    assert f"{float(found.norm[0]):.3g} in the median" in repr(found)
    assert "median" not in repr(DeepFool()(model, images, torch.tensor([0]), Linf(0.2)))
