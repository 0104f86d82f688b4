"""Attackers with the weights below the layer alone: they find the known optimum, and ask the deployed network nothing."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from groundglass.adaptive import RULES, STAND_INS, BitFlip, OwnHead, StandInAccess, make_rule, stand_in, unasked
from groundglass.adaptive.attackers import attacker
from groundglass.attacks import APGD, FGSM, L2, PGD, Linf, RandomNoise, TransferPGD
from groundglass.attacks.losses import cross_entropy
from groundglass.data import ImageSet
from groundglass.models import DefendedNetwork, defend
from groundglass.optics import SimulatedOPU
from groundglass.optics.layer import encode
from tests.attacks.toy import assert_same

N, M, CLASSES = 24, 60, 3
CLIMB = PGD(steps=10, step_size=None, keep="last", stop_when_fooled=False)
BALLS = (Linf(0.02), Linf((0.01, 0.02, 0.03)), L2(1.0))


class Device:
    """A device that counts its frames."""

    def __init__(self) -> None:
        self._device = SimulatedOPU.create(N, M, seed=1)
        self.in_features, self.out_features = N, M
        self.fingerprint, self.mean_reading = self._device.fingerprint, self._device.mean_reading
        self.frames = 0

    def measure(self, bits):
        self.frames += len(bits)
        return self._device.measure(bits)


def natural(count: int, seed: int) -> ImageSet:
    """Three pictures of big squares, each under noise."""
    squares = torch.rand(CLASSES, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=g)
    clean = squares.repeat_interleave(8, 2).repeat_interleave(8, 3)[labels]
    pixels = 225 * (0.9 * clean + 0.1 * torch.rand(count, 3, 32, 32, generator=g))
    return ImageSet("squares", "train", pixels.to(torch.uint8), labels, ("a", "b", "c"))


def network(device=None, encoding=None) -> DefendedNetwork:
    torch.manual_seed(0)
    body = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, CLASSES))
    made = defend(body, at="4", device=device, hidden=N, encoding=encoding, seed=0).eval().requires_grad_(False)
    with torch.no_grad():
        norm = made.block.project[1]
        found = made.block.project[0](body[:4](natural(200, 9).floats()))
        norm.running_mean.copy_(found.mean(0))
        norm.running_var.copy_(found.var(0))
    return made


@pytest.fixture
def problem():
    images = natural(20, 3)
    defended = network(Device())
    with torch.no_grad():
        labels = defended(images.floats()).argmax(1)  # the network is right on all
    return defended, images.floats(), labels


def made(name: str, defended: DefendedNetwork) -> OwnHead | BitFlip:
    return stand_in(name, defended, labelled=natural(200, 5), seed=0)


def bits(defended, images):
    features = defended.features(images)
    return features > features.mean(1, keepdim=True)


@pytest.mark.parametrize("ball", BALLS, ids=repr)
@pytest.mark.parametrize("name", STAND_INS)
def test_the_deployed_network_is_asked_about_the_images_and_about_where_they_end_and_nothing_else(problem, name, ball):
    defended, images, labels = problem
    device = defended.device
    own, before = made(name, defended), device.frames
    assert before == 20  # the labels of the problem
    access = StandInAccess(defended, own)
    result = CLIMB(access, images, labels, ball, seed=0)
    assert device.frames - before == access.rows == access.check_queries == 40
    assert access.gradients == int(result.gradients.sum()) == 200
    assert (result.check_queries == 2).all()
    assert ball.contains(result.adversarial, images).all()
    # The network itself judges.
    assert torch.equal(result.success, defended(result.adversarial).argmax(1) != labels)
    assert (result.adversarial != images).flatten(1).any(1).all()  # fooled or not, each goes to its end


@pytest.mark.parametrize("name", STAND_INS)
def test_an_attack_that_would_ask_on_the_way_is_refused_and_told_what_to_be(problem, name):
    defended, images, labels = problem
    access = StandInAccess(defended, made(name, defended))
    frames = defended.device.frames
    with pytest.raises(ValueError, match=r"use PGD\(.*keep='last', stop_when_fooled=False"):
        PGD()(access, images, labels, Linf(0.1), seed=0)
    for attack in (APGD(), RandomNoise()):
        with pytest.raises(TypeError, match="use PGD, FGSM or TransferPGD"):
            attack(access, images, labels, Linf(0.1), seed=0)
    assert defended.device.frames == frames
    for attack in (FGSM(), TransferPGD(), CLIMB):
        assert unasked(attack) == attack
        assert attack(access, images, labels, Linf(0.1), seed=0).gradients.min() > 0


def test_bits_are_pushed_as_far_as_a_linear_part_allows():
    """Below the layer all is linear, and each bit has pixels of its own: the optimum is to move every pixel against its bit."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(N, CLASSES))
    defended = defend(body, at="1", device=SimulatedOPU.create(N, M, seed=1), in_features=N, seed=0).eval()
    with torch.no_grad():
        defended.block.project[0].weight.copy_(torch.eye(N))
    images = torch.rand(6, 1, 4, 6, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2
    before = bits(defended, images)
    rate = 0.05
    # The threshold is the sample's mean, which a push moves by a share of it: steps see that, as they go.
    result = PGD(steps=20, step_size=None, keep="last", stop_when_fooled=False)(
        StandInAccess(defended, BitFlip(defended)), images, defended(images).argmax(1), Linf(rate), seed=0
    )
    wanted = images - rate * (2 * before.view_as(images).float() - 1)
    assert torch.allclose(result.adversarial, wanted, atol=1e-6)
    above = images.flatten(1) - images.flatten(1).mean(1, keepdim=True)
    shift = (wanted - images).flatten(1).mean(1, keepdim=True)
    flipped = bits(defended, result.adversarial) != before
    assert torch.equal(flipped, (above.abs() < rate + shift * torch.where(before, 1, -1)))
    assert 0.05 < flipped.float().mean() < 0.5


def test_a_feature_that_is_off_still_has_a_direction(problem):
    defended, images, labels = problem
    own = BitFlip(defended)
    x = images.clone().requires_grad_()
    own.value(x, labels, cross_entropy, own.remember(images)).sum().backward()
    below = defended.below(images)
    assert torch.equal(below.relu(), defended.features(images))
    assert (below < 0).any()
    pushed = x.detach() + 1e-3 * x.grad.sign()
    moved = (defended.below(pushed) - below) * own.remember(images)
    assert (moved[below < 0] > 0).float().mean() > 0.7


def test_bits_above_zero_are_pushed_across_zero(problem):
    _, images, _ = problem
    defended = network(Device(), encoding="bits-zero")
    own, below = BitFlip(defended), defended.below(images)
    remembered = own.remember(images)
    assert torch.equal(remembered < 0, defended.features(images) > 0)
    assert torch.allclose(own.value(images, None, None, remembered), torch.tanh(below * remembered).sum(1))


def test_more_bits_flip_than_by_noise_and_labels_are_of_no_consequence(problem):
    defended, images, labels = problem
    before = bits(defended, images)

    def flipped(moved):
        return float((bits(defended, moved) != before).float().mean())

    result = CLIMB(StandInAccess(defended, BitFlip(defended)), images, labels, Linf(0.05), seed=0)
    noise = images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1)).sign()
    assert flipped(result.adversarial) > flipped(noise) + 0.2
    loss = BitFlip(defended)
    remembered = loss.remember(images)
    assert torch.equal(
        loss.value(images, labels, cross_entropy, remembered), loss.value(images, 0 * labels, cross_entropy, remembered)
    )


