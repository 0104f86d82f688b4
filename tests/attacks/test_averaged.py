import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.attacks import PGD, Averaged, AveragedAccess, GradientAccess, Linf, Mixture, frozen_for_attack
from groundglass.attacks.losses import cross_entropy
from groundglass.models import DefendedNetwork, defend
from groundglass.optics import Camera, MovingDevice, OpticalDevice, RandomFeedback, SimulatedOPU

from .toy import Counting, Linear, RowModel

CLASSES = 3


class Wavering(nn.Module):
    """Two classes told apart by `weight`, to which every row adds a vector of its own: large, and of mean zero.

    Kept in order: a batch that is split gets the same vectors.
    """

    def __init__(self, weight: Tensor, noise: float, seed: int = 0) -> None:
        super().__init__()
        self.weight, self.noise = weight, noise
        self.stream = torch.Generator().manual_seed(seed)

    def forward(self, x: Tensor) -> Tensor:
        drawn = self.weight + self.noise * torch.randn(len(x), *self.weight.shape, generator=self.stream)
        score = ((x - 0.5) * drawn).flatten(1).sum(1)
        return torch.stack([-score, score], dim=1)


def network(device: OpticalDevice) -> DefendedNetwork:
    body = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    return defend(body, at="1", device=device, seed=0).eval().requires_grad_(False)


def images_of(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    x = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(F.cross_entropy(model(x), labels, reduction="sum"), x)
    return found


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(9))


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 1, 0, 1])


def test_it_is_the_gradient_of_the_loss_of_mean_logits(weight: Tensor, labels: Tensor) -> None:
    images = images_of(5)
    x = images.clone().requires_grad_()
    twin = Wavering(weight, 1.0)
    draws = torch.stack([twin(x) for _ in range(6)])
    (by_hand,) = torch.autograd.grad(F.cross_entropy(draws.mean(0), labels, reduction="sum"), x)
    found = gradient(Averaged(Wavering(weight, 1.0), 6), images, labels)
    assert torch.allclose(found, by_hand, atol=1e-6)
    # And that is another thing than the mean of the draws' own gradients.
    twin = Wavering(weight, 1.0)
    each = torch.stack([gradient(twin, images, labels) for _ in range(6)]).mean(0)
    assert not torch.allclose(found, each, atol=1e-2)


@pytest.mark.parametrize("rows", [1, 4, 5, 10, 14, 1000])
def test_how_passes_are_joined_changes_nothing_but_the_number_of_passes(
    weight: Tensor, labels: Tensor, rows: int
) -> None:
    images = images_of(5)
    counted = Counting(Wavering(weight, 1.0))
    found = gradient(Averaged(counted, 7, rows=rows), images, labels)
    assert torch.allclose(found, gradient(Averaged(Wavering(weight, 1.0), 7), images, labels), atol=1e-6)
    assert counted.rows == 35
    assert counted.calls == {1: 7, 4: 7, 5: 7, 10: 4, 14: 4, 1000: 1}[rows]


def test_a_model_without_randomness_is_itself() -> None:
    model, images, labels = RowModel(), images_of(5), torch.tensor([0, 1, 2, 0, 1])
    averaged = Averaged(model, 7, rows=10)
    assert torch.allclose(averaged(images), model(images), atol=1e-6)
    assert torch.allclose(gradient(averaged, images, labels), gradient(model, images, labels), atol=1e-6)
    assert averaged(images[:0]).shape == (0, CLASSES)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MovingDevice.create(16, 200, count=8, seed=1),
        lambda: SimulatedOPU.create(16, 200, seed=1, camera=Camera(read_noise=20.0)),
    ],
    ids=["moving", "read noise"],
)
def test_the_variance_falls_with_samples(make) -> None:
    """Over redraws and over the noise of a camera alike: 16 draws for one, 16 times less."""
    defended = network(make())
    view = defended.seen_through(defended.training_rule())
    images = images_of(1, seed=3)[[0] * 400]

    def spread(samples: int) -> float:
        with torch.no_grad():
            return float(Averaged(view, samples)(images).var(0).sum())

    one = spread(1)
    assert one > 1e-4
    assert one / spread(16) == pytest.approx(16, rel=0.3)


def test_gradients_of_a_view_come_through_its_rule() -> None:
    """The mean logits decide the error, which is the same in every draw; the rule takes it to the images."""
    device = MovingDevice.create(16, 30, count=3, seed=1)
    defended, images, labels = network(device), images_of(4), torch.tensor([0, 1, 2, 0])
    rule = RandomFeedback.fresh(CLASSES, 16, seed=5)

    def place(seed: int) -> None:
        defended.block.optical.device = device.with_draws(seed)

    place(2)
    found = gradient(Averaged(defended.seen_through(rule), 20, rows=9), images, labels)
    place(2)
    with torch.no_grad():
        mean = torch.stack([defended(images) for _ in range(20)]).mean(0)
    error = mean.softmax(1) - F.one_hot(labels, CLASSES)
    x = images.clone().requires_grad_()
    (by_hand,) = torch.autograd.grad(defended.block.features(x.flatten(1)), x, rule.vjp(torch.zeros(4, 16), error))
    assert torch.allclose(found, by_hand, atol=1e-6)


