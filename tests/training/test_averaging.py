"""Training that ends with an average of the weights."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from groundglass.core import DamagedFileError, read_notes, save_state
from groundglass.core.states import _opened
from groundglass.models import build
from groundglass.optics import Camera, SimulatedOPU
from groundglass.training import BackProp, HybridDFA, PGDTraining, encode_bits, fit_classifier, train
from groundglass.training.averaging import follow, settle
from groundglass.training.checkpoint import Checkpoint

from .conftest import SPEC, Killed, facts, same


def plain():
    return build(replace(SPEC, device_in=None, device_out=None), seed=2)


def test_it_is_the_exponential_average_of_the_steps():
    model, average = nn.Linear(1, 1, bias=False), {}
    values = [float(step % 7) for step in range(200)]
    for step, value in enumerate(values):
        nn.init.constant_(model.weight, value)
        follow(average, model, half_life=5, step=step)
    decay = 0.5 ** (1 / 5)
    weights = [decay ** (len(values) - 1 - step) for step in range(len(values))]
    expected = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert average["weight"].item() == pytest.approx(expected, abs=1e-4)
    assert model.weight.item() == values[-1]


def test_early_on_the_beginning_is_soon_forgotten():
    model, average = nn.Linear(1, 1, bias=False), {}
    for step, value in enumerate([1000.0] + [1.0] * 40):
        nn.init.constant_(model.weight, value)
        follow(average, model, half_life=1000, step=step)
    assert average["weight"].item() < 10  # of a plain average with this half-life 972 are left


def test_batchnorm_gets_the_statistics_of_the_averaged_weights():
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Dropout(0.5)).eval()
    frozen = nn.BatchNorm2d(1).eval()
    outer = nn.Sequential(model, frozen)
    average = {name: torch.full_like(one, 3.0) for name, one in outer.named_parameters()}
    batches = [torch.full((4, 1, 2, 2), float(k)) + torch.randn(4, 1, 2, 2) for k in range(6)]
    settle(outer, average, batches, frozen=[frozen], run=outer)
    inside = model[1]
    assert inside.running_mean.item() == pytest.approx(3 * torch.cat(batches).mean().item(), rel=1e-4)
    within = sum(one.var() for one in batches) / len(batches)
    assert inside.running_var.item() == pytest.approx(9 * within.item(), rel=1e-4)
    assert (inside.momentum, inside.training, model[2].training) == (0.1, False, False)
    assert (frozen.running_mean.item(), frozen.num_batches_tracked.item()) == (0, 0)


@pytest.mark.parametrize("kind", ["bp", "hybrid", "bfloat16"])
def test_a_trained_network_has_the_average_and_predicts(coloured, config, kind):
    if kind == "hybrid":
        model, credit = build(SPEC, device=SimulatedOPU.create(32, 64, seed=1), seed=2), HybridDFA()
    else:
        model, credit = plain(), BackProp()
    config = replace(config, epochs=6, average=1.0, precision="bfloat16" if kind == "bfloat16" else "float32")
    last, seen = {}, []
    for at in (0.0, 1.0):
        fresh = (
            model
            if at
            else build(SPEC, device=SimulatedOPU.create(32, 64, seed=1), seed=2)
            if kind == "hybrid"
            else plain()
        )
        seen.append(facts(train(fresh, coloured, replace(config, average=at), credit=credit, seed=0)))
        last[at] = {name: one.detach().clone() for name, one in fresh.named_parameters()}
    assert seen[0] == seen[1], "training itself is the same"
    assert not same(last[0.0], last[1.0])
    assert not model.training
    assert (model(coloured.floats()).argmax(1) == coloured.labels).float().mean() > 0.9


def test_a_finished_one_that_is_resumed_ends_with_the_same(coloured, config, tmp_path, at_every_step):
    """With noise of the camera in the pass that takes the statistics, killed in it."""

    def fresh():
        return build(SPEC, device=SimulatedOPU.create(32, 64, seed=1, camera=Camera(read_noise=2.0)), seed=2)

    averaged, path = replace(config, epochs=2, average=0.5), tmp_path / "c.safetensors"
    whole, killed, again = fresh(), fresh(), fresh()
    train(whole, coloured, averaged, credit=HybridDFA(), seed=3)

    def die(result):
        if result.epoch == 1:
            raise Killed

    with pytest.raises(Killed):
        train(killed, coloured, averaged, credit=HybridDFA(), seed=3, checkpoint=path, on_epoch=die)
    for _ in range(2):
        train(again, coloured, averaged, credit=HybridDFA(), seed=3, checkpoint=path)
        assert same(again.state_dict(), whole.state_dict())
        assert again.device.frames == whole.device.frames
        again = fresh()


@pytest.mark.parametrize("change", ["missing", "other"])
def test_an_average_that_is_not_the_networks_is_refused(coloured, config, tmp_path, change):
    averaged, path = replace(config, epochs=2, average=0.5), tmp_path / "c.safetensors"
    train(plain(), coloured, averaged, credit=BackProp(), seed=3, checkpoint=path)

    tensors, notes, identity = _opened(path)
    name = next(name for name in tensors if name.startswith("average/"))
    del tensors[name]
    if change == "other":
        tensors[name] = torch.zeros(1)
    save_state(path, tensors, notes, identity)
    with pytest.raises(DamagedFileError):
        train(plain(), coloured, averaged, credit=BackProp(), seed=3, checkpoint=path)


def test_where_it_would_be_wrong_it_is_refused(coloured, config, defended):
    with pytest.raises(ValueError, match="average"):
        replace(config, average=1.0, adversarial=PGDTraining(eps=0.1))
    bits = encode_bits(defended, coloured)
    with pytest.raises(ValueError, match="average"):
        fit_classifier(defended, bits, coloured.labels, config=replace(config, average=1.0), seed=0)


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta")
def test_one_that_goes_on_has_the_average_where_its_weights_are(coloured, config, tmp_path):
    """On a card: an average that stayed in the host's memory could not be moved on."""
    path = tmp_path / "c.safetensors"
    train(plain(), coloured, replace(config, epochs=1, average=0.5), credit=BackProp(), seed=0, checkpoint=path)
    elsewhere, identity = plain().to("meta"), read_notes(path)[1]
    state = Checkpoint(path, elsewhere, torch.optim.SGD(elsewhere.parameters(), 0.1), identity).load()
    assert {one.device.type for one in state.average.values()} == {"meta"}