def test_an_image_is_attacked_alike_in_any_batch_and_beside_any_other(problem):
    defended, images, labels = problem
    whole = CLIMB(StandInAccess(defended, BitFlip(defended)), images, labels, Linf(0.02), seed=0)
    few = CLIMB(StandInAccess(defended, BitFlip(defended)), images[3:8], labels[3:8], Linf(0.02), seed=0, batch_size=2)
    assert torch.allclose(few.adversarial, whole.adversarial[3:8], atol=1e-6)


def test_the_head_is_the_ridge_regression_and_right_where_classes_can_be_told_apart():
    defended, labelled = network(), natural(300, 5)
    head = OwnHead.fit(defended, labelled, labels=200, seed=4)
    fresh = natural(100, 6)
    assert head.n_images == 200
    assert head.held_out_accuracy == 1
    assert (head(fresh.floats()).argmax(1) == fresh.labels).float().mean() > 0.97
    # By the normal equations with an intercept, for one of the ridges.
    every = OwnHead.fit(defended, labelled, labels=300, seed=4)
    features = defended.below(labelled.floats()).double()
    design = torch.cat([features, torch.ones(300, 1, dtype=torch.float64)], 1)
    targets = 10 * nn.functional.one_hot(labelled.labels, CLASSES).double()
    unit = (features - features.mean(0)).square().sum(0).mean()
    apart = []
    for ridge in (0.01, 0.1, 1.0, 10.0):
        penalty = ridge * unit * torch.eye(N + 1, dtype=torch.float64)
        penalty[-1, -1] = 0
        known = design @ torch.linalg.solve(design.T @ design + penalty, design.T @ targets)
        mine = every(labelled.floats()).double() + targets.mean(0)
        apart.append(float((known - mine).abs().max()))
    assert min(apart) < 1e-3
    assert sorted(apart)[1] > 0.05


