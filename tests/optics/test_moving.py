"""A device that switches among K matrices: the draws, the secrets, the files."""

import json
import stat
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from groundglass.core import DamagedFileError
from groundglass.models import ModelSpec, build, load_model, save_model
from groundglass.optics import Camera, DeviceStore, MovingDevice, OpticalLayer, SimulatedOPU, true_matrix
from groundglass.training.classifier import accuracy_of_bits, fit_classifier, place_device
from tests.optics.draws import draw as bits_of
from tests.optics.test_sealed import secrets_of

N, M, K = 40, 30, 4
SEED = 0x5EC2E75EC2E75EC2E75EC2E7


@pytest.fixture(scope="module")
def devices() -> list[SimulatedOPU]:
    return [SimulatedOPU.create(N, M, seed=seed) for seed in range(K)]


def draw(rows: int) -> Tensor:
    return bits_of(rows, N)


def which(readings: Tensor, bits: Tensor, devices: list[SimulatedOPU]) -> Tensor:
    """Which of the devices measured each row; every row must be a reading of exactly one."""
    same = torch.stack([(readings == device.measure(bits)).all(1) for device in devices])
    assert (same.sum(0) == 1).all()
    return same.int().argmax(0)


def test_every_row_is_measured_by_one_of_the_devices_and_each_is_as_likely(devices: list[SimulatedOPU]) -> None:
    bits = draw(1)[[0] * 4000]
    moving = MovingDevice(devices, seed=1)
    drawn = which(moving.measure(bits), bits, devices)
    counts = torch.bincount(drawn, minlength=K)
    # 1000 expected, with a spread of 27.
    assert counts.min() > 880
    assert counts.max() < 1120
    # And each draw says nothing about the next: 250 expected of each pair, with a spread of 15.
    pairs = torch.bincount(drawn[:-1] * K + drawn[1:], minlength=K * K)
    assert pairs.min() > 180
    assert pairs.max() < 320


def test_a_repeated_query_is_measured_by_another_matrix(devices: list[SimulatedOPU]) -> None:
    moving, bits = MovingDevice(devices, seed=1), draw(200)
    first, second = (which(moving.measure(bits), bits, devices) for _ in range(2))
    assert 0.1 < (first == second).double().mean() < 0.4


def test_the_seed_decides_however_a_batch_is_split(devices: list[SimulatedOPU]) -> None:
    bits = draw(60)
    whole = MovingDevice(devices, seed=5).measure(bits)
    again = MovingDevice(devices, seed=5)
    assert torch.equal(torch.cat([again.measure(rows) for rows in bits.split([1, 30, 0, 29])]), whole)
    assert torch.equal(MovingDevice(devices).with_draws(5).measure(bits), whole)
    assert not torch.equal(MovingDevice(devices, seed=6).measure(bits), whole)


def test_without_a_seed_the_draws_are_nobodys_to_know(devices: list[SimulatedOPU]) -> None:
    bits = draw(60)
    assert not torch.equal(MovingDevice(devices).measure(bits), MovingDevice(devices).measure(bits))


def test_noise_of_the_camera_is_split_as_well() -> None:
    def make() -> MovingDevice:
        return MovingDevice.create(N, M, count=3, seed=2, camera=Camera(read_noise=2.0))

    whole, again, bits = make().measure(draw(40)), make(), draw(40)
    assert torch.equal(torch.cat([again.measure(rows) for rows in bits.split(7)]), whole)


@pytest.mark.parametrize("camera", [Camera(), Camera(bits=None), Camera(read_noise=1.0)])
def test_one_matrix_is_its_device(camera: Camera) -> None:
    def make() -> SimulatedOPU:
        return SimulatedOPU.create(N, M, seed=3, camera=camera)

    device, moving = make(), MovingDevice([make()])
    for rows in (0, 1, 50):
        assert torch.equal(moving.measure(draw(rows)), device.measure(draw(rows)))
    assert torch.equal(OpticalLayer(moving)(draw(9).float()), OpticalLayer(device)(draw(9).float()))
    for name in ("in_features", "out_features", "camera", "mean_reading"):
        assert getattr(moving, name) == getattr(device, name)
    assert moving.fingerprint != device.fingerprint, "two files of one name otherwise"


def test_readings_are_normalised_by_one_constant(devices: list[SimulatedOPU]) -> None:
    moving = MovingDevice(devices)
    assert len({device.mean_reading for device in devices}) == K
    assert moving.mean_reading == pytest.approx(sum(device.mean_reading for device in devices) / K)


def test_the_fingerprint_is_of_all_in_order_and_of_nothing_else(devices: list[SimulatedOPU]) -> None:
    moving = MovingDevice(devices, seed=1)
    assert moving.fingerprint == MovingDevice(devices, seed=2).fingerprint
    other = SimulatedOPU.create(N, M, seed=99)
    others = [[*devices[:k], other, *devices[k + 1 :]] for k in range(K)] + [devices[::-1], devices[:-1]]
    found = {MovingDevice(each).fingerprint for each in others} | {moving.fingerprint}
    assert len(found) == len(others) + 1


