"""An estimate of a device's derivative, beside the exact one."""

import pickle
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groundglass.attacks import Exact
from groundglass.core import generator, normal, uniform
from groundglass.models import defend
from groundglass.optics import SimulatedOPU, true_matrix
from groundglass.training import EstimatedDerivative

N, M = 64, 256


def network(device=None, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    return defend(plain, at="1", device=device or SimulatedOPU.create(N, M, seed=1), seed=0, **settings)


def cosine(credit, device):
    """Of gradients at the bits, from the same one at the readings."""
    bits = (uniform(200, N, generator=generator(0, "bits")) < 0.5).float()
    grad = normal(200, M, generator=generator(0, "grad"))
    found, true = (rule.vjp(bits, grad) for rule in (credit._rule, Exact(true_matrix(device))))
    return float(F.cosine_similarity(found, true, dim=1).mean())


def test_the_linear_part_of_a_device_has_half_of_its_derivative():
    """Ub is U(mean) + U(rest), two complex Gaussians of one size: the mean derivative has the first alone.

    Of the variance of a reading the linear part is two thirds.
    """
    model = network()
    many, usual = EstimatedDerivative.fit(model, frames=60 * N), EstimatedDerivative.fit(model)
    assert usual.frames == 4 * N
    assert cosine(many, model.device) == pytest.approx(0.5**0.5, abs=0.04)
    assert 0.55 < cosine(usual, model.device) < cosine(many, model.device)
    assert many.held_out_r2 == pytest.approx(2 / 3, abs=0.05)
    assert 0.3 < usual.held_out_r2 < many.held_out_r2
    assert abs(cosine(many, SimulatedOPU.create(N, M, seed=2))) < 0.1


def test_it_changes_nothing_and_keeps_its_secret():
    model = network().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    credit = EstimatedDerivative.fit(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(credit)
    assert not any(isinstance(value, torch.Tensor) for value in vars(credit).values())
    assert "frames=256" in repr(credit)
    loss = F.cross_entropy(credit.logits(model, torch.rand(6, 3, 2, 2)), torch.arange(6) % 3)
    loss.backward()
    assert model.network[1].project[0].weight.grad.abs().sum() > 0


@dataclass
class Lab:
    """A device that is not simulated: nobody has its U."""

    inside: SimulatedOPU
    in_features: int = N
    out_features: int = M
    fingerprint: str = "lab"

    @property
    def mean_reading(self):
        return self.inside.mean_reading

    def measure(self, bits):
        return self.inside.measure(bits)


def test_a_device_that_is_not_simulated_is_measured_as_well():
    inside = SimulatedOPU.create(N, M, seed=1)
    lab, simulated = EstimatedDerivative.fit(network(Lab(inside))), EstimatedDerivative.fit(network(inside))
    assert cosine(lab, inside) == cosine(simulated, inside)


def test_what_it_is_not_for_is_refused():
    images = torch.rand(6, 3, 2, 2)
    linear = network_without()
    with pytest.raises(ValueError, match="no device"):
        EstimatedDerivative.fit(linear)
    with pytest.raises(ValueError, match="floats"):
        EstimatedDerivative.fit(network(encoding="float"))
    for frames in (5, 0, 2.5):
        with pytest.raises(ValueError, match="frames"):
            EstimatedDerivative.fit(network(), frames=frames)
    credit = EstimatedDerivative.fit(network())
    with pytest.raises(ValueError, match="another device"):
        credit.logits(network(SimulatedOPU.create(N, M, seed=2)), images)
    with pytest.raises(ValueError, match="no device"):
        credit.logits(linear, images)
    with pytest.raises(ValueError, match="wrapper"):
        credit.logits(nn.DataParallel(network()), images)


def network_without():
    return defend(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), at="1", device=None, hidden=N, seed=0)
