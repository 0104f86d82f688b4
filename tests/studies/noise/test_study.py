import numpy as np
import pytest
import torch

from groundglass.models import DefendedNetwork
from groundglass.optics import true_matrix
from groundglass.results.kinds import ATTACK, DRIFT, QUERY, RANDOMISE, RETRIEVE
from tests.studies.contract import Contract
from tests.studies.tiny import network

STUDY = "noise"
NOISY = "VGG-OPU noise 16"


class TestContract(Contract):
    # After cells that have used up frames of the noisy camera.
    study, stop_at = STUDY, "mean of 3"
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
    assert changed == {"network.head.readout.weight", "network.head.readout.bias"}


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
