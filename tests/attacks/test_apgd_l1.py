import pytest
import torch

from groundglass.attacks import APGD, L0, L1, PGD, GradientAccess
from groundglass.attacks.losses import find_loss
from groundglass.core import generator
from tests.attacks.sparse_optima import best_in_l0, best_in_l1
from tests.attacks.toy import Linear, Recorded, attacked, blobs, trained
from tests.attacks.toy import problem as make_problem

RANDOM = torch.Generator().manual_seed(0)
WEIGHT = torch.randn(3, 8, 8, generator=RANDOM)
# One grey image, and some whose pixels have less room to one side.
IMAGES = torch.cat([torch.full((1, 3, 8, 8), 0.5), torch.rand(3, 3, 8, 8, generator=RANDOM)])


def share(attack, ball, best):
    """Of what the best point of the ball loses, what the attack's point loses, for each image."""
    result, _ = attacked(Linear(-WEIGHT, 999.0), IMAGES, torch.ones(4, dtype=torch.int64), attack, ball)
    assert bool(ball.contains(result.adversarial, IMAGES).all())
    optimum = torch.stack([(best(WEIGHT, image, ball.eps) * WEIGHT).sum() for image in IMAGES])
    return ((result.adversarial - IMAGES) * WEIGHT).flatten(1).sum(1) / optimum


@pytest.mark.parametrize(
    ("attack", "least"),
    [
        (APGD(steps=30, loss="margin"), 0.98),
        (APGD(steps=30, loss="margin", random_start=False), 0.98),
        (PGD(steps=20, loss="margin"), 0.97),
        (PGD(steps=20, loss="margin", random_start=True), 0.97),
    ],
    ids=repr,
)
def test_in_l1_the_optimum_of_a_linear_model_is_all_but_reached(attack, least):
    found = share(attack, L1(4.0), best_in_l1)
    assert float(found.min()) > least
    assert float(found.max()) < 1 + 1e-5


def test_in_l0_pgd_comes_near_where_pixels_have_equal_room_and_less_near_elsewhere():
    found = share(PGD(steps=20, loss="margin"), L0(5), best_in_l0)
    assert float(found[0]) > 0.95
    assert float(found.min()) > 0.7


def test_what_fools_in_a_larger_ball_on_the_way_counts_for_nothing():
    """Balls of three, two and one radius, in three, three and four tenths of the steps."""
    images, labels = blobs(60, seed=5)
    recorded, ball = Recorded(trained()), L1(0.3)
    result, _ = attacked(recorded, images, labels, APGD(steps=20, stop_when_fooled=False), ball)
    clean = recorded.asked[0]
    right = clean[trained()(clean).argmax(1) == labels]
    norms = torch.stack([ball.norm(x - right).amax() for x in recorded.asked[2:]]) / ball.eps
    assert norms[:5].tolist() == pytest.approx([3] * 5, rel=1e-3)
    assert norms[5:11].tolist() == pytest.approx([2] * 6, rel=1e-3)
    assert norms[11:].tolist() == pytest.approx([1] * len(norms[11:]), rel=1e-3)
    fooled = trained()(torch.cat(recorded.asked[1:8])).argmax(1) != labels[
        trained()(images).argmax(1) == labels
    ].repeat(7)
    kept = int(result.success.sum())
    assert int(fooled.view(7, -1).any(0).sum()) > kept + 5
    assert bool(ball.contains(result.adversarial, images).all())
    assert torch.equal(trained()(result.adversarial).argmax(1) != labels, result.success | ~result.clean_correct)


def plainly(model, image, label, eps, steps, x, loss):
    """The algorithm for one image: in each ball from the best of the last one, with signs of the largest entries."""
    path, entries = [], image.numel()
    count, sparsity = round(0.2 * entries), entries
    ends = [int(0.3 * steps), int(0.6 * steps), steps]
    for begin, end, wider in zip([0, *ends], ends, (3, 2, 1), strict=False):
        radius = size = wider * eps
        x = L1(radius).project(x, image) if begin else x
        for k in range(end - begin):
            path.append(x)
            at = x.clone().requires_grad_()
            value = loss(model(at), label)
            (grad,) = torch.autograd.grad(value.sum(), at)
            if k == 0 or float(value.detach()) > best[1]:
                best = x, float(value.detach()), grad
            now = int((best[0] != image).sum())
            if k == 0 and begin:
                count, sparsity = max(1, int(now / 1.5)), now
            elif k and k % max(1, int(0.04 * steps)) == 0:
                if now < 0.95 * sparsity:
                    size, x, grad = radius, best[0], best[2]
                else:
                    size = max(size / 1.5, radius / 10)
                count, sparsity = max(1, int(now / 1.5)), now
            signs = torch.zeros(entries)
            chosen = grad.flatten().abs().sort(descending=True).indices[:count]
            signs[chosen] = grad.flatten()[chosen].sign()
            x = L1(radius).project(x + size * (signs / signs.abs().sum().clamp_min(1)).view_as(x), image)
        x = best[0] if begin < end < steps else x
    return torch.cat([*path, x])


@pytest.mark.parametrize("steps", [1, 3, 60])
def test_every_image_goes_the_way_of_the_algorithm(steps):
    model, images, _ = make_problem(8, classes=6)
    model.first.data *= 10  # so that paths bend
    labels, recorded, eps = model(images).argmax(1), Recorded(model), 2.0
    attacked(recorded, images, labels, APGD(steps=steps, stop_when_fooled=False), L1(eps))
    paths = torch.stack(recorded.asked[1:], dim=1)
    for row in range(0, len(images), 3):
        image, label = images[row : row + 1], labels[row : row + 1]
        start = L1(eps).random_start(image, [generator(5, "apgd", row, 0)])
        path = plainly(model, image, label, eps, steps, start, find_loss("ce"))
        assert torch.allclose(paths[row], path, atol=1e-5)


def test_as_strong_as_that_of_autoattack():
    theirs = pytest.importorskip("pyautoattack.autopgd_base")
    images, labels = blobs(200, seed=5)
    right = trained()(images).argmax(1) == labels
    for eps in (0.5, 1.0):
        ours = APGD(steps=40)(GradientAccess(trained()), images, labels, L1(eps), seed=0)
        attack = theirs.APGDAttack(
            trained(), n_iter=40, norm="L1", eps=eps, loss="ce", seed=0, device="cpu", use_largereps=True
        )
        found = attack.perturb(images, labels).detach()
        standing = int((right & (trained()(found).argmax(1) == labels)).sum())
        assert 40 < standing < 190
        assert int(ours.robust.sum()) <= standing + 3
