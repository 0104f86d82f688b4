import pytest

from groundglass.results import RecordStore
from groundglass.studies import adversarial_training
from groundglass.studies.adversarial_training.study import HARDENED, AdversarialTrainingConfig, cells, hardened
from groundglass.studies.engine.cell import key_of
from groundglass.training import TRADES, PGDTraining
from groundglass.training.classifier import FINE_TUNING

from .pictures import pictures
from .tiny import enter, records, results, run, targets

DATA = pictures("shapes", n_train=300, n_test=60)
NETWORKS = {"VGG-16", "VGG-OPU", *HARDENED}


def tiny(data, seed, precision):
    return AdversarialTrainingConfig(
        **targets(data, seed, precision), adversarial=PGDTraining(eps=0.02, steps=2), radii=(0.02,)
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "adversarial-training", tiny, cells, DATA)
        run("adversarial-training", folder)
    return folder


def test_four_networks_are_trained_and_each_is_audited_at_each_radius(finished):
    trained = {r.name: r for r in records(finished, "train")}
    assert set(trained) == NETWORKS
    plain, hard = (trained[name].config["training"] for name in ("VGG-16", "VGG-16 AT"))
    assert "adversarial" not in plain
    assert hard["adversarial"] == {
        "kind": "PGDTraining",
        "eps": 0.02,
        "steps": 2,
        "step_size": None,
        "rule": "bp",
        "fit_images": 2000,
    }
    assert trained["VGG-OPU AT"].config["training"]["adversarial"]["rule"] == "dfa"
    assert all(r.result["clean_accuracy"] > 0.7 for r in trained.values())
    audited = {(r.config["model"], round(r.config["eps"], 4)) for r in records(finished, "audit")}
    assert audited == {(name, eps) for name in NETWORKS for eps in (0.02, 0.025)}


def test_adversarial_training_leaves_other_weights_and_more_robustness(finished):
    at = {(r.config["model"], round(r.config["eps"], 4)): r.result for r in records(finished, "audit")}
    plain, hard = at["VGG-16", 0.02], at["VGG-16 AT", 0.02]
    assert hard["worst"]["count"] >= plain["worst"]["count"]
    assert hard["clean"] != plain["clean"] or hard["attempts"] != plain["attempts"]


def test_the_ordinary_networks_are_those_of_the_other_studies(finished):
    from groundglass.studies import WhiteBoxConfig, white_box

    config = WhiteBoxConfig(**targets("shapes", 0, "float32"), n_images=4)
    shared = {key_of(cell) for cell in white_box.cells(config, DATA) if cell.kind in ("train", "device")}
    here = {r.key for r in RecordStore.read(finished).records}
    assert shared <= here


def test_the_same_seed_gives_the_same_study(finished, tmp_path, monkeypatch):
    enter(monkeypatch, "adversarial-training", tiny, cells, DATA)
    run("adversarial-training", tmp_path / "again")
    assert results(tmp_path / "again") == results(finished)
    assert run("adversarial-training", tmp_path / "again") == 0


def test_in_two_stages_the_features_are_trained_adversarially_under_a_linear_head():
    config = AdversarialTrainingConfig(**targets("shapes", 0, "float32"), classifier=FINE_TUNING)
    baseline, defended = hardened(config, DATA)
    assert baseline.training.adversarial == config.adversarial
    features = next(cell for cell in defended.inputs if cell.kind == "train")
    assert features.name == "VGG-DFA AT"
    assert features.training.adversarial.rule == "bp"
    names = [cell.name for cell in cells(config, DATA) if cell.kind == "train"]
    assert len(names) == len(set(names))


def test_the_rule_and_the_kind_of_training_are_parameters():
    trades = TRADES(eps=0.02, steps=2, beta=1.0)
    config = AdversarialTrainingConfig(**targets("shapes", 0, "float32"), adversarial=trades, hybrid_rule="exact")
    baseline, defended = hardened(config, DATA)
    assert baseline.training.adversarial == trades
    assert defended.training.adversarial == TRADES(eps=0.02, steps=2, beta=1.0, rule="exact")
    assert key_of(baseline) != key_of(hardened(tiny("shapes", 0, "float32"), DATA)[0])
    assert adversarial_training.HARDENED == ("VGG-16 AT", "VGG-OPU AT")
