"""Device files: private, found by fingerprint, refused when anything about them is wrong."""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from groundglass.core import DamagedFileError
from groundglass.core.sealed import Seed
from groundglass.optics import Camera, DeviceStore, DoesNotFitError, Exposure, SimulatedOPU, secret_file
from groundglass.optics.kinds import make_medium
from groundglass.optics.simulated import _fingerprint
from tests.optics.draws import draw

KINDS = ["procedural", "structured"]
CAMERAS = [Camera(), Camera(bits=None), Camera(bits=5, saturation=0.03, density=0.3, read_noise=1.5, shot_noise=900)]


def create(seed: int = 0xABCDEF0123456789, camera: Camera = CAMERAS[0], **options: str) -> SimulatedOPU:
    return SimulatedOPU.create(40, 30, seed=seed, camera=camera, **options)  # type: ignore[arg-type]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A device file."""
    create().save(tmp_path / "a.device")
    return tmp_path / "a.device"


def rewrite(path: Path, *, checksum: bool, **changes: object) -> None:
    """Change fields of a device file, with the checksum made right again or not."""
    content = json.loads(path.read_text()) | changes
    if checksum:
        covered = {key: value for key, value in content.items() if key != "checksum"}
        content["checksum"] = hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(content))


def test_a_secret_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.device"
    first, second = create(seed=1), create(seed=2)
    first.save(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwritten, a secret would be lost"):
        second.save(path)
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(FileExistsError, match="another name"):
        first.save(tmp_path / "notes")
    assert path.read_bytes() == before
    assert (tmp_path / "notes").read_text() == "mine"
    first.save(path)  # its own
    assert SimulatedOPU.load(path).fingerprint == first.fingerprint


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize(
    ("matrix", "kind"), [("complex", "dense"), ("real", "dense"), *(("complex", k) for k in KINDS)]
)
def test_a_saved_device_loads_back_equal(tmp_path: Path, camera: Camera, matrix: str, kind: str) -> None:
    device = SimulatedOPU.create(40, 30, camera=camera, matrix=matrix, kind=kind, noise_seed=3)
    loaded = SimulatedOPU.load(DeviceStore(tmp_path).put(device))
    for name in ("in_features", "out_features", "fingerprint", "mean_reading", "exposure", "camera", "matrix", "kind"):
        assert getattr(loaded, name) == getattr(device, name)
    assert loaded.noise_seed == 3
    # The noise of a loaded device starts again, so this holds for the noisy camera as well.
    assert torch.equal(loaded.measure(draw(20, 40)), device.measure(draw(20, 40)))


#: Written by the first groundglass, before there were kinds of devices.
FORMAT_1 = """{
  "format": "groundglass optical device",
  "version": 1,
  "fingerprint": "2e83f198ddf5a381e487b2646bb3446f",
  "in_features": 12,
  "out_features": 5,
  "matrix": "complex",
  "camera": {"bits": 8, "saturation": 0.01, "read_noise": 0.0, "shot_noise": 0.0, "density": 0.5},
  "exposure": {"gain": 0.005245259686727123, "mean_reading": 49.4111328125},
  "noise_seed": 0,
  "seed": "feed",
  "checksum": "4165d4c796ca812c51dad4b9c2c6624cbdf02851cc030bb4c248be261595110f"
}"""


def test_a_file_of_an_older_format_is_still_that_device(tmp_path: Path) -> None:
    path = tmp_path / "old.device"
    path.touch(mode=0o600)
    path.write_text(FORMAT_1)
    device = SimulatedOPU.load(path)
    readings = device.measure(torch.eye(12, dtype=torch.uint8)[:3])
    assert readings.tolist() == [[24, 22, 0, 3, 3], [16, 11, 0, 1, 3], [6, 2, 27, 3, 12]]
    # Copied into another store, as studies do, it is written in the format of today, and stays what it is.
    copy = DeviceStore(tmp_path / "copies").put(device)
    assert json.loads(copy.read_text())["version"] == 2
    assert torch.equal(SimulatedOPU.load(copy).measure(torch.eye(12, dtype=torch.uint8)[:3]), readings)
    # The same secret makes another matrix today: it is the file that says which.
    assert SimulatedOPU.create(12, 5, seed=0xFEED).fingerprint != device.fingerprint


def test_a_wide_device_of_the_older_format_is_known_by_all_of_its_outputs() -> None:
    """As the first groundglass knew it: 16 inputs, whatever the size. Today's is known by fewer."""
    old = make_medium("dense", Seed(3), 16, 140_000, "complex", draw=1)
    assert _fingerprint(old, Camera(), Exposure(0.002, 50.0)) == "8416e3820fa12e8b0167feba984cda78"


def test_a_dense_device_may_be_opened_as_a_procedural_one(saved: Path) -> None:
    """The same device, where there is no memory for its matrix: an edit of the file, and its fingerprint vouches for it."""
    rewrite(saved, checksum=True, kind="procedural")
    assert SimulatedOPU.load(saved).kind == "procedural"


def test_a_device_that_does_not_fit_here_is_not_called_damaged(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundglass.optics.kinds.available_memory", lambda: 1000)
    with pytest.raises(DoesNotFitError, match="procedural"):
        SimulatedOPU.load(saved)


def test_a_region_has_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="save the device"):
        create().region([1, 2]).save(tmp_path / "a.device")
    assert not list(tmp_path.iterdir())


def test_the_exposure_comes_from_the_file_and_is_not_set_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create().save(tmp_path / "a.device")
    monkeypatch.setattr("groundglass.optics.simulated._calibrate", lambda *args: pytest.fail("calibrated"))
    assert SimulatedOPU.load(tmp_path / "a.device").exposure.gain > 0


def test_a_device_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = DeviceStore(tmp_path / "devices").put(create())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: a credential of systemd is root's")
def test_a_credential_of_systemd_is_private(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its mode shows the entry of an access list as if it were a group's."""
    saved.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(saved.parent))
    SimulatedOPU.load(saved)
    for mode in (0o444, 0o460, 0o640):
        saved.chmod(mode)
        with pytest.raises(PermissionError):
            SimulatedOPU.load(saved)
    saved.chmod(0o440)
    os.chown(saved, 64001, 64001)  # a user could give it away
    with pytest.raises(PermissionError):
        SimulatedOPU.load(saved)
    os.chown(saved, 0, 0)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(saved.parent.parent))
    with pytest.raises(PermissionError):
        SimulatedOPU.load(saved)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_device_file_that_others_may_read_is_refused(saved: Path, mode: int) -> None:
    saved.chmod(mode)
    with pytest.raises(PermissionError, match=f"chmod 600 {saved}"):
        SimulatedOPU.load(saved)
    saved.chmod(0o600)
    SimulatedOPU.load(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "abcdef012345678a"},
        {"in_features": 41},
        {"matrix": "real"},
        {"exposure": {"gain": 1.0, "mean_reading": 54.0}},
        {"exposure": {"gain": "high", "mean_reading": 54.0}},
        {"camera": {"bits": 12}},
        {"camera": {"colour": "red"}},
        {"fingerprint": "0" * 32},
        {"version": 1},
        {"version": 3},
        {"kind": "structured"},
        {"kind": "optical"},
        {"draw": 1},
        {"draw": 3},
        {"seed": "not hex"},
        {"seed": None},
        {"in_features": "40"},
        {"noise_seed": None, "in_features": -3},
    ],
)
@pytest.mark.parametrize("checksum", [False, True])
def test_an_altered_file_is_refused_with_the_checksum_and_without(
    saved: Path, changes: dict[str, object], checksum: bool
) -> None:
    rewrite(saved, checksum=checksum, **changes)
    with pytest.raises(DamagedFileError, match=r"a\.device"):
        SimulatedOPU.load(saved)