def test_a_new_one_is_made_of_one_secret() -> None:
    first, same, other = (MovingDevice.create(N, M, count=3, seed=seed) for seed in (7, 7, 8))
    assert first.fingerprint == same.fingerprint
    assert torch.equal(first.measure(draw(30)), same.measure(draw(30)))
    every = {device.fingerprint for moving in (first, other) for device in moving.devices}
    assert len(every) == 6
    assert len({MovingDevice.create(N, M, count=2).fingerprint for _ in range(3)}) == 3
    longer = MovingDevice.create(N, M, count=4, seed=7)
    assert longer.devices[2].fingerprint == first.devices[2].fingerprint, "studies of K share matrices"


@pytest.fixture
def secret() -> MovingDevice:
    return MovingDevice.create(N, M, count=2, seed=SEED)


def test_it_has_no_one_matrix(secret: MovingDevice) -> None:
    with pytest.raises(TypeError, match="MovingDevice"):
        true_matrix(secret)


def test_what_cannot_move_is_refused(devices: list[SimulatedOPU]) -> None:
    first = devices[0]
    with pytest.raises(ValueError, match="at least one"):
        MovingDevice([])
    with pytest.raises(ValueError, match=r"count.*at least 1"):
        MovingDevice.create(N, M, count=0)
    with pytest.raises(ValueError, match="devices 0 and 2 are the same"):
        MovingDevice([first, devices[1], SimulatedOPU.create(N, M, seed=0)])
    with pytest.raises(TypeError, match="device 1 must be a SimulatedOPU, not a MovingDevice"):
        MovingDevice([first, MovingDevice([devices[1]])])  # type: ignore[list-item]
    for name, other in {
        "in_features": SimulatedOPU.create(N + 1, M, seed=1),
        "out_features": SimulatedOPU.create(N, M - 1, seed=1),
        "camera": SimulatedOPU.create(N, M, seed=1, camera=Camera(bits=4)),
        "matrix": SimulatedOPU.create(N, M, seed=1, matrix="real"),
    }.items():
        with pytest.raises(ValueError, match=f"device 1 has {name}="):
            MovingDevice([first, other])


def test_a_bad_input_takes_no_draw(devices: list[SimulatedOPU]) -> None:
    moving, bits = MovingDevice(devices, seed=5), draw(60)
    with pytest.raises(ValueError, match="columns"):
        moving.measure(bits[:, 1:])
    assert torch.equal(moving.measure(bits), MovingDevice(devices, seed=5).measure(bits))


def test_the_store_gives_it_back(secret: MovingDevice, tmp_path: Path) -> None:
    store = DeviceStore(tmp_path / "devices")
    path = store.put(secret)
    assert path == store.put(secret) == store.path(secret.fingerprint)
    assert set(store.fingerprints()) == {secret.fingerprint, *(device.fingerprint for device in secret.devices)}
    loaded = store.find(secret.fingerprint, in_features=N, out_features=M)
    assert isinstance(loaded, MovingDevice)
    assert loaded.fingerprint == secret.fingerprint
    assert loaded.mean_reading == secret.mean_reading
    bits = draw(50)
    assert torch.equal(loaded.with_draws(1).measure(bits), secret.with_draws(1).measure(bits))
    assert not torch.equal(loaded.measure(bits), store.find(secret.fingerprint).measure(bits)), "a stream of its own"
    with pytest.raises(ValueError, match=f"in_features={N}, the model needs 3"):
        store.find(secret.fingerprint, in_features=3)


def test_the_list_holds_no_secret_and_its_devices_are_ordinary_files(secret: MovingDevice, tmp_path: Path) -> None:
    store = DeviceStore(tmp_path / "devices")
    content = store.put(secret).read_text()
    assert not any(form in content for form in secrets_of(secret))
    assert json.loads(content)["devices"] == [device.fingerprint for device in secret.devices]
    for device in secret.devices:
        path = store.path(device.fingerprint)
        assert path.name == f"{device.fingerprint}.device"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert isinstance(store.find(device.fingerprint), SimulatedOPU)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_a_wrong_list_is_refused(secret: MovingDevice, tmp_path: Path) -> None:
    store = DeviceStore(tmp_path)
    path = store.put(secret)
    right = json.loads(path.read_text())
    for changes, error, says in [
        ({"devices": right["devices"][::-1]}, DamagedFileError, "not the one that it is named by"),
        ({"devices": right["devices"][:1] * 2}, DamagedFileError, "the same"),
        ({"devices": []}, DamagedFileError, "at least one"),
        ({"devices": [secret.fingerprint]}, DamagedFileError, "moving device itself"),
        ({"devices": ["0123abcd"]}, FileNotFoundError, "no device 0123abcd"),
        ({"devices": [5]}, FileNotFoundError, "no device 5"),
        ({"devices": ["../up"]}, DamagedFileError, "hex"),
        ({"version": 9}, DamagedFileError, "version 9"),
        ({"format": "?"}, DamagedFileError, "not the list"),
        ({"devices": None}, DamagedFileError, "not the list"),
    ]:
        path.write_text(json.dumps(right | changes))
        with pytest.raises(error, match=says):
            store.find(secret.fingerprint)
    path.write_text("[]")
    with pytest.raises(DamagedFileError, match="not the list"):
        store.find(secret.fingerprint)


