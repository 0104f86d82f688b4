import pytest
import torch

from groundglass.models import DefendedNetwork, accuracy
from groundglass.optics import DeviceStore, MovingDevice, SimulatedOPU
from groundglass.results import RecordStore
from groundglass.studies import RedrawConfig
from groundglass.studies.redraw.study import cells

from .pictures import pictures
from .tiny import DEVICE_SEED, Stop, enter, network, records, results, run, targets

DATA = pictures("shapes", n_train=300, n_test=60)
LABELS = {"DFA", "BPDA, fitted", "Exact U", "VGG-16 transfer", "Square"}
NETWORKS = ("VGG-OPU", "VGG-OPU redraw 1", "VGG-OPU redraw 2")


def tiny_redraw(data, seed, precision):
    return RedrawConfig(
        **targets(data, seed, precision),
        redraws=2,
        moving=(2,),
        n_images=40,
        eps=0.2,
        steps=6,
        budget=60,
        fit_images=60,
    )


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    enter(monkeypatch, "redraw", tiny_redraw, cells, DATA)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "redraw", tiny_redraw, cells, DATA)
        run("redraw", folder)
    return folder


def test_a_redraw_breaks_and_tuning_mends_and_features_are_computed_once(finished):
    redrawn = records(finished, "redraw")
    assert [r.name for r in redrawn] == list(NETWORKS[1:])
    for r in redrawn:
        assert r.result["before"] > 0.9
        assert r.result["untuned"] < 0.5
        assert r.result["tuned"] > 0.9
        made = network(finished, r.name)
        assert isinstance(made, DefendedNetwork)
        assert made.device.fingerprint == r.result["fingerprint"]
        assert accuracy(made, DATA.test) == pytest.approx(r.result["tuned"])
    # The first of them computed the bits, and no network below a device was run for the second.
    assert [r.result["features_cached"] for r in redrawn] == [False, True]
    fingerprints = {r.result["fingerprint"] for r in redrawn} | {redrawn[0].result["old_fingerprint"]}
    assert len(fingerprints) == 3
    assert fingerprints <= set(DeviceStore(finished / "devices").fingerprints())
    old, new = network(finished, "VGG-OPU").state_dict(), network(finished, NETWORKS[1]).state_dict()
    assert {k for k in old if not torch.equal(old[k], new[k])} == {
        "network.head.readout.weight",
        "network.head.readout.bias",
    }


def test_a_moving_target_and_a_noisy_camera_are_tuned_and_audited(finished):
    moving, noisy = records(finished, "randomise")
    assert (moving.name, noisy.name) == ("VGG-OPU with 2 matrices", "VGG-OPU with read noise 4")
    for r in (moving, noisy):
        assert r.result["clean_accuracy"] > 0.8, r.name  # untuned it guesses
        assert accuracy(network(finished, r.name), DATA.test) == pytest.approx(r.result["clean_accuracy"], abs=0.1)
    device = network(finished, moving.name).device
    assert isinstance(device, MovingDevice)
    assert len(device) == 2
    assert network(finished, noisy.name).device.camera.read_noise == 4
    audited = {r.config["model"]: r.result for r in records(finished, "audit")}
    assert set(audited) == {"VGG-OPU", moving.name, noisy.name}
    assert all(result["claimed_by"].startswith("the paper's attacks") for result in audited.values())


def test_old_images_are_tried_on_every_redrawn_network_and_fool_the_old_one_as_they_did(finished):
    tried = records(finished, "transfer")
    assert {(r.config["label"], r.config["target"]) for r in tried} == {(x, n) for x in LABELS for n in NETWORKS}
    for r in tried:
        assert r.result["fooled_source"] > 0
        if r.config["target"] == "VGG-OPU" and r.config["label"] != "VGG-16 transfer":
            assert r.result["also_fooled"] == r.result["fooled_source"]
    # On ten pictures that a redraw classifies as well, it undoes some of what was made: else it would show nothing.
    undone = [
        r for r in tried if r.config["target"] != "VGG-OPU" and r.result["also_fooled"] < r.result["fooled_source"]
    ]
    assert undone


def test_the_attackers_come_again(finished):
    afresh = {(r.config["model"], r.config["rule"]) for r in records(finished, "attack")}
    assert afresh == {("VGG-OPU redraw 1", rule) for rule in ("dfa", "bpda-fit-linear", "exact")}


def test_an_interruption_changes_nothing(finished, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run("redraw", tmp_path / "run", listener=Stop("redraw 2"))
    run("redraw", tmp_path / "run")
    cached = {"features_cached"}  # whether it was there is no result
    theirs, ours = (
        {k: {n: v for n, v in r.items() if n not in cached} for k, r in results(f).items()}
        for f in (finished, tmp_path / "run")
    )
    assert ours == theirs
    assert run("redraw", tmp_path / "run") == 0


def test_no_secret_is_written(finished):
    store = DeviceStore(finished / "devices")
    # As trained, two redrawn, two behind a moving target, that itself, a noisy one.
    assert len(store.fingerprints()) == 7
    found = [store.find(fingerprint) for fingerprint in store.fingerprints()]
    secrets = {f"{device._medium.seed.reveal()}" for device in found if isinstance(device, SimulatedOPU)}
    assert len(secrets) == 6
    secrets |= {str(int(s, 16)) for s in secrets} | {str(DEVICE_SEED), f"{DEVICE_SEED:x}"}
    for path in finished.rglob("*"):
        if path.is_file() and path.parent.name != "devices":
            content = path.read_bytes()
            assert not [s for s in secrets if s.encode() in content], path


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"redraws": 0}, {"n_images": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            RedrawConfig(**{**targets("shapes", 0, "float32"), "n_images": 4, **wrong})


def test_all_records_say_of_which_study_they_are(finished):
    made = [r for r in RecordStore.read(finished).records if r.kind in ("craft", "transfer", "attack")]
    assert {r.config["purpose"] for r in made} == {"redraw"}
