import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from groundglass.studies.transfer.checks import TRANSFER_CHECKS

from groundglass.attacks import GradientAccess, Linf, load_adversarial
from groundglass.core import DamagedFileError
from groundglass.models import DefendedNetwork
from groundglass.optics import DeviceStore
from groundglass.results import RecordStore
from groundglass.studies import TransferConfig
from groundglass.studies.engine.cell import key_of
from groundglass.studies.transfer.study import cells

from .pictures import pictures
from .tiny import DEVICE_SEED, Stop, enter, network, records, results, run, targets

# Channels of another spread each: radii of the paper's axis are a box, as on CIFAR-100.
DATA = pictures("shapes", std=(0.5, 0.4, 0.5), n_train=300, n_test=60)
EPS = (0.1, 0.5)
ORDINARY = ("VGG-16", "VGG-16 lower", "VGG-DFA", "VGG-DFA lower")
DEFENDED = ("VGG-OPU higher", "VGG-OPU lower")
TARGETS = (*ORDINARY, *DEFENDED)
LABELS = ("PGD", "MI-FGSM", "MI-DI", "MI-DI-TI", "Own VGG-OPU", "Own VGG-DFA", "Ensemble")


def tiny_transfer(data, seed, precision):
    shared = targets(data, seed, precision)
    return TransferConfig(
        **shared,
        lower=replace(shared["hybrid"], epochs=4),
        lower_classifier=replace(shared["hybrid"], epochs=4),
        baseline_lower=replace(shared["baseline"], weight_decay=0.0),
        attacker=shared["hybrid"],
        n_images=40,
        eps_paper=EPS,
        stronger_eps_paper=EPS[1:],
        steps=6,
        step_paper=0.15,
        stronger_steps=4,
        fit_images=60,
    )


def patch_world(patch):
    enter(patch, "transfer", tiny_transfer, cells, DATA)


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    patch_world(monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch_world(patch)
        run("transfer", folder)
    return folder


def test_every_attack_is_tried_on_every_target_and_the_papers_at_every_radius(finished):
    tried = {(r.config["label"], r.config["target"], r.config["eps_paper"]) for r in records(finished, "transfer")}
    wanted = {("PGD", t, e) for t in TARGETS for e in EPS} | {(x, t, EPS[1]) for x in LABELS for t in TARGETS}
    assert tried == wanted
    assert {r.name for r in records(finished, "check")} == set(TRANSFER_CHECKS)
    yardsticks = {(r.config["model"], r.config["rule"]) for r in records(finished, "attack")}
    assert yardsticks == {(t, "bp") for t in ORDINARY} | {
        (t, r) for t in DEFENDED for r in ("bpda-fit-linear", "exact")
    }


def test_curves_start_at_all_right(finished):
    (common,) = records(finished, "common")
    index = torch.from_numpy(RecordStore.read(finished).arrays(common)["index"])
    right = torch.ones(40, dtype=torch.bool)
    for name in (*TARGETS, "VGG-16 source", "VGG-OPU source", "VGG-DFA source"):
        with torch.no_grad():
            right &= network(finished, name)(DATA.test.head(40).floats()).argmax(1) == DATA.test.labels[:40]
    assert torch.equal(index, right.nonzero().squeeze(1))
    assert len(index) > 10


def test_what_is_recorded_is_what_the_networks_answer(finished):
    store = RecordStore.read(finished)
    (common,) = records(finished, "common")
    index = torch.from_numpy(store.arrays(common)["index"])
    images, labels = DATA.test.floats(index), DATA.test.labels[index]
    crafted = {r.key: r for r in records(finished, "craft")}
    source = network(finished, "VGG-16 source")
    fooled_somebody = False
    for record in records(finished, "transfer"):
        made = crafted[record.inputs[0]]
        if made.config["sources"] != ["VGG-16 source"]:
            continue
        found = load_adversarial(finished / made.result["file"], images, labels, GradientAccess(source))
        assert isinstance(found.origin.ball, Linf)
        assert len(found.origin.ball.eps) == 3
        distance = (found.adversarial - images).abs().amax((0, 2, 3))
        assert (distance <= torch.tensor(found.origin.ball.eps) + 1e-6).all()
        with torch.no_grad():
            answer = network(finished, record.config["target"])(found.adversarial).argmax(1)
        assert record.result["correct"] == int((answer == labels).sum())
        assert np.array_equal(store.arrays(record)["prediction"], answer.numpy())
        assert record.result["fooled_source"] == made.result["fooled"] == int(found.claimed.sum())
        assert record.result["also_fooled"] == int((found.claimed & (answer != labels)).sum())
        fooled_somebody |= record.result["also_fooled"] > 0
    assert fooled_somebody


def test_the_attacker_has_networks_and_a_device_of_their_own(finished):
    mine, theirs = network(finished, "VGG-16"), network(finished, "VGG-16 source")
    assert not torch.equal(next(mine.parameters()), next(theirs.parameters()))
    higher, lower, own = (network(finished, f"VGG-OPU {x}") for x in ("higher", "lower", "source"))
    assert isinstance(own, DefendedNetwork)
    assert own.device.fingerprint != higher.device.fingerprint
    assert lower.device.fingerprint == higher.device.fingerprint
    # The two stages: what lies below the device is the feature network's, bit for bit.
    below = network(finished, "VGG-DFA").state_dict()
    above = {k for k in below if "readout" in k}
    assert above
    assert all(torch.equal(v, below[k]) for k, v in higher.state_dict().items() if k not in above)


def test_nothing_is_done_twice_and_an_interruption_changes_nothing(finished, tmp_path):
    assert run("transfer", finished) == 0

    with pytest.raises(KeyboardInterrupt):
        run("transfer", tmp_path / "run", listener=Stop("MI-DI on"))
    assert run("transfer", tmp_path / "run") > 0
    assert results(tmp_path / "run") == results(finished)


def forget(folder, kind):
    """Take the lines of a kind out of the records, as a user may."""
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if json.loads(line).get("kind") != kind))


