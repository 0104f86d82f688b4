"""The secret stays where it is: not in text, not in pickles, not in tracebacks, not in model files."""

import copy
import dataclasses
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from groundglass.core import DamagedFileError
from groundglass.core.sealed import Sealed, Seed
from groundglass.optics import Camera, MovingDevice, OpticalLayer, SimulatedOPU
from groundglass.optics.camera import FrameNoise

SEED = 0x5EC2E75EC2E75EC2E75EC2E7


def simulated() -> SimulatedOPU:
    return SimulatedOPU.create(24, 16, seed=SEED, camera=Camera(read_noise=1))


def moving() -> MovingDevice:
    return MovingDevice.create(24, 16, count=2, seed=SEED)


@pytest.fixture
def device() -> SimulatedOPU:
    return simulated()


@pytest.fixture(params=[simulated, moving])
def any_device(request: pytest.FixtureRequest) -> SimulatedOPU | MovingDevice:
    return request.param()


def holders(device: SimulatedOPU | MovingDevice) -> list[Sealed]:
    """The device and all that it is made of."""
    if isinstance(device, MovingDevice):
        return [device, *(part for each in device.devices for part in holders(each))]
    return [device, device._medium, device._medium.seed, device._noise]


def secrets_of(device: SimulatedOPU | MovingDevice) -> set[str]:
    """All numbers that must not be seen, in decimal and in hex."""
    numbers = [SEED, *(int(part.reveal(), 16) for part in holders(device) if isinstance(part, Seed))]
    if isinstance(device, MovingDevice):
        numbers += map(int, device._draws.bit_generator.state["state"]["key"])
    return {form for number in numbers for form in (str(number), f"{number:x}")}


def shows_it(text: str, secrets: Iterable[str] = (str(SEED), f"{SEED:x}")) -> bool:
    return any(form in text.lower() for form in (*secrets, "int8", "[["))


def test_the_detector_detects() -> None:
    assert shows_it(f"seed={SEED}")
    assert shows_it(repr({"seed": hex(SEED)}))
    assert shows_it(repr(np.zeros((3, 3), dtype=np.int8)))
    assert shows_it(str(np.ones((3, 3))))


@pytest.mark.parametrize("render", [repr, str, "{}".format, "{!r}".format], ids=["repr", "str", "format", "r"])
def test_no_text_form_shows_it(any_device: SimulatedOPU | MovingDevice, render: Callable[[object], str]) -> None:
    secrets = secrets_of(any_device)
    for holder in holders(any_device):
        assert not shows_it(render(holder), secrets)
        assert not hasattr(holder, "__dict__")
    assert not shows_it(render([OpticalLayer(any_device), vars(OpticalLayer(any_device))]), secrets)
    assert any_device.fingerprint in render(any_device)


def test_no_log_shows_it(device: SimulatedOPU, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").warning("measuring with %s %r %s", device, device, {"device": device})
    assert not shows_it(caplog.text)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_refused_for_everything_that_holds_it(any_device: SimulatedOPU | MovingDevice, protocol: int) -> None:
    for holder in holders(any_device):
        with pytest.raises(TypeError, match=r"(?s)(device\.save\(path\)|DeviceStore).*fingerprint"):
            pickle.dumps({"holder": [holder]}, protocol)


def test_no_copy_comes_apart(any_device: SimulatedOPU | MovingDevice) -> None:
    for holder in holders(any_device):
        assert copy.copy(holder) is holder
        assert copy.deepcopy({"holder": holder})["holder"] is holder

    @dataclasses.dataclass
    class Config:
        device: object

    assert dataclasses.asdict(Config(any_device)) == {"device": any_device}


def test_a_state_dict_holds_nothing_of_it(any_device: SimulatedOPU | MovingDevice) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 24), OpticalLayer(any_device), torch.nn.Linear(16, 2))
    assert set(model.state_dict()) == {"0.weight", "0.bias", "1._extra_state", "2.weight", "2.bias"}
    assert bytes(model.state_dict()["1._extra_state"].tolist()).decode() == any_device.fingerprint
    with pytest.raises(TypeError):
        torch.save(model, io.BytesIO())
    assert copy.deepcopy(model)[1].device is any_device


def test_the_outside_cannot_be_changed(any_device: SimulatedOPU | MovingDevice) -> None:
    for name in ("in_features", "fingerprint", "camera", "mean_reading", "seed"):
        with pytest.raises(AttributeError):
            setattr(any_device, name, None)


def traceback_of(action: Callable[[], object]) -> str:
    """As a reporter that prints local variables would show it: those of the package, as a user's own are his."""
    try:
        action()
    except Exception as error:
        frames = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown = [f for f in frames.stack if "groundglass/optics" in f.filename.replace("\\", "/")]
        assert shown
        return "".join(str(error) + str(frame.locals) for frame in shown)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "changes",
    [{"checksum": "0"}, {"version": 7}, {"in_features": 25}, {"format": "?"}, {"camera": 5}, {"fingerprint": "0"}],
)
@pytest.mark.parametrize("right", [False, True], ids=["checksum wrong", "checksum right"])
def test_no_traceback_of_a_bad_file_shows_it(
    device: SimulatedOPU, tmp_path: Path, changes: dict[str, object], right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.device"
    device.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    if right:
        monkeypatch.setattr("groundglass.optics.secret_file._checksum", lambda content: content.get("checksum"))
    if changes == {"checksum": "0"} and right:
        return
    shown = traceback_of(lambda: SimulatedOPU.load(path))
    assert f"{SEED:x}" not in shown
    assert str(SEED) not in shown
    with pytest.raises(DamagedFileError):
        SimulatedOPU.load(path)


def test_no_traceback_of_a_bad_input_shows_it(device: SimulatedOPU) -> None:
    for bits in (torch.zeros(2, 24), torch.zeros(2, 23, dtype=torch.uint8), torch.full((2, 24), 2, dtype=torch.uint8)):
        shown = traceback_of(lambda bits=bits: device.measure(bits))
        assert not any(form in shown for form in (str(SEED), f"{SEED:x}", "dtype=int8"))


def test_streams_of_a_seed_are_apart() -> None:
    seed = Seed(5)
    assert seed.stream("a", 32) != seed.stream("b", 32)
    assert seed.stream("a", 32)[:16] == seed.stream("a", 16)
    assert Seed(6).stream("a", 32) != seed.stream("a", 32)
    assert len({Seed()._value for _ in range(50)}) == 50
    assert max(Seed()._value for _ in range(50)).bit_length() > 120


def test_the_key_of_the_noise_is_not_public() -> None:
    """Two devices under noise seed 0 have different keys, and neither follows from the noise seed."""
    keys = {FrameNoise(Seed(value), noise)._key for value in (1, 2) for noise in (0, 1)}
    assert len(keys) == 4
