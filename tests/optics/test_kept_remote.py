"""A device at a service in a store: found by its fingerprint, with a token of one's own, which goes to no stranger's address."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from groundglass.core.checksum import sealed
from groundglass.optics import DeviceStore, RemoteOPU, SimulatedOPU
from groundglass.optics.counted import CountedDevice, counted, uncounted
from groundglass.optics.remote.connection import TOKEN
from groundglass.optics.remote.errors import MatrixRedrawnError, TokenRefusedError
from groundglass.optics.remote.kept import opens_elsewhere
from groundglass.service.policy import Redraw
from tests.service.serving import Bench, bench

BITS = torch.randint(0, 2, (5, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.fixture(scope="module")
def service() -> Iterator[Bench]:
    with bench() as one:
        yield one


@pytest.fixture
def served(service: Bench, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[RemoteOPU, str]:
    name = request.node.name[:60].replace("[", "-").replace("]", "")
    service.serve(name, SimulatedOPU.create(32, 24, seed=5), policy=Redraw(overlap=0.0))
    token = service.token()
    monkeypatch.setenv(TOKEN, token)
    return service.client(name, token), token


def test_a_store_finds_it_by_its_fingerprint_and_counts_its_frames(
    served: tuple[RemoteOPU, str], tmp_path: Path
) -> None:
    device, token = served
    path = DeviceStore(tmp_path / "devices").keep(device)
    assert token.encode() not in path.read_bytes()
    assert token.split("_", 2)[2].encode() not in path.read_bytes()
    store = DeviceStore(tmp_path / "devices")
    assert store.fingerprints() == [device.fingerprint]
    found = store.find(device.fingerprint, in_features=32, out_features=24)
    assert torch.equal(found.measure(BITS), SimulatedOPU.create(32, 24, seed=5).measure(BITS))
    assert store.frames == 5
    assert store.find(device.fingerprint) is found


def test_another_token_is_not_sent_to_the_address_in_a_file(
    served: tuple[RemoteOPU, str], service: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run folder that came from somebody else: the address is theirs, the token would be mine."""
    device, _ = served
    path = DeviceStore(tmp_path).keep(device)
    asked: list[str] = []
    monkeypatch.setattr(RemoteOPU, "__init__", lambda self, *given, **options: asked.append("asked"))
    monkeypatch.setenv(TOKEN, service.token())
    with pytest.raises(TokenRefusedError, match="not sent"):
        DeviceStore(tmp_path).find(device.fingerprint)
    monkeypatch.delenv(TOKEN)
    with pytest.raises(TokenRefusedError, match=TOKEN):
        DeviceStore(tmp_path).find(device.fingerprint)
    monkeypatch.setenv(TOKEN, served[1])
    told = json.loads(path.read_text())
    for changed in ({"address": "https://evil.example/devices/a"}, {"signature": ""}, {"ca": "/tmp/theirs.pem"}):
        path.write_text(json.dumps(sealed({**told, **changed})))
        with pytest.raises(TokenRefusedError):
            DeviceStore(tmp_path).find(device.fingerprint)
    assert asked == []


def test_a_token_file_is_enough(served: tuple[RemoteOPU, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, token = served
    file = tmp_path / "token"
    file.write_text(token + "\n")
    file.chmod(0o600)
    DeviceStore(tmp_path / "devices").keep(device)
    monkeypatch.delenv(TOKEN)
    found = DeviceStore(tmp_path / "devices", token_file=file).find(device.fingerprint)
    assert found.fingerprint == device.fingerprint
    assert not opens_elsewhere(device)  # its token was given as a text
    assert opens_elsewhere(RemoteOPU(device.address, token_file=file))


def test_a_matrix_that_is_gone_is_said_before_any_frame(served: tuple[RemoteOPU, str], tmp_path: Path) -> None:
    device, _ = served
    store = DeviceStore(tmp_path)
    store.keep(device)
    device.redraw()
    new = device.reopened()
    assert new.fingerprint != device.fingerprint
    with pytest.raises(MatrixRedrawnError) as raised:
        DeviceStore(tmp_path).find(device.fingerprint)
    assert (raised.value.old, raised.value.new) == (device.fingerprint, new.fingerprint)
    with pytest.raises(MatrixRedrawnError):
        device.measure(BITS)
    assert new.measure(BITS).shape == (5, 24)


def test_an_old_matrix_answers_by_its_fingerprint_during_the_overlap(
    service: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.serve("lapping", SimulatedOPU.create(32, 24, seed=5), policy=Redraw(overlap=600.0))
    monkeypatch.setenv(TOKEN, service.token())
    device = RemoteOPU(service.address("lapping"))
    DeviceStore(tmp_path).keep(device)
    before = device.measure(BITS)
    device.redraw()
    new = device.reopened()
    found = DeviceStore(tmp_path).find(device.fingerprint)
    assert torch.equal(found.measure(BITS), before)
    assert not torch.equal(new.measure(BITS), before)
    assert found.mean_reading == device.mean_reading != new.mean_reading


def test_the_budget_that_is_left_is_asked_for(service: Bench) -> None:
    service.serve("metered", SimulatedOPU.create(32, 24, seed=5))
    device = service.client("metered", service.token(frames=12))
    assert device.frames_left == 12
    device.measure(BITS)
    assert device.frames_left == 7
    assert service.client("metered").frames_left is None


class Plain:
    """A device of somebody's own, which has what the protocol asks for."""

    in_features, out_features, fingerprint, mean_reading = 32, 24, "mine", 1.0

    def measure(self, bits: torch.Tensor) -> torch.Tensor:
        if len(bits) == 3:
            raise RuntimeError("no light")
        return torch.zeros(len(bits), 24, dtype=torch.uint8)


def test_counting_changes_nothing_else() -> None:
    inner = SimulatedOPU.create(32, 24, seed=5)
    device = counted(inner)
    assert counted(device) is device
    assert uncounted(device) is inner
    assert torch.equal(device.measure(BITS), inner.measure(BITS))
    assert torch.equal(device.measure_at(BITS, 0.5), inner.measure_at(BITS, 0.5))  # type: ignore[attr-defined]
    assert isinstance(device.measure(BITS.numpy()), np.ndarray)  # type: ignore[arg-type]
    assert device.frames == 15
    assert device.camera == inner.camera
    plain = CountedDevice(Plain())
    assert not hasattr(plain, "measure_at")
    with pytest.raises(RuntimeError, match="no light"):
        plain.measure(BITS[:3])
    assert plain.frames == 0
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(device)


def test_a_device_that_is_not_made_again_from_a_file_is_lent(tmp_path: Path) -> None:
    store, device = DeviceStore(tmp_path), Plain()
    with pytest.raises(TypeError, match="lend"):
        store.put(device)
    store.lend(device)
    assert uncounted(store.find("mine")) is device
