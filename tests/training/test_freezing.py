"""Early layers that learn no more."""

from dataclasses import replace

import pytest
import torch

from groundglass.models import build
from groundglass.optics import SimulatedOPU
from groundglass.training import CREDITS, BackProp, Freezing, Growing, HybridDFA, make_credit, train

from .conftest import SPEC, same

LATE = Freezing(layers=4, after=0.5)


def network(kind):
    if kind == "bp":
        return build(replace(SPEC, device_in=None, device_out=None), seed=2), BackProp()
    return build(SPEC, device=SimulatedOPU.create(32, 64, seed=1), seed=2), HybridDFA()


@pytest.mark.parametrize("kind", ["bp", "hybrid"])
def test_they_stay_and_the_others_go_on(coloured, config, kind):
    model, credit = network(kind)
    weights, after = [], {}

    def keep(result):
        weights.append({name: one.detach().clone() for name, one in model.named_parameters()})
        after[result.epoch] = [one.requires_grad for one in model.parameters()]

    train(model, coloured, replace(config, epochs=4, freezing=LATE), credit=credit, seed=0, on_epoch=keep)
    still = {name for name in weights[0] if torch.equal(weights[1][name], weights[3][name])}
    convolutions = [name for name in weights[0] if weights[0][name].ndim == 4]
    assert {name for name in still if name in convolutions} == set(convolutions[:4])
    assert len(still) == 12, "with the scales and shifts of four BatchNorms"
    assert not any(torch.equal(weights[0][name], weights[1][name]) for name in convolutions), "before, all learn"
    assert all(all(flags) for flags in after.values()), "and could again"


@pytest.mark.parametrize("name", [name for name in CREDITS if name != "bp"])
def test_every_credit_assignment_goes_past_them_on_images_that_grow(coloured, config, name):
    model, _ = network("hybrid")
    credit = make_credit(name, model, seed=0)
    first = next(one for one in model.parameters() if one.ndim == 4)
    weights = []

    def keep(result):
        weights.append((first.detach().clone(), model.block.readout.weight.detach().clone()))

    late = replace(config, epochs=2, freezing=LATE, growing=Growing(until=0.5), average=1.0, label_smoothing=0.1)
    train(model, coloured, late, credit=credit, seed=0, on_epoch=keep)
    (early, above), (still, on) = weights
    assert torch.equal(early, still)
    assert not torch.equal(above, on)


def test_what_its_owner_froze_stays_frozen(coloured, config):
    model, credit = network("bp")
    first = next(model.parameters()).requires_grad_(False)
    train(model, coloured, replace(config, epochs=2, freezing=LATE), credit=credit, seed=0)
    assert not first.requires_grad


def test_a_network_of_so_few_layers_is_refused(coloured, config):
    model, credit = network("bp")
    with pytest.raises(ValueError, match="layers"):
        train(model, coloured, replace(config, freezing=Freezing(layers=16)), credit=credit, seed=0)
    train(model, coloured, replace(config, epochs=1, freezing=Freezing(layers=15)), credit=credit, seed=0)


def test_it_is_refused_before_it_learns_where_nothing_would_be_left_to_learn(coloured, config):
    model, credit = network("bp")
    for one in list(model.parameters())[8:]:
        one.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="nothing learns"):
        train(model, coloured, replace(config, epochs=2, freezing=LATE), credit=credit, seed=0)
    assert same(model.state_dict(), before)