def test_an_altered_mean_reading_is_seen_by_the_checksum(tmp_path: Path) -> None:
    device = create()
    device.save(tmp_path / "a.device")
    rewrite(tmp_path / "a.device", checksum=False, exposure={"gain": device.exposure.gain, "mean_reading": 1.0})
    with pytest.raises(DamagedFileError, match="altered"):
        SimulatedOPU.load(tmp_path / "a.device")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *((lambda text, keep=keep: text[:keep], r"a\.device") for keep in (0, 1, 100, -3)),
        *(
            (lambda text, other=other: other, "not a device file")
            for other in ("[]", "{}", '{"format": "something else"}')
        ),
    ],
)
def test_a_truncated_file_and_another_one_are_refused(saved: Path, change: Callable[[str], str], says: str) -> None:
    saved.write_text(change(saved.read_text()))
    with pytest.raises(DamagedFileError, match=says):
        SimulatedOPU.load(saved)
    saved.unlink()
    with pytest.raises(FileNotFoundError, match="no device file"):
        SimulatedOPU.load(saved)


def test_the_store_finds_by_fingerprint(tmp_path: Path) -> None:
    store = DeviceStore(tmp_path / "devices")
    first, second = create(1), create(2)
    assert store.put(first).name == f"{first.fingerprint}.device"
    store.put(second)
    assert store.put(first) == store.path(first.fingerprint)
    assert store.fingerprints() == sorted([first.fingerprint, second.fingerprint])
    for device in (first, second):
        assert store.find(device.fingerprint, in_features=40, out_features=30).fingerprint == device.fingerprint


