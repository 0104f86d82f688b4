"""A run folder, its records and its model files say that a device's seed was given, and how it is used."""

import torch
from torch import nn

from groundglass.core.sealed import Seed
from groundglass.models import ModelSpec, build, defend, load_defended, read_spec, save_defended, save_model
from groundglass.models.files import _open
from groundglass.optics import MovingDevice, SimulatedOPU
from groundglass.results.manifest import enter_study, load_manifest
from groundglass.studies.engine.run import _told_seed, manifest


def made(**given):
    return manifest("white-box", "quick", "pictures", {}, [], 0, where=torch.device("cpu"), **given)


def test_a_folder_says_how_a_seed_is_used_and_that_a_later_session_gave_one(tmp_path):
    given = {"public_seed": True, "seed_derivation": Seed(7).derivation}
    assert "seed_derivation" not in enter_study(tmp_path, made())
    enter_study(tmp_path, made())
    assert load_manifest(tmp_path)["public_seed"] is False
    enter_study(tmp_path, made(**given))
    found = load_manifest(tmp_path)
    assert (found["public_seed"], found["seed_derivation"]) == (True, "scrypt-1")
    # And for good: its devices are there.
    enter_study(tmp_path, made())
    assert load_manifest(tmp_path)["public_seed"] is True


def test_a_session_that_makes_other_devices_of_a_seed_says_so():
    old, new = {"public_seed": True}, {"public_seed": True, "seed_derivation": "scrypt-1"}
    said = _told_seed(old, Seed(7))
    assert said is not None
    assert "raw:" in said
    assert _told_seed(new, Seed.raw(7)) is not None
    for told, seed in ((old, Seed.raw(7)), (new, Seed(7)), (old, None), ({"public_seed": False}, Seed(7))):
        assert _told_seed(told, seed) is None


def test_a_model_file_says_that_its_device_is_public(tmp_path):
    for name, seed in (("public", 5), ("secret", None)):
        for device in (SimulatedOPU.create(6, 9, seed=seed), MovingDevice.create(6, 9, count=2, seed=seed)):
            network = defend(nn.Sequential(nn.Linear(4, 3)), at="0", device=device, seed=0)
            path = tmp_path / f"{name}-{type(device).__name__}"
            save_defended(network, path)
            assert _open(path)[1].defence.public_seed is (seed is not None)
            assert (b"public_seed" in path.read_bytes()) is (seed is not None)
            kept = load_defended(path, network=lambda: nn.Sequential(nn.Linear(4, 3)), device=device)
            assert kept.device is device


def test_a_redrawn_model_file_is_as_public_as_its_new_device(tmp_path):
    spec = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=16, device_out=24)
    public, secret = (SimulatedOPU.create(16, 24, seed=seed) for seed in (3, None))
    model = build(spec, device=public, seed=0)
    save_model(tmp_path / "a", model, spec)
    assert read_spec(tmp_path / "a").public_seed
    again = build(spec, device=secret, seed=0)
    save_model(tmp_path / "b", again, read_spec(tmp_path / "a"))
    assert not read_spec(tmp_path / "b").public_seed
