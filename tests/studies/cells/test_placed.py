"""A device behind frozen convolutions, as the paper's scripts place it: all else is made anew and trained by hybrid DFA."""

from dataclasses import replace

import pytest
import torch

from groundglass.models import load_model
from groundglass.results import Run
from groundglass.results.kinds import TRAIN
from groundglass.studies import kit
from groundglass.studies.engine.cell import key_of, with_inputs
from groundglass.training import Both, Plateau, Steps
from groundglass.training import checkpoint as checkpoints
from tests.studies.tiny import DATA, MAKERS, SIZES, enter, network, run


def paper_like():
    """Small networks with everything that the paper's recipe has."""
    training = kit.paper_training(2, 1e-3, "float32", learning_rate=0.02, batch_size=20)
    training = replace(training, schedule=Both(Steps(at=(1,)), Plateau()))
    settings = {"head": "published-code", "frozen": "convolutions", "hybrid": training, "classifier": training}
    return replace(MAKERS["transfer"](), **settings, hybrid_dropout=0.5)


def placed(config, dataset):
    device = kit.device_cell(config)
    features = kit.hybrid_network(config, dataset, "VGG-DFA")
    bits = kit.placed_network(config, "BIN", features, None)
    return with_inputs([kit.placed_network(config, "VGG-OPU", features, device), bits])


def test_the_convolutions_stay_and_all_else_is_trained_anew(tmp_path, monkeypatch):
    enter(monkeypatch, "transfer", lambda *_: paper_like(), cells=placed)
    assert run("transfer", tmp_path) == 4
    below, opu, bits = (network(tmp_path, name) for name in ("VGG-DFA", "VGG-OPU", "BIN"))
    for own in (opu, bits):
        kept, state = below.network.features.state_dict(), own.network.features.state_dict()
        assert all(torch.equal(kept[name], state[name]) for name in kept), "BatchNorm's statistics too"
        assert not torch.equal(own.block.project[0].weight, below.block.project[0].weight)
        assert not torch.equal(own.feedback, below.feedback)
    n, m = SIZES
    assert (opu.block.readout.in_features, opu.device.out_features) == (m, m)
    assert [type(layer).__name__ for layer in bits.block.above] == ["Linear", "ReLU"]
    assert bits.block.encoding == "bits"
    assert bits.block.above[0].weight.shape == (m, n)
    assert float(opu.block.above.mean) != 0, "measured in training"
    found = {one.name: one for one in Run.open(tmp_path).entries(TRAIN)}
    assert {name: one.config.credit for name, one in found.items()} == dict.fromkeys(found, "hybrid-dfa")
    assert found["VGG-OPU"].config.model["frozen"] == "convolutions"
    assert found["VGG-OPU"].result.features.name == "VGG-DFA"
    # A network that was read is as trainable as any.
    assert all(weight.requires_grad for weight in load_model(tmp_path / "models/bin.safetensors").parameters())


def test_a_classifier_alone_is_another_cell_and_has_its_old_key():
    config = MAKERS["transfer"]()
    cell = placed(config, DATA)[-1]
    assert "frozen" not in cell.described()["model"]
    assert cell.described()["training"]["credit"] == "classifier"
    assert key_of(replace(cell, frozen="convolutions")) != key_of(cell)
    assert "head" not in cell.features.described()["model"]


def hardened(config, dataset):
    """A device behind VGG-16's convolutions, and a new head without one."""
    plain, device = kit.baseline_network(config, dataset), kit.device_cell(config)
    new = kit.placed_network(config, "new head", plain, None, encoding="float")
    return with_inputs([kit.placed_network(config, "ROPUST", plain, device), new])


@pytest.mark.parametrize("head", ["normalised", "published-code"])
def test_a_plain_networks_convolutions_take_a_device(tmp_path, monkeypatch, head):
    tuning = replace(kit.FINE_TUNING, batch_size=20, epochs=12)
    config = replace(MAKERS["transfer"](), classifier=tuning, head=head)
    enter(monkeypatch, "transfer", lambda *_: config, cells=hardened)
    assert run("transfer", tmp_path) == 4
    below, opu, new = (network(tmp_path, name) for name in ("VGG-16", "ROPUST", "new head"))
    for own in (opu, new):
        kept, state = below.features.state_dict(), own.network.features.state_dict()
        assert all(torch.equal(kept[name], state[name]) for name in kept), "BatchNorm's statistics too"
        assert own.block.head == head
    n, m = SIZES
    assert (opu.block.width, opu.device.out_features, opu.block.encoding) == (n, m, "bits")
    assert (new.device, new.block.width, new.block.encoding) == (None, n, "float")
    assert new.block.readout.in_features == (n if head == "normalised" else m)
    found = {one.name: one for one in Run.open(tmp_path).entries(TRAIN)}
    for name in ("ROPUST", "new head"):
        assert found[name].config.credit == "hybrid-dfa"
        assert found[name].config.model["frozen"] == "features"
        assert found[name].result.features.name == "VGG-16"
        # Of 60 images of ten classes. A device under the published head ends at 88 to 100% with five seeds on one processor, all
        # others at 100%.
        least = 0.6 if (name, head) == ("ROPUST", "published-code") else 0.9
        assert found[name].result.clean_accuracy > least
    assert len(list((tmp_path / "models").glob("features-*"))) == 1, "computed once for both"


@pytest.mark.slow
def test_a_killed_fit_of_a_block_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    enter(monkeypatch, "transfer", lambda *_: MAKERS["transfer"](), cells=lambda *asked: hardened(*asked)[:-1])

    class Killed(Exception):
        pass

    def killing(what, done, total, **figures):
        if what == "ROPUST" and 2 * done > total:
            raise Killed

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run("transfer", whole)
    with pytest.raises(Killed):
        run("transfer", killed, progress=killing)
    run("transfer", killed)
    ours, theirs = (network(folder, "ROPUST").state_dict() for folder in (killed, whole))
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)


def test_what_a_plain_network_lacks_must_be_given():
    cell = hardened(MAKERS["transfer"](), DATA)[-1]
    for wrong in ({"spec": None}, {"frozen": "below device"}):
        with pytest.raises(ValueError, match="no head to take over"):
            replace(cell, **wrong)
    assert key_of(replace(cell, spec=replace(cell.spec, dropout=0.1))) != key_of(cell)
