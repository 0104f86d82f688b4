"""Ensembles in a study: trained on frozen convolutions, saved, audited, and planned."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from groundglass.certify import smooth
from groundglass.models import DefendedEnsemble, predict_logits
from groundglass.optics import DeviceStore
from groundglass.results import Run
from groundglass.results.kinds import AUDIT, TRAIN
from groundglass.studies import kit
from groundglass.studies.audit_model import read_network
from groundglass.studies.cells.ensemble import EnsembleCell
from groundglass.studies.defences.ensembles import DEPTHS, PARTS, ensembles
from groundglass.studies.engine.cell import key_of, with_inputs
from groundglass.studies.engine.estimate import timed
from groundglass.studies.engine.plan import Below, Plan
from groundglass.studies.engine.repeats import repeated
from tests.studies.tiny import DATA, MAKERS, SIZES, enter, network, run

N, M = SIZES


def networks() -> dict[str, EnsembleCell]:
    return {cell.name: cell for cell in ensembles(MAKERS["adversarial-training"](), DATA, 2)}


def cells(config, dataset):
    """Two of them, with an audit each, and attacks by rules of both sites and below the layer."""
    made = [networks()[name] for name in ("3 VGG-OPU, votes", "VGG-OPU at 3 depths")]
    attack = MAKERS["white-box"]()
    (ball,) = kit.on_paper_axis(dataset, 0.2)
    rules = ("exact", "bpda-fit-linear", "own-head")
    attacks = [kit.attack_cell(attack, made[0], rule, attack.attack, **ball) for rule in rules]
    return with_inputs([*made, *attacks, *kit.audits(config, dataset, made)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("ensembles")
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "adversarial-training", cells=cells)
        run("adversarial-training", where)
    return where


def test_it_is_trained_on_convolutions_that_stay_and_its_file_is_read_again(folder):
    below, votes, deep = (network(folder, name) for name in ("VGG-OPU", "3 VGG-OPU, votes", "VGG-OPU at 3 depths"))
    assert isinstance(votes, DefendedEnsemble)
    assert isinstance(deep, DefendedEnsemble)
    assert (votes.votes, deep.votes) == (True, False)
    kept, state = below.network.features.state_dict(), votes.body.features.state_dict()
    assert all(torch.equal(kept[name], state[name]) for name in kept), "BatchNorm's statistics too"
    fingerprints = [one.fingerprint for one in votes.devices]
    assert len(set(fingerprints)) == PARTS
    assert fingerprints[0] == below.device.fingerprint
    assert [one.fingerprint for one in deep.devices] == fingerprints[: len(DEPTHS)]
    assert len({one.block.taken for one in deep.parts}) > 1
    weights = [one.block.project[0].weight for one in votes.parts]
    assert not any(torch.equal(a, b) for a, b in pairwise(weights))
    found = {one.name: one.result for one in Run.open(folder).entries(TRAIN)}
    result = found["3 VGG-OPU, votes"]
    assert result.clean_accuracy > 0.6
    assert (result.parts, result.device.out_features, found["VGG-OPU"].parts) == (PARTS, M, 1)
    assert result.features.name == "VGG-OPU"
    asked = read_network(str(folder / result.checkpoint), None, None)
    x = DATA.test.head(4).floats()
    assert torch.equal(predict_logits(asked, x), predict_logits(votes, x))


def test_it_is_attacked_and_audited_as_a_network_of_one_layer(folder):
    opened = Run.open(folder)
    assert set(opened.attacks["rule"]) == {"exact", "bpda-fit-linear", "own-head"}
    audits = {one.name.split(" (")[0]: one.result for one in opened.entries(AUDIT)}
    for name in ("3 VGG-OPU, votes", "VGG-OPU at 3 depths"):
        found = audits[f"audit of {name}"]
        assert [claim.name for claim in found.claims] == ["dfa-fresh+fa", "own"]


def test_it_is_smoothed(folder):
    found = smooth(network(folder, "3 VGG-OPU, votes"), sigma=0.1).certify(*DATA.test.head(2).take([0, 1]), n0=4, n=10)
    assert found.estimated.sum(1).tolist() == [10, 10]


def test_cells_are_named_once_and_repeated_with_other_devices():
    made = networks()
    assert len(made) == 5
    again = [cell for cell in repeated(made.values(), 3) if isinstance(cell, EnsembleCell)]
    assert len({cell.name for cell in again}) == 3 * len(made)
    assert len({key_of(cell) for cell in again}) == 3 * len(made)
    owners = {one.owner for cell in again for one in cell.devices}
    assert len(owners) == 3 * PARTS
    with pytest.raises(ValueError, match="as many devices"):
        replace(made["3 VGG-OPU, votes"], parts=4)
    robust = made["3 VGG-OPU AT, votes"]
    assert robust.features.name == "VGG-OPU AT"
    assert robust.training.adversarial is None


def test_an_estimate_knows_that_there_are_several_devices():
    made = networks()
    config = MAKERS["adversarial-training"]()
    four, none = (made[name] for name in ("3 VGG-OPU, votes", "3 linear heads, votes"))
    all_cells = with_inputs([four, none, *kit.audits(config, DATA, [four, none, made["3 VGG-OPU AT, votes"]])])
    plan = Plan.of(all_cells)
    below = Below(plan, plan.units[key_of(four)])
    assert (below.device, below.width, below.classes) == (PARTS * N * M, config.width, 10)
    assert below.defended
    assert Below(plan, plan.units[key_of(none)]).device == 0
    by_name = {cell.name: Below(plan, plan.units[key_of(cell)]) for cell in all_cells if cell.kind == "audit"}
    (plain,) = (one for name, one in by_name.items() if "3 VGG-OPU, votes" in name)
    (robust,) = (one for name, one in by_name.items() if "AT, votes" in name)
    assert plain.device == PARTS * N * M
    assert (plain.hardened, robust.hardened) == (False, True)
    times = timed(plan)
    assert times[key_of(four)].seconds > times[key_of(none)].seconds


def test_devices_are_looked_for_by_their_fingerprints(folder, tmp_path):
    path = next((folder / "models").glob("3-vgg-opu-votes*"))
    with pytest.raises((ValueError, FileNotFoundError)):
        read_network(str(path), None, tmp_path)
    store = DeviceStore(folder / "devices")
    assert all(store.find(one.fingerprint) for one in network(folder, "3 VGG-OPU, votes").devices)