def test_images_are_audited_when_they_are_used(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    forget(folder, "check")
    forget(folder, "transfer")
    made = {r.config["label"]: r for r in records(folder, "craft") if r.config["eps_paper"] == EPS[1]}
    one, other = (folder / made[label].result["file"] for label in ("PGD", "MI-FGSM"))
    whole = one.read_bytes()
    one.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match="altered"):
        run("transfer", folder)
    one.write_bytes(other.read_bytes())
    with pytest.raises(ValueError, match="another origin"):
        run("transfer", folder)
    one.unlink()
    with pytest.raises(FileNotFoundError, match=made["PGD"].key):
        run("transfer", folder)
    one.write_bytes(whole)
    assert run("transfer", folder) > 0


def test_no_secret_is_written(finished):
    store = DeviceStore(finished / "devices")
    secrets = {json.loads(store.path(f).read_text())["seed"] for f in store.fingerprints()}
    secrets |= {str(int(s, 16)) for s in secrets} | {str(DEVICE_SEED), f"{DEVICE_SEED:x}"}
    for path in finished.rglob("*"):
        if path.is_file() and path.parent.name != "devices":
            content = path.read_bytes()
            assert not [s for s in secrets if s.encode() in content], path


def test_networks_of_another_folder_are_taken_over(finished, tmp_path):
    class Trained:
        def __init__(self):
            self.names = []

        def note(self, text):
            pass

        def announce(self, text):
            pass

        def finished(self, name, result, seconds):
            self.names.append(name)

    heard = Trained()
    run("transfer", tmp_path / "run", reuse=[finished], listener=heard)
    assert not [name for name in heard.names if name.startswith("VGG-") and "<-" not in name]
    assert {r.key for r in records(tmp_path / "run", "train")} == {r.key for r in records(finished, "train")}


def test_settings_that_make_no_sense_are_refused():
    base = {f: getattr(tiny_transfer("shapes", 0, "float32"), f) for f in TransferConfig.__dataclass_fields__}
    with pytest.raises(ValueError, match="n_images"):
        TransferConfig(**{**base, "n_images": 0})
    with pytest.raises(ValueError, match="normalised"):
        TransferConfig(**{**base, "eps_paper": (8.0,)})
    with pytest.raises(ValueError, match="nothing to compare"):
        TransferConfig(**{**base, "stronger_eps_paper": (0.3,)})


def test_another_seed_is_another_study():
    one, other = (cells(tiny_transfer("shapes", seed, "float32"), DATA) for seed in (0, 1))
    same = {key_of(c) for c in one} & {key_of(c) for c in other}
    assert {c.kind for c in one if key_of(c) in same} == {"device"}
