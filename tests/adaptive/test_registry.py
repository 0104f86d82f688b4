import pytest
import torch
from torch import nn

from groundglass.adaptive import RULES, fit_facts, make_rule, observe
from groundglass.attacks import Averaged, DrawnMatrix, Exact, LinearMatrix, Mixture
from groundglass.data import ImageSet
from groundglass.models import DefendedNetwork, defend
from groundglass.optics import Camera, MovingDevice, OpticalDevice, SimulatedOPU, true_matrix

N, M, K, CLASSES = 24, 60, 3, 3


def network(device: OpticalDevice) -> DefendedNetwork:
    body = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    return defend(body, at="4", device=device, seed=0).eval().requires_grad_(False)


@pytest.fixture
def moving() -> MovingDevice:
    return MovingDevice.create(N, M, count=K, seed=1)


@pytest.fixture
def bits():
    return torch.randint(0, 2, (5, N), generator=torch.Generator().manual_seed(2)).float()


@pytest.fixture
def grad():
    return torch.randn(5, M, generator=torch.Generator().manual_seed(3))


def test_exact_of_a_moving_device_is_the_mean_of_the_exact_derivatives(moving, bits, grad):
    rule = make_rule("exact", network(moving), seed=0)
    assert isinstance(rule, Mixture)
    assert (rule.name, rule.site) == ("exact", "readings")
    each = [Exact(true_matrix(device), saturation=255.0).vjp(bits, grad) for device in moving.devices]
    assert torch.allclose(rule.vjp(bits, grad), torch.stack(each).mean(0), rtol=1e-4, atol=1e-2)
    assert not torch.allclose(each[0], each[1], rtol=0.1)


def test_it_is_the_derivative_of_the_expectation(bits):
    """By autograd, through the mean over the matrices of |Ub|^2 and a readout: the logits' expectation."""
    moving = MovingDevice.create(N, M, count=K, seed=1, camera=Camera(bits=None))
    readout = torch.randn(CLASSES, M, generator=torch.Generator().manual_seed(4))
    x = bits.clone().requires_grad_()
    light = [(true_matrix(device) @ x.t().to(torch.complex64)).t().abs().square() for device in moving.devices]
    loss = (torch.stack(light).mean(0) @ readout.t()).logsumexp(1).sum()
    (wanted,) = torch.autograd.grad(loss, x)
    with torch.no_grad():
        logits = torch.stack([device.measure(bits.to(torch.uint8)) for device in moving.devices]).mean(0) @ readout.t()
    found = make_rule("exact", network(moving), seed=0).vjp(bits, logits.softmax(1) @ readout)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-2)


def test_exact_of_one_matrix_is_the_devices_own(bits, grad):
    device = SimulatedOPU.create(N, M, seed=1)
    own = make_rule("exact", network(device), seed=0)
    moving = make_rule("exact", network(MovingDevice([device])), seed=0)
    assert isinstance(own, Exact)
    assert torch.equal(moving.vjp(bits, grad), own.vjp(bits, grad))


def test_a_camera_saturates_where_it_does_and_not_at_eight_bits(grad):
    moving = MovingDevice.create(N, M, count=K, seed=1, camera=Camera(bits=4, saturation=0.3))
    bits = torch.ones(5, N)
    rule = make_rule("exact", network(moving), seed=0)
    wanted = Mixture([Exact(true_matrix(device), saturation=15.0) for device in moving.devices])
    assert torch.equal(rule.vjp(bits, grad), wanted.vjp(bits, grad))
    unclipped = Mixture([Exact(true_matrix(device)) for device in moving.devices])
    assert not torch.allclose(rule.vjp(bits, grad), unclipped.vjp(bits, grad))
    given = make_rule("bpda-retrieved", network(moving), seed=0, matrix=true_matrix(moving.devices[0]))
    assert torch.equal(given.vjp(bits, grad), Exact(true_matrix(moving.devices[0]), saturation=15.0).vjp(bits, grad))


def test_rules_that_need_no_matrix_know_nothing_of_the_moving(moving, bits, grad):
    still = network(moving.devices[0])
    for name, kind in {"fa": LinearMatrix, "bpda-drawn": DrawnMatrix}.items():
        rule = make_rule(name, network(moving), seed=5)
        assert isinstance(rule, kind)
        assert torch.equal(rule.vjp(bits, grad), make_rule(name, still, seed=5).vjp(bits, grad))
    for name in ("dfa", "dfa-fresh"):
        given = grad[:, :CLASSES]
        rule = make_rule(name, network(moving), seed=5)
        assert torch.equal(rule.vjp(bits, given), make_rule(name, still, seed=5).vjp(bits, given))


@pytest.mark.parametrize("name", ["bpda-fit-linear", "bpda-fit-network"])
def test_a_fitted_rule_sees_every_matrix_and_so_less_of_each(moving, name):
    """Under an untuned readout the matrices' logits have little in common, and no fit explains what was drawn."""
    generator = torch.Generator().manual_seed(6)
    blocks = torch.randint(0, 256, (300, 3, 4, 4), generator=generator, dtype=torch.uint8)
    images = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    natural = ImageSet("blocks", "train", images, torch.zeros(300, dtype=torch.int64), ("a",))

    def fitted(device):
        defended = network(device)
        rule = make_rule(name, defended, seed=0, pairs=lambda: observe(defended, natural))
        assert rule.vjp(torch.ones(2, N), torch.ones(2, CLASSES)).shape == (2, N)
        facts = fit_facts(rule)
        assert facts["n_images"] == 300
        return facts["held_out_r2"]

    # Over eight devices .56 to .93 of one matrix's, and -.05 to .19 of four's.
    assert fitted(moving.devices[0]) > 0.5
    assert fitted(moving) < 0.35


def test_every_rule_for_a_device_gives_a_gradient_through_an_average(moving):
    defended = network(moving)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    for name in ("dfa", "dfa-fresh", "fa", "bpda-drawn", "exact"):
        assert name in RULES
        x = images.clone().requires_grad_()
        logits = Averaged(defended.seen_through(make_rule(name, defended, seed=0)), 3)(x)
        (found,) = torch.autograd.grad(logits.logsumexp(1).sum(), x)
        assert found.abs().sum() > 0


def test_what_is_not_for_a_device_is_refused(moving):
    with pytest.raises(ValueError, match="without an optical layer"):
        make_rule("bp", network(moving), seed=0)
    with pytest.raises(ValueError, match="needs a `matrix`"):
        make_rule("exact-blurred", network(moving), seed=0)
