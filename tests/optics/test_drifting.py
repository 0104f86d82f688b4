"""A device whose matrix drifts: the law, time, the secrets, the files."""

import json
import math
import stat
from pathlib import Path

import pytest
import torch
from torch import Tensor

from groundglass.core import DamagedFileError
from groundglass.models import ModelSpec, build, load_model, save_model
from groundglass.optics import Camera, DeviceStore, DriftingDevice, MovingDevice, SimulatedOPU, true_matrix
from tests.optics.draws import draw as bits_of
from tests.optics.test_sealed import secrets_of

N, M = 40, 30
SEED = 0x5EC2E75EC2E75EC2E75EC2E7


def draw(rows: int) -> Tensor:
    return bits_of(rows, N)


def device(n: int = N, m: int = M, **settings: object) -> SimulatedOPU:
    return SimulatedOPU.create(n, m, **{"seed": SEED, **settings})  # type: ignore[arg-type]


def drifting(*, correlation: float = 20.0, hold: int = 1, **settings: object) -> DriftingDevice:
    return DriftingDevice(device(**settings), correlation=correlation, hold=hold)


def correlation(one: Tensor, other: Tensor) -> complex:
    """Of two fields, over all entries."""
    return complex((one.conj() * other).sum() / (one.abs().square().sum() * other.abs().square().sum()).sqrt())


@pytest.mark.parametrize("hold", [1, 5])
def test_fields_decorrelate_by_the_law_and_so_do_intensities_by_its_square(hold: int) -> None:
    drifts, bits = drifting(n=256, m=400, correlation=20, hold=hold, camera=Camera(bits=None)), bits_of(60, 256)
    start, light = true_matrix(drifts.now()), drifts.now().measure(bits).double()
    assert torch.equal(start, true_matrix(drifts.device))
    for time in (5, 10, 20, 40):
        drifts.wait(time - drifts.time)
        now = true_matrix(drifts.now())
        # 102,400 entries: a correlation is known to 0.003.
        assert correlation(start, now) == pytest.approx(math.exp(-time / 20), abs=0.015)
        # The law of U is what it was, whatever the time.
        assert now.abs().square().mean() == pytest.approx(start.abs().square().mean().item(), rel=0.02)
        seen = drifts.now().measure(bits).double()
        apart = torch.corrcoef(torch.stack([light.flatten(), seen.flatten()]))[0, 1]
        assert apart == pytest.approx(math.exp(-2 * time / 20), abs=0.06)
    # What was added is no image of what was there: a step of another length is one of the same process.
    drifts.wait(200)
    assert abs(correlation(start, true_matrix(drifts.now()))) < 0.015


def test_a_frame_takes_a_unit_of_time_and_u_stands_still_for_hold_of_them() -> None:
    drifts, bits = drifting(correlation=30, hold=4), draw(1)[[0] * 12]
    readings = drifts.measure(bits)
    assert drifts.time == 12
    blocks = readings.split(4)
    assert all(torch.equal(block, block[:1].expand_as(block)) for block in blocks)
    assert not torch.equal(blocks[0], blocks[1])
    assert torch.equal(blocks[0], drifts.device.measure(bits[:4]))


def test_the_same_questions_in_the_same_order_get_the_same_answers_however_they_are_split() -> None:
    bits, noisy = draw(60), Camera(read_noise=2.0)
    whole = drifting(hold=7, camera=noisy).measure(bits)
    again = drifting(hold=7, camera=noisy)
    assert torch.equal(torch.cat([again.measure(rows) for rows in bits.split([1, 30, 0, 29])]), whole)
    assert not torch.equal(drifting(hold=7, camera=noisy).measure(bits.flip(0)).flip(0), whole)
    assert not torch.equal(again.measure(bits), whole), "time goes on"


def test_time_goes_by_without_frames() -> None:
    waited, bits = drifting(hold=4), draw(3)
    waited.wait(6)
    assert waited.time == 6
    asked = drifting(hold=4)
    asked.measure(draw(6))
    # One step was taken in both, at the fourth frame; the next comes at the eighth.
    assert torch.equal(waited.measure(bits)[:2], asked.measure(bits)[:2])
    with pytest.raises(ValueError, match="frames"):
        waited.wait(-1)


def test_what_it_is_now_moves_no_more_and_has_no_file(tmp_path: Path) -> None:
    drifts, bits = drifting(), draw(9)
    drifts.wait(10)
    now = drifts.now()
    before = now.measure(bits)
    assert drifts.now().fingerprint == now.fingerprint != drifts.fingerprint
    drifts.wait(50)
    assert torch.equal(now.measure(bits), before)
    assert not torch.equal(drifts.now().measure(bits), before)
    with pytest.raises(ValueError, match="no file of its own"):
        now.save(tmp_path / "now")
    with pytest.raises(TypeError, match=r"device\.now\(\)"):
        true_matrix(drifts)