def test_averaging_beats_single_draws(weight: Tensor) -> None:
    """Few steps along gradients that are mostly noise, against the same steps along means of 64."""
    model = Wavering(weight, 2.0)
    images = images_of(200, seed=4)
    labels = Averaged(model, 256)(images).argmax(1)
    attack = PGD(steps=3, step_size=0.04, keep="last", stop_when_fooled=False)

    def stands(attacked: nn.Module) -> float:
        """How often the deployed model, which draws, is right on what the attack leaves."""
        result = attack(GradientAccess(attacked), images, labels, Linf(0.1), seed=0)
        tried = result.clean_correct  # an image that a single draw got wrong was not attacked
        with torch.no_grad():
            right = [(model(result.adversarial).argmax(1) == labels)[tried].float().mean() for _ in range(20)]
        return float(torch.stack(right).mean())

    single = stands(model)
    assert single < 0.6, "the attack by single draws is one"
    assert stands(Averaged(model, 1)) == pytest.approx(single, abs=0.08)
    assert stands(Averaged(model, 64)) < single - 0.12


def test_modes_are_the_models_own_and_an_access_sets_them() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, CLASSES))
    model[1].eval()
    averaged = Averaged(model, 2)
    assert averaged.training
    assert not model[1].training
    assert not Averaged(model.eval(), 2).training
    images = images_of(2)
    model.train()
    access = GradientAccess(averaged)
    assert torch.equal(access.logits(images), access.logits(images))
    assert model[1].training


def test_it_can_be_copied_for_an_attack_and_shares_the_device() -> None:
    device = MovingDevice.create(16, 30, count=3, seed=1)
    defended = network(device)
    averaged = Averaged(defended.seen_through(defended.training_rule()), 4)
    for twin in (copy.deepcopy(averaged), frozen_for_attack(averaged)):
        assert twin.model.defended.device is device
        assert twin(images_of(3)).shape == (3, CLASSES)
    assert averaged.state_dict().keys() == {f"model.{name}" for name in averaged.model.state_dict()}


def test_it_says_what_it_is_and_refuses_what_it_cannot() -> None:
    model = Linear(torch.ones(3, 4, 4), 0.0)
    assert "samples=3, rows=512" in repr(Averaged(model, 3))
    for bad in ({"samples": 0}, {"samples": 2, "rows": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Averaged(model, **bad)


def fixed(factor: float, name: str = "fixed") -> SimpleNamespace:
    """A rule that multiplies by a factor of its own."""
    return SimpleNamespace(site="readings", name=name, vjp=lambda bits, grad: factor * grad)


def test_a_mixture_is_the_mean_of_its_rules() -> None:
    bits, grad = torch.zeros(4, 6), torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    mixture = Mixture([fixed(1, "one"), fixed(2), fixed(6)])
    assert torch.allclose(mixture.vjp(bits, grad), 3 * grad)
    assert (mixture.name, mixture.site) == ("one", "readings")
    assert Mixture([fixed(1)], "other").name == "other"
    assert "3 x" in repr(mixture)
    with pytest.raises(ValueError, match="share one site"):
        Mixture([])
    with pytest.raises(ValueError, match="share one site"):
        Mixture([fixed(1), RandomFeedback(torch.zeros(3, 6))])


def test_the_mean_of_k_answers_has_a_kth_of_the_cameras_variance() -> None:
    model = network(SimulatedOPU.create(16, 200, seed=1, camera=Camera(bits=None, read_noise=20.0)))
    rows = images_of(1).expand(400, -1, -1, -1)
    with torch.no_grad():
        spread = {k: Averaged(model, k)(rows).var(0).mean().item() for k in (1, 4, 16)}
    # 400 draws of each, in three classes: a variance is known to some 5%.
    assert spread[1] / spread[4] == pytest.approx(4, rel=0.3)
    assert spread[1] / spread[16] == pytest.approx(16, rel=0.3)


class Alternating(torch.nn.Module):
    """Two linear classifiers in turn."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        sign = 1.0 if self.calls % 2 else -0.5
        return torch.stack([sign * x.flatten(1).sum(1), 0 * x.flatten(1).sum(1)], 1)


def test_the_mean_of_losses_is_that_of_the_draws_and_never_below_the_loss_of_the_mean():
    x, labels = torch.full((2, 1, 1, 1), 0.7), torch.tensor([0, 1])
    found = AveragedAccess(Alternating(), 4).loss_and_grad(x, labels, cross_entropy)
    z = torch.tensor([[0.7, 0.0], [-0.35, 0.0]], dtype=torch.float64)
    by_hand = [(cross_entropy(z[:1], y[None]) + cross_entropy(z[1:], y[None])) / 2 for y in labels]
    assert found.loss.tolist() == pytest.approx([float(one) for one in by_hand], abs=1e-6)
    # d loss / dx of label 0 is -(1 - p) times the slope, of label 1 p times it.
    p = torch.sigmoid(z[:, 0])
    slope = torch.tensor([1.0, -0.5], dtype=torch.float64)
    assert float(found.grad[0]) == pytest.approx(float((-(1 - p) * slope).mean()), abs=1e-6)
    assert float(found.grad[1]) == pytest.approx(float((p * slope).mean()), abs=1e-6)
    of_mean = GradientAccess(Averaged(Alternating(), 4, rows=2)).loss_and_grad(x, labels, cross_entropy)
    assert torch.allclose(found.logits, of_mean.logits, atol=1e-6)
    assert bool((found.loss > of_mean.loss + 1e-3).all())  # Jensen


def test_for_a_loss_that_is_linear_both_averages_agree():
    def linear(logits, labels):
        return logits[:, 1] - logits[:, 0]

    x, labels = torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0])
    access = AveragedAccess(Alternating(), 6)
    found = access.loss_and_grad(x, labels, linear)
    of_mean = GradientAccess(Averaged(Alternating(), 6, rows=3)).loss_and_grad(x, labels, linear)
    assert torch.allclose(found.loss, of_mean.loss, atol=1e-6)
    assert torch.allclose(found.grad, of_mean.grad, atol=1e-6)
    assert (access.rows, access.gradients) == (18, 18)
    with pytest.raises(ValueError, match="samples"):
        AveragedAccess(Alternating(), 0)