def test_a_saved_model_finds_its_moving_device(secret: MovingDevice, tmp_path: Path) -> None:
    spec = ModelSpec(width=0.05, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=N, device_out=M)
    store = DeviceStore(tmp_path / "devices")
    store.put(secret)
    model = build(spec, device=secret, seed=1).eval()
    save_model(tmp_path / "model", model, spec)
    loaded = load_model(tmp_path / "model", find_device=store.find)
    for network in (model, loaded):
        network.block.optical.device = network.device.with_draws(3)
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model(images), loaded(images))
    with pytest.raises(ValueError, match="not the one that the network was trained with"):
        load_model(tmp_path / "model", find_device=lambda fingerprint: MovingDevice(secret.devices[::-1]))


def test_a_classifier_that_is_fitted_to_all_matrices_predicts_and_one_that_is_fitted_to_one_does_not() -> None:
    g = torch.Generator().manual_seed(5)
    n, m, classes = 64, 256, 10
    prototypes = torch.rand(classes, n, generator=g) < 0.4
    labels = torch.randint(0, classes, (900,), generator=g)
    bits = (prototypes[labels] ^ (torch.rand(900, n, generator=g) < 0.15)).to(torch.uint8)
    moving = MovingDevice.create(n, m, count=2, seed=3)
    spec = ModelSpec(width=0.05, classes=classes, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=n, device_out=m)
    network = build(spec, device=moving.devices[0], seed=2).eval()

    def accuracy_with(device: MovingDevice | SimulatedOPU) -> float:
        place_device(network, device)
        return accuracy_of_bits(network, bits[600:], labels[600:])

    fit_classifier(network, bits[:600], labels[:600], seed=0)
    assert accuracy_with(moving.devices[0]) > 0.95
    assert accuracy_with(moving) < 0.7
    fit_classifier(network, bits[:600].repeat(2, 1), labels[:600].repeat(2), seed=0)
    assert accuracy_with(moving) > 0.95
    assert min(accuracy_with(device) for device in moving.devices) > 0.93


def test_one_that_is_half_made_has_a_repr() -> None:
    assert "MovingDevice" in repr(MovingDevice.__new__(MovingDevice))


def test_a_saved_stream_of_draws_begins_again_wherever_it_is_opened(
    devices: list[SimulatedOPU], tmp_path: Path
) -> None:
    store, bits = DeviceStore(tmp_path), draw(1)[[0] * 60]
    store.put(MovingDevice(devices, seed=3), draws=True)
    fingerprint = MovingDevice(devices).fingerprint
    wanted = MovingDevice(devices, seed=3).measure(bits)
    for _ in range(2):
        assert torch.equal(store.find(fingerprint, draws=True).measure(bits), wanted)
    assert not torch.equal(store.find(fingerprint).measure(bits), wanted)
    path = tmp_path / f"{fingerprint}.draws"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = json.loads(path.read_text())["key"]
    whole = path.read_text()
    for altered in (whole.replace(key, f"-{key}"), whole.replace(key, f"x{key}"), whole[:-4]):
        path.write_text(altered)
        with pytest.raises(DamagedFileError, match="draws") as raised:
            store.find(fingerprint, draws=True)
        assert key not in "".join(traceback.format_exception(raised.value))
        assert raised.value.__context__ is None, "a parser's own error holds the whole text"
    path.chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        store.find(fingerprint, draws=True)


def test_noise_and_exposure_are_arguments_as_of_one_device() -> None:
    given: dict[str, Any] = {
        "read_noise": 3.0,
        "shot_noise": 50.0,
        "saturation": 0.1,
        "matrix": "real",
        "noise_seed": 4,
    }
    moving = MovingDevice.create(16, 20, count=2, seed=1, **given)
    for device in moving.devices:
        camera = device.camera
        assert (camera.read_noise, camera.shot_noise, camera.saturation) == (3.0, 50.0, 0.1)
        assert (device.matrix, device.noise_seed) == ("real", 4)
    with pytest.raises(ValueError, match="read_noise"):
        MovingDevice.create(16, 20, count=2, seed=1, read_noise=-1)