def test_a_device_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    store = DeviceStore(tmp_path / "devices")
    with pytest.raises(FileNotFoundError, match=r"devices there: none"):
        store.find("0123abcd")
    device = create()
    store.put(device)
    with pytest.raises(FileNotFoundError) as caught:
        store.find("0123abcd")
    for part in ("0123abcd", str(store.folder), device.fingerprint, "0123abcd.device"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("name", "has", "needs"), [("in_features", 40, 41), ("out_features", 30, 8000)])
def test_a_device_of_other_sizes_is_refused(tmp_path: Path, name: str, has: int, needs: int) -> None:
    store, device = DeviceStore(tmp_path), create()
    store.put(device)
    with pytest.raises(ValueError, match=f"{name}={has}, the model needs {needs}"):
        store.find(device.fingerprint, **{name: needs})


def test_a_file_under_another_devices_name_is_refused(tmp_path: Path) -> None:
    store, device = DeviceStore(tmp_path), create()
    store.put(device).rename(store.path("0123abcd"))
    with pytest.raises(DamagedFileError, match=device.fingerprint):
        store.find("0123abcd")


@pytest.mark.parametrize("fingerprint", ["", "../../etc/passwd", "lighton", "ABC"])
def test_what_is_no_fingerprint_is_refused(tmp_path: Path, fingerprint: str) -> None:
    with pytest.raises(ValueError, match="hex"):
        DeviceStore(tmp_path).find(fingerprint)


def test_of_two_that_save_under_one_name_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both look, and see nothing there; then both write. No secret is lost without a word."""
    path = tmp_path / "a.device"
    first, second, write = create(seed=1), create(seed=2), secret_file._write

    def late(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(secret_file, "_write", write)
        first.save(path)
        write(*args, **options)

    monkeypatch.setattr(secret_file, "_write", late)
    with pytest.raises(FileExistsError, match="overwritten, a secret would be lost"):
        second.save(path)
    assert SimulatedOPU.load(path).fingerprint == first.fingerprint
    # Two who save the same device are both served.
    path.unlink()
    monkeypatch.setattr(secret_file, "_write", late)
    first.save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.device"]


def test_what_a_killed_process_left_of_a_secret_goes_with_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [tmp_path / ".a.device.4242.part", tmp_path / f".a.device.{'0' * 16}.part"]
    for part in left:
        part.write_text("a secret")
    create(seed=1).save(tmp_path / "b.device")
    assert [entry.name for entry in tmp_path.iterdir()] == ["b.device"]


def test_what_is_not_the_files_fault_is_not_put_on_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **options: object) -> None:
        raise ValueError("numba does not start: look at NUMBA_NUM_THREADS")

    monkeypatch.setattr(secret_file, "make_medium", refused)
    with pytest.raises(ValueError, match="NUMBA_NUM_THREADS") as told:
        SimulatedOPU.load(saved)
    assert not isinstance(told.value, DamagedFileError)
