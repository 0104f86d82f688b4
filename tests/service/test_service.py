"""The service over a Unix socket: what it answers, to whom, and what it counts."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from groundglass.optics import Camera, DeviceAccess, RemoteOPU, SimulatedOPU
from groundglass.optics.remote import errors
from groundglass.service.app import Service
from tests.service.serving import Client, MemoryLedger, frames_of, served

N, M = 70, 45


def draw(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2, (rows, N), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[Service, Path]]:
    ledger = MemoryLedger()
    ledger.clients = {
        "gg_reader": Client("reader", frozenset({"measure"}), ("lab",)),
        "gg_poor": Client("poor", frozenset({"measure"}), budget=25),
    }
    one = Service(ledger, body_seconds=0.3)
    for name, device in (
        ("lab", SimulatedOPU.create(N, M, seed=1)),
        ("noisy", SimulatedOPU.create(N, M, seed=2, camera=Camera(read_noise=1.0))),
    ):
        one.devices[name] = frames_of(name, device, ledger)
    with served(one) as path:
        yield one, path


def test_readings_are_those_of_the_device_and_each_is_counted(service: tuple[Service, Path]) -> None:
    one, path = service
    device = RemoteOPU(f"unix://{path}#lab", token="gg_alice")
    here = SimulatedOPU.create(N, M, seed=1)
    assert (device.fingerprint, device.mean_reading, device.camera) == (
        here.fingerprint,
        here.mean_reading,
        here.camera,
    )
    assert device.public
    assert torch.equal(device.measure(draw(300)), here.measure(draw(300)))
    assert torch.equal(device.measure_at(draw(20), 0.5), here.measure_at(draw(20), 0.5))
    assert one.ledger.frames("alice") == 320
    assert one.ledger.reserved["alice"] == 0
    assert DeviceAccess(device, exposure_control=True).measure(draw(3), exposure=2.0).shape == (3, M)


def test_noise_is_that_of_the_frames_in_order(service: tuple[Service, Path]) -> None:
    device = RemoteOPU(f"unix://{service[1]}#noisy", token="gg_alice")
    here = SimulatedOPU.create(N, M, seed=2, camera=Camera(read_noise=1.0))
    for rows in (1, 50, 0, 7):
        assert torch.equal(device.measure(draw(rows)), here.measure(draw(rows)))


def test_threads_share_a_device(service: tuple[Service, Path]) -> None:
    device = RemoteOPU(f"unix://{service[1]}#lab", token="gg_threads")
    here, wrong = SimulatedOPU.create(N, M, seed=1), []

    def work(seed: int) -> None:
        for k in range(5):
            bits = draw(1 + 7 * k, seed)
            if not torch.equal(device.measure(bits), here.measure(bits)):
                wrong.append((seed, k))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert service[0].ledger.frames("threads") == 6 * 75


@pytest.mark.parametrize(
    ("token", "name", "error"),
    [
        ("unknown", "lab", errors.TokenRefusedError),
        (None, "lab", errors.TokenRefusedError),
        ("gg_reader", "noisy", errors.NoSuchDeviceError),
        ("gg_reader", "none", errors.NoSuchDeviceError),
    ],
)
def test_who_is_refused(service: tuple[Service, Path], token: str | None, name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        RemoteOPU(f"unix://{service[1]}#{name}", token=token)


def test_a_role_and_a_budget_bound_what_a_token_may_do(service: tuple[Service, Path]) -> None:
    reader = RemoteOPU(f"unix://{service[1]}#lab", token="gg_reader")
    with pytest.raises(errors.RoleRefusedError, match="calibrate"):
        reader.measure_at(draw(2), 2.0)
    poor = RemoteOPU(f"unix://{service[1]}#lab", token="gg_poor")
    poor.measure(draw(20))
    with pytest.raises(errors.FrameBudgetError):
        poor.measure(draw(6))
    assert service[0].ledger.frames("poor") == 20
    poor.measure(draw(5))
    assert service[0].ledger.frames("poor") == 25
