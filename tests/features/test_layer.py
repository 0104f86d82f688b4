"""A device with its encoder, as a module."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from groundglass.core import NonFiniteError
from groundglass.features import BitPlanes, Encoder, OpticalFeatures, Thermometer, Threshold
from groundglass.optics import SimulatedOPU

X = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 2, 3))).float()


def module(encoder: Encoder, seed: int = 0) -> OpticalFeatures:
    fitted = encoder.fit(X.flatten(1))
    return OpticalFeatures(SimulatedOPU.create(fitted.width(6), 20, seed=seed), fitted)


@pytest.mark.parametrize("encoder", [Threshold(), Thermometer(levels=3), BitPlanes(n_bits=3, signed=True)], ids=repr)
def test_the_layer_of_the_bits_mixed(encoder: Encoder) -> None:
    features = module(encoder)
    fitted, device = features.encoder, features.layer.device
    readings = device.measure(fitted.encode(X.flatten(1))).float() / device.mean_reading - 1
    out = features(X.clone().requires_grad_())
    assert out.dtype == torch.float32
    assert not out.requires_grad
    torch.testing.assert_close(out, fitted.mix(readings).float())


def test_a_state_dict_has_the_thresholds_and_no_device() -> None:
    one, two = module(Threshold()), OpticalFeatures(SimulatedOPU.create(6, 20, seed=0), Threshold(torch.zeros(6)))
    assert not torch.equal(one(X), two(X))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one(X), two(X))
    assert sorted(one.state_dict()) == ["layer._extra_state", "learned"]
    with pytest.raises(ValueError, match="not the one"):
        module(Threshold(), seed=1).load_state_dict(one.state_dict())
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(one)


def test_it_stands_in_a_network_that_trains_above_it() -> None:
    features = module(Thermometer(levels=4))
    network = nn.Sequential(features, nn.Linear(20, 2))
    before = features(X)
    network(X).square().sum().backward()
    assert network[1].weight.grad is not None
    assert [name for name, _ in network.named_parameters()] == ["1.weight", "1.bias"]
    assert torch.equal(features(X), before)


def test_what_is_no_input_is_refused() -> None:
    with pytest.raises(TypeError, match="optical device"):
        OpticalFeatures(3, Threshold(0.0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="encoder"):
        OpticalFeatures(SimulatedOPU.create(6, 20, seed=0), Threshold)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fit"):
        OpticalFeatures(SimulatedOPU.create(6, 20, seed=0), Threshold())
    with pytest.raises(NonFiniteError):
        module(Threshold())(X * torch.nan)
    with pytest.raises(ValueError, match="6"):
        module(Threshold())(X[:, :1])
