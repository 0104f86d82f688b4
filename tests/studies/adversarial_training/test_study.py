from dataclasses import replace

import pytest

from groundglass.results.kinds import AUDIT, TRAIN
from groundglass.studies.adversarial_training.study import HARDENED, cells, hardened
from groundglass.studies.engine.cell import key_of
from groundglass.studies.white_box.study import cells as white_box_cells
from groundglass.training import TRADES
from groundglass.training.classifier import FINE_TUNING
from tests.studies.contract import Contract
from tests.studies.tiny import DATA, adversarial_training, targets, white_box

pytestmark = pytest.mark.slow
STUDY = "adversarial-training"
NETWORKS = {"VGG-16", "VGG-OPU", *HARDENED}
CONFIG = adversarial_training()


class TestContract(Contract):
    study, stop_at, audits_again = STUDY, "audit of VGG-OPU AT", True


def test_four_networks_are_trained_and_each_is_audited_at_each_radius(finished):
    trained = {e.name: e for e in finished.entries(TRAIN)}
    assert set(trained) == NETWORKS
    settings = {name: entry.config.training.get("adversarial") for name, entry in trained.items()}
    assert settings["VGG-16"] is settings["VGG-OPU"] is None
    wanted = {"kind": "PGDTraining", "eps": 0.02, "steps": 2, "step_size": None, "rule": "bp", "fit_images": 2000}
    assert settings["VGG-16 AT"] == wanted
    assert settings["VGG-OPU AT"] == {**wanted, "rule": "dfa"}
    assert all(e.result.clean_accuracy > 0.7 for e in trained.values())
    audited = {(e.config.model, round(e.config.eps, 4)): e.result for e in finished.entries(AUDIT)}
    assert set(audited) == {(name, eps) for name in NETWORKS for eps in (0.02, 0.025)}
    # Other weights, and no less robust.
    plain, hard = audited["VGG-16", 0.02], audited["VGG-16 AT", 0.02]
    assert hard.worst.count >= plain.worst.count
    assert hard.clean != plain.clean or hard.attempts != plain.attempts


def test_the_ordinary_networks_are_those_of_the_other_studies(finished):
    config = replace(white_box(), **targets())
    shared = {key_of(cell) for cell in white_box_cells(config, DATA) if cell.kind in ("train", "device")}
    assert len(shared) == 3
    assert shared <= {record.key for record in finished.records}


def test_in_two_stages_the_features_are_trained_adversarially_under_a_linear_head():
    config = replace(CONFIG, classifier=FINE_TUNING)
    baseline, defended = hardened(config, DATA)
    assert baseline.training.adversarial == config.adversarial
    features = next(cell for cell in defended.inputs if cell.kind == "train")
    assert features.name == "VGG-DFA AT"
    assert features.training.adversarial.rule == "bp"
    names = [cell.name for cell in cells(config, DATA) if cell.kind == "train"]
    assert len(names) == len(set(names))


def test_the_rule_and_the_kind_of_training_are_parameters():
    trades = TRADES(eps=0.02, steps=2, beta=1.0)
    baseline, defended = hardened(replace(CONFIG, adversarial=trades, hybrid_rule="exact"), DATA)
    assert baseline.training.adversarial == trades
    assert defended.training.adversarial == replace(trades, rule="exact")
    assert key_of(baseline) != key_of(hardened(CONFIG, DATA)[0])
