from dataclasses import replace

import pytest
import torch

from groundglass.core import DamagedFileError
from groundglass.models import ModelSpec, build, load_model, read_spec, save_model
from groundglass.optics import SimulatedOPU

SECRET = 987654321987654321
SPEC = ModelSpec(width=0.125, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=48, device_out=96)


@pytest.fixture(scope="module")
def device():
    return SimulatedOPU.create(48, 96, seed=SECRET)


@pytest.fixture
def saved(tmp_path, device):
    model = build(SPEC, device=device, seed=1).eval()
    path = tmp_path / "model.safetensors"
    save_model(path, model, SPEC)
    return path, model


def test_a_saved_model_loads_back_equal(saved, device):
    path, model = saved
    loaded = load_model(path, find_device=lambda fingerprint: device)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(model(images), loaded(images))
    assert read_spec(path).fingerprint == device.fingerprint


def test_a_model_file_holds_no_secret(saved, device):
    path, _ = saved
    for secret in (str(SECRET).encode(), SECRET.to_bytes(8, "little"), SECRET.to_bytes(8, "big")):
        assert secret not in path.read_bytes()


def test_destroyed_feedback_stays_destroyed(tmp_path, device):
    model = build(SPEC, device=device, seed=1)
    model.destroy_feedback()
    save_model(tmp_path / "m", model, SPEC)
    assert load_model(tmp_path / "m", find_device=lambda f: device).feedback is None


def test_truncated_and_altered_files_are_refused(saved, device):
    path, _ = saved
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match="not a whole"):
        load_model(path, find_device=lambda f: device)
    altered = bytearray(whole)
    altered[-1] ^= 1
    path.write_bytes(bytes(altered))
    with pytest.raises(DamagedFileError, match="altered"):
        load_model(path, find_device=lambda f: device)
    with pytest.raises(FileNotFoundError, match="no model file"):
        load_model(path.with_name("other"))


def test_another_device_is_refused(saved):
    path, _ = saved
    with pytest.raises(ValueError, match="not the one that the network was trained with"):
        load_model(path, find_device=lambda f: SimulatedOPU.create(48, 96, seed=2))
    with pytest.raises(ValueError, match="was built for a device 48 -> 96"):
        load_model(path, find_device=lambda f: SimulatedOPU.create(48, 90, seed=SECRET))
    with pytest.raises(ValueError, match="needs its optical device"):
        load_model(path)


def test_weights_of_another_shape_are_named(tmp_path, device):
    model = build(SPEC, device=device, seed=1)
    save_model(tmp_path / "m", model, replace(SPEC, width=0.25))
    with pytest.raises(ValueError, match="another shape"):
        load_model(tmp_path / "m", find_device=lambda f: device)
