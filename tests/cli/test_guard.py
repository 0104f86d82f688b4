"""`groundglass device guard fit`: a guard of a network's own images, without a word of the device."""

from pathlib import Path

import pytest
import torch

from groundglass import cli
from groundglass.models import ModelSpec, build, save_model
from groundglass.optics import DeviceStore, SimulatedOPU
from groundglass.service.guard import NaturalBits
from groundglass.studies import guard_model
from groundglass.training.encoding import encode_bits
from tests.studies.tiny import pictures

DATA = pictures("shapes", n_train=400, n_test=300)
SEED = 271828182845904523


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(guard_model, "load", lambda name, data_dir=None: DATA)
    device = SimulatedOPU.create(24, 16, seed=SEED)
    DeviceStore(tmp_path / "devices").put(device)
    spec = ModelSpec(width=0.05, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=24, device_out=16)
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "a.safetensors"
    save_model(path, build(spec, device=device, seed=1), spec)
    return path


def test_a_guard_is_fitted_and_is_silent_on_such_images(model: Path, capfd: pytest.CaptureFixture) -> None:
    out = model.parent / "guard"
    words = ["device", "guard", "fit", str(model), "--data", "shapes", "--out", str(out), "--frames", "1e4"]
    assert cli.main(words) == 0
    said = capfd.readouterr().out
    guard = NaturalBits.load(out)
    assert (guard.in_features, guard.calibrated, guard.settings.frames) == (24, 300, 1e4)
    assert "10,000" in said
    for content in (said.encode(), out.read_bytes()):
        assert str(SEED).encode() not in content
    assert cli.main(["device", "guard", "info", str(out)]) == 0
    assert "24 bits" in capfd.readouterr().out
    found = guard_model.guard_model(model, data="shapes")
    network = guard_model.read_network(str(model), None, None)
    bits = encode_bits(network, DATA.train)  # type: ignore[arg-type]
    assert guard.look("a", bits) is None
    assert found.looks.directions.tobytes() == guard.looks.directions.tobytes()
    assert guard.look("b", torch.randint(0, 2, (400, 24), dtype=torch.uint8)) is not None
    assert cli.main(words) == 1, "an existing file is not replaced"


def test_classes_with_few_images_are_refused(model: Path) -> None:
    with pytest.raises(ValueError, match="--by-class"):
        guard_model.guard_model(model, data="shapes", by_class=True)
