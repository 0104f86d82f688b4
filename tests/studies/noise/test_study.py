import numpy as np
import pytest
import torch

from groundglass.attacks import GradientAccess, load_adversarial
from groundglass.models import DefendedNetwork, predict_logits
from groundglass.optics import true_matrix
from groundglass.results.kinds import ATTACK, COMMON, CRAFT, DISTIL, DRIFT, QUERY, RANDOMISE, RETRIEVE, TRANSFER
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import DATA, network

pytestmark = pytest.mark.slow

STUDY = "noise"
NOISY = "VGG-OPU noise 16"
OWN = "VGG-16 source"


def crafted(fooled):
    return made(CRAFT, {"label": "MI-DI", "sources": (OWN,)}, {"n_images": 100, "right": 80, "fooled": fooled})


class TestContract(Contract):
    # After cells that have used up frames of the noisy camera.
    study, stop_at = STUDY, "mean of 3"
    told = (([crafted(70)], [crafted(60)]),)
    refused = (
        ({"per_input": (3.0,)}, "per_input"),
        ({"attacked": (2.0,)}, "among the noises"),
        ({"answers": (0,)}, "at least 1"),
    )


def test_a_noisy_camera_sees_the_networks_own_matrix(finished):
    (entry,) = finished.entries(RANDOMISE)
    assert (entry.name, entry.config.read_noise, entry.config.same_matrix) == (NOISY, 16, True)
    assert min(entry.result.before, entry.result.untuned, entry.result.clean_accuracy) > 0.8
    plain, noisy = (network(finished.folder, name) for name in ("VGG-OPU", NOISY))
    assert isinstance(plain, DefendedNetwork)
    assert isinstance(noisy, DefendedNetwork)
    assert torch.equal(true_matrix(noisy.device), true_matrix(plain.device))
    assert noisy.device.camera.read_noise == 16
    changed = {key for key, value in plain.state_dict().items() if not torch.equal(value, noisy.state_dict()[key])}
    assert changed == {f"network.head.{name}" for name in ("readout.weight", "readout.bias", "optical._extra_state")}


def test_the_network_is_asked_as_often_as_is_counted(finished):
    asked = {
        (c.model, c.settings["loss"], c.answers, c.rechecks, c.correlation): e
        for e in finished.entries(QUERY)
        for c in [e.config]
    }
    still = {("VGG-OPU", loss, 1, 0, None) for loss in ("margin", "ce")}
    noisy = {(NOISY, "margin", 1, 0, None), (NOISY, "ce", 1, 2, None), *((NOISY, "margin", k, 2, None) for k in (1, 3))}
    assert set(asked) == still | noisy | {("VGG-OPU", "margin", 1, 0, 0.5 * 12 * 40)}
    for (model, _, answers, *_), entry in asked.items():
        assert entry.config.budget == 40
        assert entry.config.confirmations == (3 if model == NOISY else 1)
        arrays = entry.arrays()
        queries = arrays["loss_queries"] + arrays["check_queries"]
        assert (queries % answers == 0).all()
        assert queries.max() <= 40
        assert entry.result.loss_queries + entry.result.check_queries == queries.sum()


def test_attackers_by_gradients_come_to_every_noise(finished):
    tried = {(e.config.model, e.config.rule, e.config.confirmations) for e in finished.entries(ATTACK)}
    assert tried == {("VGG-OPU", rule, 1) for rule in ("dfa", "exact", "exact-blurred")} | {(NOISY, "dfa", 3)}


def test_each_network_is_attacked_from_what_its_own_answers_made_of_the_attackers_network(finished):
    asked = {one.config.target: one for one in finished.entries(DISTIL)}
    assert set(asked) == {"VGG-OPU", NOISY}
    assert {(e.config.answers, e.config.queries, e.config.begin) for e in asked.values()} == {("scores", 40, OWN)}
    tried = {(e.config.target, e.config.made_on, e.config.confirmations) for e in finished.entries(TRANSFER)}
    assert tried == {
        (name, source, votes) for name, votes in (("VGG-OPU", 1), (NOISY, 3)) for source in (OWN, asked[name].name)
    }
    one, other = (network(finished.folder, entry.name).state_dict() for entry in asked.values())
    assert any(not torch.equal(one[key], other[key]) for key in one), "noise changes what is learned"


def test_most_answers_of_a_noisy_camera_decide_whatever_it_saw_before(finished):
    (common,) = finished.entries(COMMON)
    index = torch.from_numpy(common.arrays()["index"])
    images, labels = DATA.test.floats(index), DATA.test.labels[index]
    files = {e.config.made_on: e.result.file for e in finished.entries(CRAFT)}
    for one in finished.entries(TRANSFER):
        source, target = (network(finished.folder, name) for name in (one.config.made_on, one.config.target))
        kept = load_adversarial(finished.folder / files[one.config.made_on], images, labels, GradientAccess(source))
        # A network just loaded has measured nothing.
        right = sum((predict_logits(target, kept.adversarial).argmax(1) == labels).int() for _ in range(3))
        assert one.arrays()["correct"].tolist() == (right >= 2).tolist()


def test_a_classifier_ages_and_is_fitted_again_while_u_drifts(finished):
    alone, fast, slow = finished.entries(DRIFT)
    assert [age for age, _ in alone.result.accuracies] == [0, 0.05, 2, 3]
    assert alone.result.at(0).share == alone.result.before > 0.8
    assert alone.result.at(3).share < alone.result.before - 0.2
    assert (fast.config.times, slow.config.times) == (0.5, 20)
    assert slow.result.at(0).share > 0.8


def test_retrieval_fails_by_as_much_as_u_drifts(finished):
    found = {e.config.correlation and e.config.correlation / e.config.frames: e for e in finished.entries(RETRIEVE)}
    drifting = [one.result.error.median for times, one in sorted(found.items(), key=lambda o: o[0] or np.inf)]
    assert len(drifting) == 3
    assert drifting[0] > 0.8 > drifting[1] > 0.05


@pytest.mark.parametrize("frame", ["drifts", "randomised"])
def test_frames_say_what_their_columns_hold(finished, frame):
    assert set(finished.frame(frame).columns) == set(finished.columns(frame))
