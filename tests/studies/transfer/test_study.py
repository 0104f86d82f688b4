import shutil

import numpy as np
import pytest
import torch

from groundglass.attacks import GradientAccess, Linf, load_adversarial
from groundglass.core import DamagedFileError
from groundglass.models import DefendedNetwork
from groundglass.results import Run
from groundglass.results.kinds import ATTACK, COMMON, CRAFT, TRANSFER
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import forget, network, pictures, run

pytestmark = pytest.mark.slow

STUDY = "transfer"
# Channels of another spread each: radii of the paper's axis are a box, as on CIFAR-100.
DATA = pictures("shapes", std=(0.5, 0.4, 0.5))
EPS = (0.1, 0.5)
ORDINARY = ("VGG-16", "VGG-16 lower", "VGG-DFA", "VGG-DFA lower")
DEFENDED = ("VGG-OPU higher", "VGG-OPU lower")
TARGETS = (*ORDINARY, *DEFENDED)
LABELS = ("PGD", "MI-FGSM", "MI-DI", "MI-DI-TI", "Own VGG-OPU", "Own VGG-DFA", "Ensemble")


def tried(left, eps=0.1, total=100):
    """Images of the attacker "PGD" that leave so many right on VGG-16."""
    config = {"target": "VGG-16", "label": "PGD", "eps": eps}
    return made(TRANSFER, config, {"n_images": total, "correct": left})


def crafted(fooled, eps=0.1):
    return made(CRAFT, {"label": "PGD", "eps": eps}, {"n_images": 100, "fooled": fooled})


def yardstick(left):
    return made(ATTACK, {"model": "VGG-16", "eps": 0.1}, {"n_images": 100, "correct": left})


TOLD = (
    ([crafted(10, eps=0.05), crafted(85)], [crafted(99, eps=0.05), crafted(80)]),
    ([tried(50), tried(55, eps=0.2)], [tried(50), tried(75, eps=0.2)]),
    ([tried(50), yardstick(55)], [tried(50), yardstick(75)]),
)


class TestContract(Contract):
    study, stop_at = STUDY, "MI-DI on"
    told = TOLD
    refused = (({"stronger_eps_paper": (0.3,)}, "nothing to compare"),)


def test_every_attack_is_tried_on_every_target_and_the_papers_at_every_radius(finished):
    tried = {(e.config.label, e.config.target, e.config.eps_paper) for e in finished.entries(TRANSFER)}
    assert tried == {("PGD", t, e) for t in TARGETS for e in EPS} | {(x, t, EPS[1]) for x in LABELS for t in TARGETS}
    yardsticks = {(e.config.model, e.config.rule) for e in finished.entries(ATTACK)}
    rules = {(t, rule) for t in DEFENDED for rule in ("bpda-fit-linear", "exact")}
    assert yardsticks == {(t, "bp") for t in ORDINARY} | rules


def test_curves_start_at_all_right(finished):
    (common,) = finished.entries(COMMON)
    index = torch.from_numpy(common.arrays()["index"])
    right = torch.ones(40, dtype=torch.bool)
    for name in (*TARGETS, "VGG-16 source", "VGG-OPU source", "VGG-DFA source"):
        with torch.no_grad():
            right &= network(finished.folder, name)(DATA.test.head(40).floats()).argmax(1) == DATA.test.labels[:40]
    assert torch.equal(index, right.nonzero().squeeze(1))
    assert len(index) > 10


def test_what_is_recorded_is_what_the_networks_answer(finished):
    (common,) = finished.entries(COMMON)
    index = torch.from_numpy(common.arrays()["index"])
    images, labels = DATA.test.floats(index), DATA.test.labels[index]
    crafted = {e.key: e for e in finished.entries(CRAFT) if e.config.sources == ("VGG-16 source",)}
    source, fooled = network(finished.folder, "VGG-16 source"), 0
    for entry in finished.entries(TRANSFER):
        if entry.inputs[0] not in crafted:
            continue
        made_on = crafted[entry.inputs[0]].result
        found = load_adversarial(finished.folder / made_on.file, images, labels, GradientAccess(source))
        assert isinstance(found.origin.ball, Linf)
        assert len(found.origin.ball.eps) == 3
        distance = (found.adversarial - images).abs().amax((0, 2, 3))
        assert (distance <= torch.tensor(found.origin.ball.eps) + 1e-6).all()
        with torch.no_grad():
            answer = network(finished.folder, entry.config.target)(found.adversarial).argmax(1)
        assert entry.result.correct == int((answer == labels).sum())
        assert np.array_equal(entry.arrays()["prediction"], answer.numpy())
        assert entry.result.fooled_source == made_on.fooled == int(found.claimed.sum())
        assert entry.result.also_fooled == int((found.claimed & (answer != labels)).sum())
        fooled += entry.result.also_fooled
    assert fooled


def test_the_attacker_has_networks_and_a_device_of_their_own(finished):
    mine, theirs = (network(finished.folder, name) for name in ("VGG-16", "VGG-16 source"))
    assert not torch.equal(next(mine.parameters()), next(theirs.parameters()))
    higher, lower, own = (network(finished.folder, f"VGG-OPU {x}") for x in ("higher", "lower", "source"))
    assert isinstance(own, DefendedNetwork)
    assert own.device.fingerprint != higher.device.fingerprint == lower.device.fingerprint
    # The two stages: what lies below the device is the feature network's, bit for bit.
    below = network(finished.folder, "VGG-DFA").state_dict()
    above = {key for key in below if "readout" in key}
    assert above
    weights = {key: v for key, v in higher.state_dict().items() if not key.endswith("_extra_state")}
    assert all(torch.equal(v, below[k]) for k, v in weights.items() if k not in above)


def test_images_are_audited_when_they_are_used(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    forget(folder, lambda record: record.kind not in ("check", "transfer"))
    crafted = {e.config.label: e for e in Run.open(folder).entries(CRAFT) if e.config.eps_paper == EPS[1]}
    one, other = (folder / crafted[label].result.file for label in ("PGD", "MI-FGSM"))
    whole = one.read_bytes()
    one.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match="altered"):
        run(STUDY, folder)
    one.write_bytes(other.read_bytes())
    with pytest.raises(DamagedFileError, match="is not the file that the record"):
        run(STUDY, folder)
    one.unlink()
    with pytest.raises(FileNotFoundError, match=crafted["PGD"].key):
        run(STUDY, folder)
    one.write_bytes(whole)
    assert run(STUDY, folder) > 0