def test_other_labels_are_another_head_and_the_same_seed_the_same():
    defended, labelled = network(), natural(300, 5)
    heads = [OwnHead.fit(defended, labelled, labels=50, seed=seed).weights for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.allclose(heads[0], heads[2])
    assert OwnHead.fit(defended, labelled, labels=10**6, seed=1).n_images == 300


def test_a_head_on_labels_of_chance_is_right_by_chance():
    drawn = torch.randint(0, CLASSES, (200,), generator=torch.Generator().manual_seed(8))
    assert OwnHead.fit(network(), replace(natural(200, 5), labels=drawn), seed=0).held_out_accuracy < 0.75


def test_what_it_is_not_for_is_refused_before_any_work(problem):
    defended, *_ = problem
    with pytest.raises(ValueError, match="use 'own-head'"):
        stand_in("bit-flip", network(encoding="float"), seed=0)
    with pytest.raises(ValueError, match=r"give labelled=dataset\.train"):
        stand_in("own-head", defended, seed=0)
    with pytest.raises(ValueError, match="two classes or more"):
        OwnHead.fit(defended, natural(200, 5), labels=1, seed=0)
    with pytest.raises(ValueError, match="not a stand-in"):
        stand_in("fa", defended, seed=0)
    for name in STAND_INS:
        assert name in RULES
        assert attacker(name).needs == "lower weights"
        with pytest.raises(ValueError, match="StandInAccess"):
            make_rule(name, defended, seed=0)


def test_a_head_of_floats_and_one_of_bits_without_a_device_can_be_attacked(problem):
    _, images, _ = problem
    known = natural(200, 9)
    for encoding, names in (("float", ("own-head",)), ("bits", STAND_INS)):
        defended = network(encoding=encoding)
        entering = encode(defended.features(known.floats()), encoding)
        with torch.no_grad():
            # A ridge: the bits of three pictures are of low rank, and a plain fit to them depends on rounding.
            targets, gram = nn.functional.one_hot(known.labels, CLASSES).float(), entering.T @ entering
            fitted = torch.linalg.solve(gram + torch.eye(N), entering.T @ targets)
            defended.block.readout.weight.copy_(fitted.T)
        labels = defended(images).argmax(1)
        for name in names:
            found = CLIMB(StandInAccess(defended, made(name, defended)), images, labels, Linf(0.3), seed=0)
            assert found.robust_accuracy < 0.5


def test_the_network_may_be_in_train_mode_and_stays_in_it(problem):
    defended, images, labels = problem
    wanted = CLIMB(StandInAccess(defended, BitFlip(defended)), images, labels, Linf(0.02), seed=0)
    defended.train()
    statistics = defended.block.project[1].running_mean.clone()
    assert_same(wanted, CLIMB(StandInAccess(defended, BitFlip(defended)), images, labels, Linf(0.02), seed=0))
    assert made("own-head", defended).held_out_accuracy == 1
    assert defended.block.training
    assert torch.equal(statistics, defended.block.project[1].running_mean)


def test_an_interrupted_attack_goes_on_and_not_with_another_head(problem, tmp_path, monkeypatch):
    from groundglass.attacks import checkpoint

    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN_SAVES", -1.0)
    defended, images, labels = problem
    own, path = made("own-head", defended), tmp_path / "attack.safetensors"
    wanted = CLIMB(StandInAccess(defended, own), images, labels, Linf(0.02), seed=0)
    access = StandInAccess(defended, own)
    climb, left = access.climb, iter(range(4))

    def mortal(*given):
        next(left)
        return climb(*given)

    access.climb = mortal
    with pytest.raises(StopIteration):
        CLIMB(access, images, labels, Linf(0.02), seed=0, checkpoint=path)
    assert_same(wanted, CLIMB(StandInAccess(defended, own), images, labels, Linf(0.02), seed=0, checkpoint=path))
    other = OwnHead.fit(defended, natural(200, 5), labels=60, seed=9)
    with pytest.raises(ValueError, match="stand_in was"):
        CLIMB(StandInAccess(defended, other), images, labels, Linf(0.02), seed=0, checkpoint=path)


@pytest.mark.parametrize("other", [None, "bit-flip", BitFlip, nn.Identity()], ids=repr)
def test_what_is_no_stand_in_is_refused_when_the_access_is_made(other):
    with pytest.raises(TypeError, match="stand_in"):
        StandInAccess(network(Device()), other)


@pytest.mark.parametrize("name", list(STAND_INS))
@pytest.mark.parametrize("other", [None, nn.Linear(2, 2)], ids=repr)
def test_a_network_without_a_layer_has_nothing_below_it(name, other):
    with pytest.raises(TypeError, match="DefendedNetwork"):
        stand_in(name, other, labelled=natural(20, 5), seed=0)


@pytest.mark.parametrize("seed", ["a", None, 1.5], ids=repr)
def test_a_seed_that_is_none_is_refused_by_name(seed):
    with pytest.raises((TypeError, ValueError), match="`seed`"):
        stand_in("own-head", network(Device()), labelled=natural(20, 5), seed=seed)


def test_of_a_head_with_no_held_out_image_no_accuracy_is_told():
    made = OwnHead.fit(network(Device()), natural(200, 5), labels=9, seed=0)
    assert made.held_out_accuracy is None
    assert "none" in repr(made)
    assert OwnHead.fit(network(Device()), natural(200, 5), labels=10, seed=0).held_out_accuracy in (0.0, 1.0)
