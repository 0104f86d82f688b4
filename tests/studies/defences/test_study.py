from dataclasses import replace

import pytest

from groundglass.report import build
from groundglass.results.kinds import AUDIT, CERTIFY, CHECK, DEVICE, TRAIN
from groundglass.results.repeats import repeat_of
from groundglass.studies.adversarial_training.study import cells as adversarial_training
from groundglass.studies.defences.report import tables
from groundglass.studies.defences.study import CHECKS, FAMILIES, RECIPES, cells, defences, early
from groundglass.studies.engine.cell import key_of, with_inputs
from groundglass.studies.registry import find_study
from groundglass.training.classifier import FINE_TUNING
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import DATA, MAKERS

pytestmark = pytest.mark.slow

STUDY = "defences"
CONFIG = MAKERS[STUDY]()
EVERY = ("ordinary", "adversarial", "trades", "smoothed")


def attacked(broken, outside):
    """Twelve certificates under attack."""
    return [
        made(CERTIFY, result={"n_images": 13, "attacked": 12, "abstained": 1, "broken": broken, "outside": outside})
    ]


class TestContract(Contract):
    study, stop_at = STUDY, "audit of VGG-OPU smoothed"
    told = ((attacked(0, 12), attacked(1, 12)), (attacked(0, 12), attacked(0, 1)))


def trained(config):
    return {cell.name: cell for cell in cells(config, DATA) if cell.kind == "train"}


def test_each_network_is_trained_under_noise_with_and_without_the_layer_and_audited_in_each_ball(finished):
    networks = {repeat_of(e.name): e for e in finished.entries(TRAIN)}
    assert set(networks) == {(name, n) for name in ("VGG-16 smoothed", "VGG-OPU smoothed") for n in (0, 1)}
    assert {e.config.training["noise"] for e in networks.values()} == {CONFIG.sigma}
    audited = {(*repeat_of(e.config.model), e.config.norm, round(e.config.eps, 4)) for e in finished.entries(AUDIT)}
    assert audited == {(*which, *ball) for which in networks for ball in (("linf", 0.02), ("l2", 0.25))}


def test_certificates_of_all_repeats_are_checked_together(finished):
    certified = {repeat_of(e.config.model): e for e in finished.entries(CERTIFY)}
    assert set(certified) == {(name, n) for name in ("VGG-16 smoothed", "VGG-OPU smoothed") for n in (0, 1)}
    assert {e.inputs for e in finished.entries(CHECK)} == {tuple(e.key for e in certified.values())}
    assert sum(e.result.attacked for e in certified.values()) > 4
    assert all((e.result.frames > 0) == ("OPU" in e.config.model) for e in certified.values())


def test_a_repeat_has_another_device_and_other_weights(finished):
    devices = [e.result.fingerprint for e in finished.entries(DEVICE)]
    assert len(set(devices)) == len(devices) == 2
    of = {repeat_of(e.name): e.result for e in finished.entries(TRAIN)}
    assert [of["VGG-OPU smoothed", n].device.fingerprint for n in (0, 1)] == devices
    assert of["VGG-16 smoothed", 0].epochs[0].loss != of["VGG-16 smoothed", 1].epochs[0].loss


def test_the_page_has_a_row_a_defence_with_what_all_repeats_found(finished, tmp_path):
    table, changes, *_ = tables(finished)
    assert [row.name for row in table.rows] == ["VGG-16 smoothed", "VGG-OPU smoothed"]
    clean = {repeat_of(e.name): e.result.clean for e in finished.entries(TRAIN)}
    assert table.rows[1].values[0].values == tuple(clean["VGG-OPU smoothed", n] for n in (0, 1))
    assert [row.name for row in changes.rows] == ["VGG-OPU smoothed − VGG-16 smoothed"]
    page = build(finished.folder, out=tmp_path, studies=[find_study(STUDY)]).read_text(encoding="utf-8")
    assert "4 images are too few to judge" in page
    assert (tmp_path / "figures" / "defences.svg").exists()


