"""A seed that is given makes a device public, and every file and text of it says so; a drawn one does not."""

import json
from pathlib import Path

import pytest

from groundglass.core.sealed import Seed
from groundglass.optics import DeviceStore, DriftingDevice, MovingDevice, SimulatedOPU
from tests.optics.test_device_store import FORMAT_1, rewrite


def make(seed: int | Seed | None = None) -> SimulatedOPU:
    return SimulatedOPU.create(12, 5, seed=seed)


def test_a_given_seed_is_public_and_a_drawn_one_is_not() -> None:
    for seed in (0, 5, 2**127):
        assert make(seed).public
    assert not make().public
    assert "public seed" in repr(make(5))
    assert "public" not in repr(make())


def test_what_is_made_from_a_device_or_its_seed_is_as_public_as_it_is() -> None:
    for seed, public in ((Seed(5), True), (Seed(), False)):
        device = make(seed)
        assert device.public is public
        assert device.region([1, 2]).public is public
        assert make(seed.derived("part")).public is public
        assert make(seed.at("device", 3)).public is public
        assert DriftingDevice(device, correlation=5).public is public
        assert MovingDevice.create(12, 5, count=2, seed=seed).public is public
    assert make(5).redraw().public is False
    assert make().redraw(7).public is True
    assert not MovingDevice.create(12, 5, count=2).public
    assert MovingDevice([make(), make(5)]).public
    assert "public seed" in repr(MovingDevice([make(), make(5)]))


def test_the_numbers_of_a_sealed_seed_are_those_of_the_number() -> None:
    assert make(Seed(5)).fingerprint == make(5).fingerprint
    assert Seed(5).derived("x").reveal() == f"{Seed(5).number('x'):x}"


@pytest.mark.parametrize("seed", [5, None])
def test_a_file_keeps_it(tmp_path: Path, seed: int | None) -> None:
    device = make(seed)
    path = DeviceStore(tmp_path).put(device)
    assert json.loads(path.read_text())["public"] is device.public is (seed is not None)
    assert SimulatedOPU.load(path).public is device.public
    # Nobody makes a secret of it by an edit.
    rewrite(path, checksum=False, public=not device.public)
    with pytest.raises(ValueError, match="altered"):
        SimulatedOPU.load(path)


def test_of_an_older_file_the_length_of_the_seed_tells(tmp_path: Path) -> None:
    """A seed of 128 drawn bits is this short once in four billion; what people type, and what is derived from it, always is."""
    path = tmp_path / "old.device"
    path.touch(mode=0o600)
    path.write_text(FORMAT_1)
    assert SimulatedOPU.load(path).public
    for seed, public in ((2**96 - 1, True), (2**96, False)):
        device = make(seed)
        device.save(tmp_path / f"{public}.device")
        content = json.loads((tmp_path / f"{public}.device").read_text())
        del content["public"]
        (tmp_path / f"{public}.device").write_text(json.dumps(content))
        rewrite(tmp_path / f"{public}.device", checksum=True)
        assert SimulatedOPU.load(tmp_path / f"{public}.device").public is public
