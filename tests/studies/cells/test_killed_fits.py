"""A study that is killed while it fits a classifier goes on with that fit, and with the device that it began with."""

from dataclasses import replace

import pytest

from groundglass.models import accuracy
from groundglass.optics import DeviceStore
from groundglass.results import Run
from groundglass.studies.cells import network as network_module
from groundglass.studies.cells.network import DeviceCell, PlaceCell
from groundglass.studies.redraw.study import cells
from groundglass.training import checkpoint as checkpoints
from tests.studies.tiny import DATA, enter, network, redraw, results, run

pytestmark = pytest.mark.slow

FITS = {"VGG-OPU placed", "VGG-OPU redraw 1", "VGG-OPU with 2 matrices"}


class Killed(Exception):
    pass


def small(*asked):
    return replace(redraw(*asked), redraws=1, read_noises=(), n_images=4)


def fits(config, dataset):
    """The networks of the study that are fitted, and one with another head; no attacks."""
    planned = cells(config, dataset)
    (trained,) = (c for c in planned if c.kind == "train" and c.name == "VGG-OPU")
    device = replace(trained.device, owner="placed")
    assert isinstance(device, DeviceCell)
    placed = PlaceCell(name="VGG-OPU placed", features=trained, device=device, data=config.data, seed=0)
    return [trained.device, trained, device, placed, *(c for c in planned if c.name in FITS)]


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    enter(monkeypatch, "redraw", small, cells=fits)
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)


def killing(what, done, total, **figures):
    """Progress that is killed after the second of a fit's five epochs. A fit that goes on from there is told the third next."""
    if what in ("classifier", "VGG-OPU placed") and 5 * done == 2 * total:
        raise Killed


def killed_and_done(folder, **changes):
    """Run until it is done: of each kill, what the checkpoint says, and the devices."""
    seen = []
    for _ in FITS:
        with pytest.raises(Killed):
            run("redraw", folder, progress=killing, **changes)
        (left,) = (p for p in (folder / "checkpoints").iterdir() if p.name != "vgg-opu.safetensors")
        seen.append((checkpoints.begun(left), set(DeviceStore(folder / "devices").fingerprints())))
    run("redraw", folder, progress=killing, **changes)
    return seen


def test_all_fits_go_on_to_the_same_records_and_networks(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run("redraw", whole)
    killed_and_done(killed)
    assert results(killed) == results(whole)
    for name in FITS:
        ours, theirs = (network(f, name).state_dict() for f in (killed, whole))
        assert all(bool((ours[k] == theirs[k]).all()) for k in theirs)
    # What is no longer needed is gone; a network's own checkpoint stays.
    assert [p.name for p in (killed / "checkpoints").iterdir()] == ["vgg-opu.safetensors"]


def test_without_a_device_seed_the_device_that_was_begun_with_is_the_one(tmp_path):
    seen = killed_and_done(tmp_path, device_seed=None)
    store = DeviceStore(tmp_path / "devices")
    made = {record.name: record for record in Run.open(tmp_path).records}
    for fit, there in seen:
        assert fit.device in there
    begun_with = {fit.device for fit, _ in seen}
    assert {made[name].result["fingerprint"] for name in FITS - {"VGG-OPU placed"}} <= begun_with
    # As trained, placed, redrawn, two behind the moving one, and that itself: none that nobody uses.
    assert len(store.fingerprints()) == 6
    for name, key in (("VGG-OPU redraw 1", "tuned"), ("VGG-OPU placed", "clean_accuracy")):
        found = accuracy(network(tmp_path, name), DATA.test)
        assert found == pytest.approx(made[name].result[key])
        assert found > 0.8
    assert made["VGG-OPU with 2 matrices"].result["clean_accuracy"] > 0.8


def test_a_record_counts_the_seconds_before_the_kill(tmp_path, monkeypatch):
    with pytest.raises(Killed):
        run("redraw", tmp_path, progress=killing)
    real = network_module.begun
    monkeypatch.setattr(network_module, "begun", lambda path: replace(real(path), seconds=real(path).seconds + 1000))
    run("redraw", tmp_path)
    seconds = {record.name: record.seconds for record in Run.open(tmp_path).records}
    assert 1000 < seconds["VGG-OPU placed"] < 1100
    assert seconds["VGG-OPU redraw 1"] < 100