@pytest.mark.parametrize("classifier", [None, FINE_TUNING])
def test_all_families_are_pairs_with_names_of_their_own(classifier):
    config = replace(CONFIG, families=EVERY, classifier=classifier)
    names = [cell.name for cell in cells(config, DATA) if cell.kind == "train"]
    assert len(names) == len(set(names))
    kinds = ("", " AT", " TRADES", " smoothed")
    shown = [cell.name for cell in defences(config, DATA)]
    assert shown == [f"{network}{kind}" for kind in kinds for network in ("VGG-16", "VGG-OPU")]
    # Smoothed networks are trained whole in any case.
    below = {f"VGG-DFA{kind}" for kind in kinds[:3]} if classifier else set()
    assert {name for name in names if repeat_of(name)[1] == 0} == {*shown} | below
    audits = [cell for cell in cells(config, DATA) if cell.kind == "audit"]
    assert len(audits) == len(shown) * 2 * config.repeats


def test_what_is_inside_each_training():
    config = replace(CONFIG, families=EVERY, smoothed_epochs=7)
    found = trained(config)
    inside = {name: cell.training.adversarial for name, cell in found.items()}
    assert inside["VGG-16 AT"] == config.adversarial
    assert inside["VGG-16 TRADES"] == config.trades
    assert inside["VGG-OPU TRADES"] == replace(config.trades, rule="dfa")
    assert inside["VGG-16"] is inside["VGG-16 smoothed"] is None
    noise = {name: (cell.training.noise, cell.training.epochs) for name, cell in found.items()}
    assert noise["VGG-OPU smoothed"] == noise["VGG-16 smoothed repeat 2"] == (config.sigma, 7)
    assert noise["VGG-16"] == (0, config.baseline.epochs)
    assert [cell.name for cell in early(config, DATA)] == ["VGG-16 AT", "VGG-OPU AT", "VGG-16 TRADES", "VGG-OPU TRADES"]


def test_the_networks_of_adversarial_training_are_that_studys():
    other = MAKERS["adversarial-training"]()
    same = {name: getattr(other, name) for name in ("baseline", "hybrid", "adversarial", "epochs")}
    theirs = {key_of(cell) for cell in adversarial_training(other, DATA) if cell.kind in ("train", "device")}
    assert len(theirs) == 5
    assert theirs <= {key_of(cell) for cell in cells(replace(CONFIG, families=EVERY, **same), DATA)}


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_every_stage_of_a_smoothed_network_sees_its_noise(data: str) -> None:
    config = next(one for one in RECIPES if one.name == "laptop").make(data, 0, "float32")
    networks = FAMILIES["smoothed"](config, DATA)
    assert [one.name for one in networks] == ["VGG-16 smoothed", "VGG-OPU smoothed"]
    for cell in with_inputs(networks):
        if cell.kind == "train":
            assert cell.training.noise == config.sigma, cell.name


def certified(attacked, outside, name="VGG-16"):
    result = {"n_images": 20, "attacked": attacked, "abstained": 20 - attacked, "broken": 0, "outside": outside}
    record = made(CERTIFY, result=result)
    return replace(record, config={**record.config, "model": name})


@pytest.mark.parametrize(
    ("counts", "passes"),
    [
        ([(0, 0)], (False, False)),
        ([(4, 1)], (True, True)),
        ([(8, 0)], (True, False)),
        # Each of a few images by itself; fewer together, where that is all there is.
        ([(12, 3), (4, 0)], (True, True)),
        ([(12, 12), (10, 2)], (True, False)),
        ([(8, 0), (8, 4)], (True, True)),
    ],
)
def test_certificates_that_nothing_was_tried_on_pass_no_check(counts, passes):
    records = [certified(*each, name=f"network {k}") for k, each in enumerate(counts)]
    assert tuple(check.find(records).passed for check in CHECKS) == passes
