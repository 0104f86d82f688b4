import shutil

import numpy as np
import pytest

from groundglass.core import DamagedFileError
from groundglass.results import OtherStudyError, Run
from groundglass.results.kinds import ATTACK, CHECK
from groundglass.studies import run_study
from groundglass.studies.cells import network as network_module
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import Listener, forget, run

STUDY = "white-box"
RULES = {"dfa", "dfa-fresh", "fa", "bpda-drawn", "bpda-fit-linear", "bpda-fit-network", "exact"}


def attack(correct, total=100, *, rule="dfa", clean=100, model="VGG-OPU", eps=0.1, **config):
    """An attack that leaves so many images right."""
    zero, withdrawn = config.pop("zero", 0.0), config.pop("withdrawn", 0)
    config = {"attack": "PGD", "norm": "linf", "purpose": "figure", "n_images": total, **config}
    return made(
        ATTACK,
        {"model": model, "rule": rule, "eps": eps, **config},
        {
            "n_images": total,
            "correct": correct,
            "clean_correct": clean,
            "robust_accuracy": correct / total,
            "zero_gradient_share": zero,
            "unconfirmed": withdrawn,
        },
    )


CONTROL = {"purpose": "control"}
TOLD = (
    ([attack(5, eps=1.0, **CONTROL)], [attack(6, eps=1.0, **CONTROL)]),
    ([attack(50), attack(52, eps=0.2)], [attack(50), attack(53, eps=0.2)]),
    ([attack(50), attack(48, attack="FGSM", **CONTROL)], [attack(50), attack(47, attack="FGSM", **CONTROL)]),
    (
        [attack(50), attack(48, rule="none", attack="RandomNoise", **CONTROL)],
        [attack(50), attack(47, rule="none", attack="RandomNoise", **CONTROL)],
    ),
    ([attack(50), attack(45, rule="exact")], [attack(50), attack(44, rule="exact")]),
    ([attack(50, zero=0.01)], [attack(50, zero=0.02)]),
    ([attack(1, withdrawn=1)], [attack(50, withdrawn=1)]),
)


class TestContract(Contract):
    # Networks are trained, audited and attacked again, in two processes; queries and draws follow in one.
    study, stop_at, reuses, audits_again, jobs = STUDY, "VGG-OPU <- own-head", False, True, 2
    told = TOLD
    refused = (({"rules": ("dfaa",)}, "did you mean 'dfa'"),)


def test_every_rule_has_a_curve(finished):
    attacks = finished.entries(ATTACK)
    figure = {(e.config.model, e.config.rule, e.config.norm) for e in attacks if e.config.purpose == "figure"}
    pairs = [("VGG-16", "bp"), *(("VGG-OPU", rule) for rule in RULES)]
    below = {("VGG-OPU", rule, "linf") for rule in ("own-head", "bit-flip")}
    assert figure == {(*pair, norm) for pair in pairs for norm in ("linf", "l2")} | below
    assert {e.config.eps_paper: e.config.eps for e in attacks if e.config.eps_paper} == {0.02: 0.01, 0.2: 0.1}


def test_records_agree_with_their_arrays(finished):
    for entry in finished.entries(ATTACK):
        config, result, arrays = entry.config, entry.result, entry.arrays()
        right = arrays["clean_correct"] & ~arrays["success"]
        assert (result.robust_accuracy, result.correct) == (right.mean(), right.sum())
        assert not (arrays["success"] & ~arrays["clean_correct"]).any()
        bound = config.eps + 1e-5
        if config.attack != "CW":
            assert (arrays["norm"] <= bound).all()
        if config.gallery:
            moved = np.abs(arrays["adversarial"] - arrays["original"]).reshape(2, -1)
            size = moved.max(1) if config.norm == "linf" else np.linalg.norm(moved, axis=1)
            assert (size <= bound).all()
            assert arrays["adversarial"].min() >= 0
            assert arrays["adversarial"].max() <= 1


def test_a_changed_study_is_refused_with_the_difference(finished):
    with pytest.raises(OtherStudyError, match="seed"):
        run(STUDY, finished.folder, seed=1)
    with pytest.raises(OtherStudyError, match='"dense" -> "structured"'):
        run(STUDY, finished.folder, device_kind="structured")
    with pytest.raises(OtherStudyError, match="study"):
        run_study("black-box", "quick", finished.folder)
    before = (finished.folder / "study.json").read_bytes()
    with pytest.raises(
        OtherStudyError, match=r"by which VGG-16 would be made anew .*\n  config.baseline.epochs: 2 -> 9"
    ):
        run(STUDY, finished.folder, changes=["baseline.epochs=9"])
    assert (finished.folder / "study.json").read_bytes() == before


def test_a_network_that_is_half_trained_is_not_begun_with_other_settings(finished, tmp_path):
    folder = tmp_path / "begun"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(finished.folder / "study.json", folder)
    (folder / "checkpoints/vgg-16.safetensors").touch()
    with pytest.raises(OtherStudyError, match="VGG-16 would be made anew"):
        run(STUDY, folder, changes=["baseline.epochs=9"])


def test_a_radius_more_costs_its_own_attacks_alone(finished, tmp_path, monkeypatch):
    folder = tmp_path / "grown"
    shutil.copytree(finished.folder, folder)
    monkeypatch.setattr(network_module, "train", lambda *a, **k: pytest.fail("trained again"))
    heard = Listener()
    run(STUDY, folder, changes=["eps_paper+=0.1"], listener=heard)
    found = Run.open(folder)
    new = {record.key for record in found.records} - {record.key for record in finished.records}
    assert len(new) == len(heard.names)
    assert {found.record(key).kind for key in new} == {"attack", "check"}
    attacks = found.attacks.loc[[key for key in new if found.record(key).kind == "attack"]]
    assert attacks.radius_paper.tolist() == [0.1] * (1 + len(RULES))
    assert set(attacks.rule) == {"bp", *RULES}
    (grown,) = found.manifest["grown"]
    assert grown["settings"] == ["eps_paper: [0.02, 0.2] -> [0.02, 0.2, 0.1]"]
    # The checks are of all attacks: theirs are made again, and the earlier ones are not shown.
    assert (grown["new"], grown["left"]) == (len(new), len(finished.entries(CHECK)))
    assert [one.config.check for one in found.entries(CHECK)] == [one.config.check for one in finished.entries(CHECK)]


@pytest.fixture
def networks_alone(finished, tmp_path):
    """A copy of the run as it was before its first attack."""
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder)
    forget(folder, lambda record: record.kind in ("device", "train"))
    return folder


def test_a_missing_device_file_is_named(finished, networks_alone):
    shutil.rmtree(networks_alone / "devices")
    with pytest.raises(FileNotFoundError, match=finished.frame("devices").fingerprint.item()):
        run(STUDY, networks_alone)


def test_an_altered_model_is_refused(networks_alone):
    path = networks_alone / "models" / "vgg-16.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DamagedFileError, match="altered"):
        run(STUDY, networks_alone)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["n_images=8"], "`ladder.n_images`"),
        (["eps_paper=[0.02]"], "`ladder.eps_paper`"),
        (['rules=["fa"]'], "`ladder.draw_rules`"),
    ],
)
def test_a_change_that_the_ladder_must_follow_names_what_to_set(world, changes, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        run_study(STUDY, "tiny", tmp_path, data="shapes", changes=changes)
