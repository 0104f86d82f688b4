"""Weights as they are found: what torch or safetensors loads is loaded, and what they refuse is refused in a line."""

import pytest
import safetensors.torch
import torch
from torch import nn

from groundglass.models import ModelSpec, build, load_model, save_model
from groundglass.models.weights import load_weights
from groundglass.optics import SimulatedOPU
from groundglass.studies.audit_model import read_network


class Tied(nn.Module):
    """With BatchNorm, and two names of one weight."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))
        self.there, self.back = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.back.weight = self.there.weight

    def forward(self, x):
        return self.back(self.there(self.body(x)))


FACTORY = "from tests.models.test_weights import Tied as tied\n"
ADD = {
    "plain": lambda name: name,
    "data parallel": lambda name: f"module.{name}",
    "compiled": lambda name: f"_orig_mod.{name}",
    "both": lambda name: f"module._orig_mod.{name}",
    "a compiled part": lambda name: name.replace("body.", "body._orig_mod."),
}


def trained():
    torch.manual_seed(3)
    model = Tied()
    for tensor in model.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return model.eval()


@pytest.fixture
def read(tmp_path, monkeypatch):
    (tmp_path / "tied_weights.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)

    def read(path):
        found = read_network("tied_weights:tied", path, None).eval()
        x = torch.rand(5, 12)
        assert torch.equal(found(x), trained()(x))

    return read


@pytest.mark.parametrize("names", ADD)
@pytest.mark.parametrize("counters", [True, False])
def test_names_as_wrappers_leave_them(tmp_path, read, names, counters):
    state = {
        ADD[names](name): value
        for name, value in trained().state_dict().items()
        if counters or "num_batches" not in name
    }
    torch.save(state, tmp_path / "w.pt")
    read(tmp_path / "w.pt")
    alone = {name: value for name, value in state.items() if "back." not in name}  # safetensors keeps tied weights once
    safetensors.torch.save_file(alone, tmp_path / "w.safetensors")
    read(tmp_path / "w.safetensors")


def test_a_file_of_safetensors_save_model(tmp_path, read):
    safetensors.torch.save_model(trained(), str(tmp_path / "w.safetensors"))
    read(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"state": {}}},
        lambda state: {"net": state, "acc": 93.1},
        lambda state: {"model_state_dict": state},
        lambda state: {"state_dict": {"model": state}},
    ],
)
def test_checkpoints_of_others(tmp_path, read, wrap):
    torch.save(wrap(trained().state_dict()), tmp_path / "w.pt")
    read(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: {k: v for k, v in state.items() if k != "body.1.weight"}, "body.1.weight.*another network"),
        (lambda state: {k: v for k, v in state.items() if "weight" not in k}, "and 2 more|another network"),
        (lambda state: {**state, "more.weight": torch.zeros(2)}, "more.weight.*another network"),
        (lambda state: {**state, "body.1.weight": torch.zeros(4, 11)}, "another shape"),
        (lambda state: {f"model.{k}": v for k, v in state.items()}, "another network"),
        (lambda state: {}, "not a state_dict|another network"),
        (lambda state: {"epoch": 3}, "not a state_dict"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, read, change, said):
    torch.save(change(trained().state_dict()), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "w.pt")


def test_a_network_that_was_compiled_is_saved_with_its_device(tmp_path):
    device = SimulatedOPU.create(16, 24, seed=1)
    spec = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=16, device_out=24)
    network = build(spec, device=device, seed=0).eval()
    save_model(tmp_path / "m", torch.compile(network, backend="eager"), spec)
    found = load_model(tmp_path / "m", find_device=lambda fingerprint: device)
    assert torch.equal(found.feedback, network.feedback)


def test_a_b_that_was_destroyed_stays_destroyed():
    device = SimulatedOPU.create(16, 24, seed=1)
    spec = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=16, device_out=24)
    one, other = build(spec, device=device, seed=0), build(spec, device=device, seed=1)
    one.destroy_feedback()
    load_weights(other, {f"module.{name}": value for name, value in one.state_dict().items()}, what="file")
    assert other.feedback is None