def test_outputs_past_the_last_stay_dark_and_no_light_is_no_reading() -> None:
    drifts = drifting(m=33, correlation=2)
    drifts.wait(10)
    assert drifts.measure(torch.zeros(2, N, dtype=torch.uint8)).count_nonzero() == 0
    assert true_matrix(drifts.now()).shape == (33, N)


def test_the_store_gives_it_back_at_time_0(tmp_path: Path) -> None:
    store, drifts = DeviceStore(tmp_path / "devices"), drifting(correlation=25.5, hold=3)
    bits = draw(40)
    first = drifts.measure(bits)
    path = store.put(drifts)
    assert path == store.put(drifts) == store.path(drifts.fingerprint)
    assert set(store.fingerprints()) == {drifts.fingerprint, drifts.device.fingerprint}
    loaded = store.find(drifts.fingerprint, in_features=N, out_features=M)
    assert isinstance(loaded, DriftingDevice)
    assert (loaded.fingerprint, loaded.correlation, loaded.hold) == (drifts.fingerprint, 25.5, 3)
    assert torch.equal(loaded.measure(bits), first)
    assert not any(form in path.read_text() for form in secrets_of(drifts.device))
    assert stat.S_IMODE(store.path(drifts.device.fingerprint).stat().st_mode) == 0o600


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    store, drifts = DeviceStore(tmp_path), drifting()
    path = store.put(drifts)
    right = json.loads(path.read_text())
    for changes, error, says in [
        ({"correlation": 21.0}, DamagedFileError, "not the one that it is named by"),
        ({"correlation": -1.0}, DamagedFileError, "correlation"),
        ({"correlation": "20"}, DamagedFileError, "correlation"),
        ({"hold": 21}, DamagedFileError, "hold"),
        ({"device": drifts.fingerprint}, DamagedFileError, "no simulated device"),
        ({"device": "../up"}, DamagedFileError, "hex"),
        ({"device": "0123abcd"}, FileNotFoundError, "no device 0123abcd"),
        ({"version": 9}, DamagedFileError, "version 9"),
        ({"format": "?"}, DamagedFileError, "not the file"),
    ]:
        path.write_text(json.dumps(right | changes))
        with pytest.raises(error, match=says):
            store.find(drifts.fingerprint)
    del right["hold"]
    path.write_text(json.dumps(right))
    with pytest.raises(DamagedFileError, match="hold"):
        store.find(drifts.fingerprint)


def test_a_saved_model_finds_its_drifting_device(tmp_path: Path) -> None:
    spec = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=N, device_out=M)
    store, drifts = DeviceStore(tmp_path / "devices"), drifting(correlation=3)
    store.put(drifts)
    model = build(spec, device=drifts, seed=1).eval()
    save_model(tmp_path / "model", model, spec)
    loaded = load_model(tmp_path / "model", find_device=store.find)
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = model(images)
        assert torch.equal(loaded(images), first)
        assert not torch.equal(model(images), first)


@pytest.mark.parametrize(
    ("made", "error", "says"),
    [
        (
            lambda: DriftingDevice(device(kind="procedural"), correlation=9),
            ValueError,
            "a procedural device cannot drift",
        ),
        (lambda: DriftingDevice(device().region([1, 2]), correlation=9), ValueError, "cannot drift"),
        (lambda: DriftingDevice(drifting().now(), correlation=9), ValueError, "cannot drift"),
        (lambda: DriftingDevice(MovingDevice([device()]), correlation=9), TypeError, "MovingDevice"),
        (lambda: DriftingDevice(device(), correlation=0), ValueError, "correlation"),
        (lambda: DriftingDevice(device(), correlation=math.inf), ValueError, "correlation"),
        (lambda: DriftingDevice(device(), correlation=9, hold=10), ValueError, "at most the correlation time"),
        (lambda: DriftingDevice(device(), correlation=9, hold=0), ValueError, "hold"),
    ],
)
def test_what_cannot_drift_is_refused(made, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        made()


def test_another_noise_is_the_same_matrix_at_the_same_exposure(tmp_path: Path) -> None:
    quiet = device(m=300)
    noisy = quiet.with_noise(read_noise=6.0)
    assert torch.equal(true_matrix(noisy), true_matrix(quiet))
    assert (noisy.camera.read_noise, noisy.exposure) == (6.0, quiet.exposure)
    assert noisy.fingerprint != quiet.fingerprint
    bits = draw(200)
    clean, seen = quiet.measure(bits).double(), noisy.measure(bits).double()
    inside = (clean > 40) & (clean < 200)
    assert (seen - clean)[inside].std() == pytest.approx(6.0, rel=0.05)
    noisy.save(tmp_path / "noisy")
    assert SimulatedOPU.load(tmp_path / "noisy").fingerprint == noisy.fingerprint
    assert noisy.with_noise().fingerprint == quiet.fingerprint
    with pytest.raises(ValueError, match="keeps its camera"):
        quiet.region([0]).with_noise(read_noise=1.0)


def test_one_that_is_half_made_has_a_repr() -> None:
    assert "DriftingDevice" in repr(DriftingDevice.__new__(DriftingDevice))
    assert all(form not in repr(drifting()) for form in secrets_of(device()))
