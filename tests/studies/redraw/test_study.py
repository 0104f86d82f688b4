import pytest
import torch

from groundglass.models import DefendedNetwork, accuracy
from groundglass.optics import DeviceStore, MovingDevice
from groundglass.results.kinds import ATTACK, AUDIT, RANDOMISE, REDRAW, TRANSFER
from tests.studies.contract import Contract
from tests.studies.tiny import DATA, network

pytestmark = pytest.mark.slow

STUDY = "redraw"
LABELS = {"DFA", "BPDA, fitted", "Exact U", "VGG-16 transfer", "Square"}
NETWORKS = ("VGG-OPU", "VGG-OPU redraw 1", "VGG-OPU redraw 2")


class TestContract(Contract):
    # Audits of a network whose device is random depend on nothing that ran before.
    study, stop_at, audits_again = STUDY, "redraw 2", True
    refused = (({"redraws": 0}, "at least 1"),)


def test_a_redraw_breaks_tuning_repairs_and_features_are_computed_once(finished):
    redrawn = finished.entries(REDRAW)
    assert [e.name for e in redrawn] == list(NETWORKS[1:])
    for entry in redrawn:
        assert entry.result.before > 0.9
        assert entry.result.untuned < 0.5
        assert entry.result.tuned > 0.9
        made = network(finished.folder, entry.name)
        assert isinstance(made, DefendedNetwork)
        assert made.device.fingerprint == entry.result.fingerprint
        assert accuracy(made, DATA.test) == pytest.approx(entry.result.tuned)
    # The first of them computed the bits, and no network below a device was run for the second.
    assert [e.result.features_cached for e in redrawn] == [False, True]
    fingerprints = {redrawn[0].result.old_fingerprint, *(e.result.fingerprint for e in redrawn)}
    assert len(fingerprints) == 3
    store = DeviceStore(finished.folder / "devices")
    assert fingerprints <= set(store.fingerprints())
    # As trained, two redrawn, two behind a moving target, that itself, a noisy one.
    assert len(store.fingerprints()) == 7
    old, new = (network(finished.folder, name).state_dict() for name in NETWORKS[:2])
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert changed == {f"network.head.{name}" for name in ("readout.weight", "readout.bias", "optical._extra_state")}


def test_a_moving_target_and_a_noisy_camera_are_tuned_and_audited(finished):
    moving, noisy = finished.entries(RANDOMISE)
    assert (moving.name, noisy.name) == ("VGG-OPU with 2 matrices", "VGG-OPU with read noise 4")
    for entry in (moving, noisy):
        assert entry.result.clean_accuracy > 0.8, entry.name  # untuned it guesses
        found = accuracy(network(finished.folder, entry.name), DATA.test)
        assert found == pytest.approx(entry.result.clean_accuracy, abs=0.1)
    device = network(finished.folder, moving.name).device
    assert isinstance(device, MovingDevice)
    assert len(device) == 2
    assert network(finished.folder, noisy.name).device.camera.read_noise == 4
    audited = {e.config.model: e.result for e in finished.entries(AUDIT)}
    assert set(audited) == {"VGG-OPU", moving.name, noisy.name}
    assert all(result.first.name == "dfa-fresh+fa" for result in audited.values())


def test_old_images_are_tried_on_every_redrawn_network_and_fool_the_old_one_as_they_did(finished):
    tried = [(e.config, e.result) for e in finished.entries(TRANSFER)]
    assert {(c.label, c.target) for c, _ in tried} == {(label, name) for label in LABELS for name in NETWORKS}
    for config, result in tried:
        assert result.fooled_source > 0
        if config.target == "VGG-OPU" and config.label != "VGG-16 transfer":
            assert result.also_fooled == result.fooled_source
    # On ten pictures that a redraw classifies as well, it undoes some of what was made: else it would show nothing.
    assert any(c.target != "VGG-OPU" and r.also_fooled < r.fooled_source for c, r in tried)


def test_the_attackers_come_again(finished):
    afresh = {(e.config.model, e.config.rule) for e in finished.entries(ATTACK)}
    assert afresh == {("VGG-OPU redraw 1", rule) for rule in ("dfa", "bpda-fit-linear", "exact")}
