import pytest
import torch

from groundglass.attacks import L2, NES, Linf
from tests.attacks.toy import Linear, RecordedScores, RowModel

SHAPE = (3, 8, 8)
SIZE = 3 * 8 * 8
WEIGHT = torch.randn(SHAPE, generator=torch.Generator().manual_seed(4))
GREY = torch.full((4, *SHAPE), 0.5)
ONES = torch.ones(4, dtype=torch.int64)
# The second class wins by far, and is the label: the loss falls along the weight.
MODEL = Linear(WEIGHT, 100.0)


class Steps(RecordedScores):
    def steps(self, owner, samples):
        """The probes of each step, and the iterates, for one image."""
        probes = self.kept(owner, "loss")
        return probes.view(-1, samples, *probes.shape[1:]), self.kept(owner, "check")


def ran(attack, ball, steps, *, model=MODEL, images=GREY, labels=ONES, seed=3, **options):
    access = Steps(model, per_image=1 + steps * attack.cost())
    return access, attack(access, images, labels, ball, seed=seed, **options)


def cosine(a, b):
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.5])
def test_probes_are_antithetic_and_as_long_as_sigma(sigma):
    access, _ = ran(NES(samples=20, sigma=sigma, loss="margin"), L2(0.5), 1)
    everyone = []
    for owner in range(len(GREY)):
        (probes,), path = access.steps(owner, 20)
        noise = probes - path[0]
        assert torch.allclose(noise[:10], -noise[10:], atol=1e-6)
        lengths = noise.flatten(1).norm(dim=1)
        assert bool(((lengths / sigma - 1).abs() < 0.25).all())
        everyone.append(noise[:10])
    everyone = torch.cat(everyone)
    assert float(everyone.flatten(1).norm(dim=1).mean()) == pytest.approx(sigma, rel=0.03)
    # All different: one image's noise is not another's.
    assert len(everyone.flatten(1).unique(dim=0)) == 40
    assert float(everyone.mean()) == pytest.approx(0, abs=4 * sigma / SIZE**0.5 / everyone.numel() ** 0.5)


def test_every_step_has_noise_of_its_own():
    access, _ = ran(NES(samples=4, loss="margin"), L2(0.5), 3)
    probes, path = access.steps(0, 4)
    noise = probes - path[:3, None]
    assert noise.shape[0] == 3
    assert all(abs(cosine(noise[i, 0], noise[j, 0])) < 0.4 for i in range(3) for j in range(i))


@pytest.mark.parametrize("samples", [2, 10, 50])
def test_the_step_goes_along_the_sum_of_noise_times_difference(samples):
    """Ilyas et al. 2018, algorithm 1: g = sum of u_i (L(x + sigma u_i) - L(x - sigma u_i)), on a linear loss exactly."""
    access, _ = ran(NES(samples=samples, step_size=0.2, loss="margin"), L2(0.5), 1)
    cosines = []
    for owner in range(len(GREY)):
        (probes,), path = access.steps(owner, samples)
        noise = (probes[: samples // 2] - path[0]).flatten(1).double()
        gain = noise @ -WEIGHT.flatten().double()
        expected = (gain[:, None] * noise).sum(0)
        moved = (path[1] - path[0]).flatten().double()
        cosines.append(cosine(moved, -WEIGHT.flatten().double()))
        assert float(moved.norm()) == pytest.approx(0.2, rel=1e-4)
        assert cosine(moved, expected) > 0.999
    # So many random directions see so much of the gradient.
    assert min(cosines) > 0
    assert sum(cosines) / 4 == pytest.approx((samples / 2 / SIZE) ** 0.5, rel=0.5)


def test_an_l_inf_step_has_the_signs_of_the_estimate():
    access, _ = ran(NES(samples=10, step_size=0.02, loss="margin"), Linf(0.1), 1)
    (probes,), path = access.steps(2, 10)
    noise = (probes[:5] - path[0]).flatten(1).double()
    expected = ((noise @ -WEIGHT.flatten().double())[:, None] * noise).sum(0).sign()
    moved = (path[1] - path[0]).flatten()
    assert moved.abs().tolist() == pytest.approx([0.02] * SIZE, abs=1e-6)
    assert float((moved.sign() == expected).float().mean()) > 0.98


def test_l2_comes_near_the_optimum():
    _, result = ran(NES(samples=50, step_size=0.1, loss="margin"), L2(0.5), 40)
    moved = result.adversarial - GREY
    assert min(cosine(m, -WEIGHT) for m in moved) > 0.75
    assert result.norm.tolist() == pytest.approx([0.5] * 4, abs=1e-5)


def test_probes_at_the_border_are_images_and_the_attack_goes_on():
    black = torch.zeros_like(GREY)
    access, result = ran(NES(samples=10, sigma=0.5, step_size=0.02, loss="margin"), Linf(0.1), 5, images=black)
    probes, _ = access.steps(0, 10)
    assert float(probes.min()) == 0
    # The model sees what is left of the pair, half of it; only pixels that rise can help.
    assert 0.3 < float((probes > 0).float().mean()) < 0.7
    assert float((result.adversarial * -WEIGHT).sum()) > 0


def test_the_iterate_of_highest_loss_is_kept():
    model = RowModel(seed=2, size=SIZE)
    images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(1)
    access, result = ran(NES(samples=2, step_size=0.1), L2(0.1), 12, model=model, images=images, labels=labels)
    kept = result.robust.nonzero().squeeze(1).tolist()
    assert kept
    for owner in kept:
        _, path = access.steps(owner, 2)
        losses = torch.nn.functional.cross_entropy(
            model(path), labels[owner].expand(len(path)), reduction="none"
        ).detach()
        best = int(losses.argmax())
        assert best == int(result.iterations[owner])
        assert torch.equal(result.adversarial[owner], path[best])
        assert float(result.loss[owner]) == pytest.approx(float(losses[best]))


def test_every_estimate_is_counted_and_zero_ones_apart():
    class Flat(torch.nn.Module):
        """Constant for the first two images, which are dark."""

        def forward(self, x):
            bright = x.mean((1, 2, 3), keepdim=True) > 0.3
            return MODEL(torch.where(bright, x, 0.5))

    images = torch.cat([torch.full((2, *SHAPE), 0.1), GREY[:2]])
    _, result = ran(NES(samples=4, sigma=0.01, loss="margin"), Linf(0.05), 3, model=Flat(), images=images)
    assert result.gradients.tolist() == [3, 3, 3, 3]
    assert result.zero_gradients.tolist() == [3, 3, 0, 0]
    assert result.zero_gradient_share == 0.5
    assert torch.equal(result.adversarial[:2], images[:2])
    assert (result.loss_queries.tolist(), result.check_queries.tolist()) == ([12] * 4, [4] * 4)
