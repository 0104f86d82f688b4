import pytest
import torch

import groundglass as gg
from groundglass.adaptive import stand_in
from groundglass.adaptive.stand_ins import StandInAccess, unasked
from groundglass.certify import flippable_bits, through_device
from groundglass.models.defended import DefendedNetwork
from groundglass.models.predict import predict_logits
from groundglass.optics import MovingDevice
from groundglass.optics.layer import binarise
from tests.certify.test_relaxed import METHODS, anywhere
from tests.certify.toys import curved, defended, images


def bits_of(network: DefendedNetwork, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return binarise(network.features(x)).bool()


@pytest.mark.parametrize("method", METHODS)
def test_a_bit_that_cannot_flip_does_not(method: str) -> None:
    """By random images of the ball, and by the attack that pushes bits across their thresholds."""
    network, x, eps = defended(), images(40), 0.005
    found = flippable_bits(network, x, eps, method=method)
    assert torch.equal(found.bits.bool(), bits_of(network, x))
    assert 0 < int(found.counts.sum()) < 0.6 * found.flippable.numel()
    pushed = gg.PGD(steps=20)
    access = StandInAccess(network, stand_in("bit-flip", network, seed=0))
    crafted = unasked(pushed)(access, x, network(x).argmax(1), gg.Linf(eps), seed=0).adversarial
    flipped = torch.zeros_like(found.flippable)
    for near in [crafted, *(anywhere(x, eps, seed) for seed in range(30))]:
        assert float((near - x).abs().max()) <= eps * 1.0001
        flipped |= bits_of(network, near) != found.bits.bool()
    assert not bool((flipped & ~found.flippable).any())
    if method == "crown":
        assert flipped.sum() > 0.5 * found.counts.sum()


def test_the_form_less_the_mean_is_bounded_as_one() -> None:
    """Where all features rise and fall together no bit flips; bounds of a feature and of the mean, apart, do not show it."""
    network = defended()
    linear = network.block.project[0]
    with torch.no_grad():
        linear.weight.copy_(60 * linear.weight[:1].expand_as(linear.weight).clone())
        norm = network.block.project[1]
        norm.running_mean.fill_(-100)
        norm.running_var.fill_(1)
        norm.weight.fill_(1)
        norm.bias.copy_(torch.arange(12) * 1.0)
    x = images(5)
    assert not bool(flippable_bits(network, x, 0.1, method="crown").flippable.any())
    assert flippable_bits(network, x, 0.1, method="ibp").flippable.float().mean() > 0.5
    moved = network.features(anywhere(x, 0.1, 1)) - network.features(x)
    assert moved.abs().max() > 2


def test_with_the_same_bits_a_prediction_stays_whatever_u_is() -> None:
    network, x = defended(), images(40)
    labels = predict_logits(network, x).argmax(1)
    found = through_device(network, x, labels, 0.003, method="crown")
    same = found.same_bits
    assert 5 < int(same.sum()) < 40
    assert found.frames == 0
    assert torch.equal(found.certified, same)
    other = defended(seed=4)
    other.block.hold(gg.SimulatedOPU.create(12, 40, seed=77))  # another U
    for net in (network, other):
        was = predict_logits(net, x).argmax(1)
        hit = gg.PGD(steps=20)(net, x[same], was[same], gg.Linf(0.003))
        assert not bool(hit.success.any())
        assert torch.equal(predict_logits(net, hit.adversarial).argmax(1), was[same])


def test_what_the_device_is_shown_decides_the_others() -> None:
    network, x, eps = defended(), images(40), 0.01
    labels = predict_logits(network, x).argmax(1)
    found = through_device(network, x, labels, eps, method="crown", enumerate_bits=6)
    few = ~found.same_bits & (found.bits.counts <= 6)
    assert found.frames == int((2 ** found.bits.counts[few]).sum())
    assert 0 < int(found.enumerated.sum()) < int(few.sum())
    assert not bool((found.enumerated & ~few).any())
    for seed in range(30):
        moved = predict_logits(network, anywhere(x, eps, seed)).argmax(1)
        assert torch.equal(moved[found.certified], labels[found.certified])
    wrong = through_device(network, x, (labels + 1) % 3, eps, method="crown", enumerate_bits=6)
    assert not bool(wrong.certified.any())


def test_a_larger_ball_than_certified_is_broken() -> None:
    network, x = defended(), images(40)
    labels = predict_logits(network, x).argmax(1)
    sure = through_device(network, x, labels, 0.003, method="crown").same_bits
    moved = sum(predict_logits(network, anywhere(x[sure], 0.1, seed)).argmax(1) != labels[sure] for seed in range(30))
    assert int((moved > 0).sum()) > 3


def test_what_has_no_bits_of_its_own_is_refused() -> None:
    x = images(2)
    with pytest.raises(TypeError, match="defended"):
        flippable_bits(curved(), x, 0.1)
    batch = gg.defend(curved(), at="3", device=gg.SimulatedOPU.create(12, 40, seed=1), encoding="bits-batch", seed=1)
    with pytest.raises(ValueError, match="batch"):
        flippable_bits(batch, x, 0.1)
    with pytest.raises(ValueError, match="float"):
        flippable_bits(gg.defend(curved(), at="3", device=None, hidden=12, seed=1), x, 0.1)
    noisy = defended(read_noise=2.0)
    with pytest.raises(ValueError, match="noise"):
        through_device(noisy, x, [0, 0], 0.001, enumerate_bits=2)
    assert through_device(noisy, x, [0, 0], 0.0).same_bits.all()
    lots = defended()
    moving = MovingDevice([gg.SimulatedOPU.create(12, 40, seed=seed) for seed in (1, 2)], seed=1)
    lots.block.hold(moving)
    with pytest.raises(ValueError, match="matrices"):
        through_device(lots, x, [0, 0], 0.001, enumerate_bits=2)
    with pytest.raises(ValueError, match="enumerate_bits"):
        through_device(defended(), x, [0, 0], 0.1, enumerate_bits=17)
    assert flippable_bits(defended(), images(0), 0.1).counts.shape == (0,)
    assert through_device(defended(), images(0), [], 0.1).certified.shape == (0,)
