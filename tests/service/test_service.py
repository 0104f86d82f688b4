"""The service over a Unix socket: what it answers, to whom, and what it counts."""

import threading
from collections.abc import Iterator

import pytest
import torch

from groundglass.optics import Camera, DeviceAccess, RemoteOPU, SimulatedOPU
from groundglass.optics.remote import errors
from tests.service import serving
from tests.service.serving import Bench

N, M = 70, 45


def draw(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2, (rows, N), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with serving.bench() as one:
        one.serve("lab", SimulatedOPU.create(N, M, seed=1))
        one.serve("noisy", SimulatedOPU.create(N, M, seed=2, camera=Camera(read_noise=1.0)))
        yield one


def test_readings_are_those_of_the_device_and_each_is_counted(bench: Bench) -> None:
    device = bench.client("lab", bench.token("alice"))
    here = SimulatedOPU.create(N, M, seed=1)
    assert (device.fingerprint, device.mean_reading, device.camera) == (
        here.fingerprint,
        here.mean_reading,
        here.camera,
    )
    assert device.public
    assert torch.equal(device.measure(draw(300)), here.measure(draw(300)))
    assert torch.equal(device.measure_at(draw(20), 0.5), here.measure_at(draw(20), 0.5))
    assert bench.frames("alice") == 320
    assert DeviceAccess(device, exposure_control=True).measure(draw(3), exposure=2.0).shape == (3, M)


def test_noise_is_that_of_the_frames_in_order(bench: Bench) -> None:
    device = bench.client("noisy")
    here = SimulatedOPU.create(N, M, seed=2, camera=Camera(read_noise=1.0))
    for rows in (1, 50, 0, 7):
        assert torch.equal(device.measure(draw(rows)), here.measure(draw(rows)))


def test_threads_share_a_device(bench: Bench) -> None:
    device = bench.client("lab", bench.token("threads"))
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
    assert bench.frames("threads") == 6 * 75


def test_who_is_refused(bench: Bench) -> None:
    right, reader = bench.token(), bench.token(roles=("measure",), devices=("lab",))
    wrong = right[:-1] + ("a" if right[-1] != "a" else "b")
    for token in (wrong, "unknown", None):
        with pytest.raises(errors.TokenRefusedError):
            RemoteOPU(bench.address("lab"), token=token)
    for name in ("noisy", "none"):
        with pytest.raises(errors.NoSuchDeviceError):
            RemoteOPU(bench.address(name), token=reader)


def test_a_role_and_a_budget_bound_what_a_token_may_do(bench: Bench) -> None:
    reader = bench.client("lab", bench.token(roles=("measure",)))
    with pytest.raises(errors.RoleRefusedError, match="calibrate"):
        reader.measure_at(draw(2), 2.0)
    poor = bench.client("lab", bench.token("poor", frames=25))
    poor.measure(draw(20))
    assert poor.facts().budget == {"frames": 5}
    with pytest.raises(errors.FrameBudgetError):
        poor.measure(draw(6))
    assert bench.frames("poor") == 20
    poor.measure(draw(5))
    assert bench.frames("poor") == 25


def test_a_budget_a_second_is_waited_out(bench: Bench) -> None:
    """In pieces that it has room for."""
    device = bench.client("lab", bench.token("steady", frames_a_second=40))
    assert torch.equal(device.measure(draw(60)), SimulatedOPU.create(N, M, seed=1).measure(draw(60)))
    assert bench.frames("steady") == 60


@pytest.mark.parametrize("budget", ["frames", "frames_a_day"])
def test_what_takes_several_requests_is_refused_whole(bench: Bench, budget: str) -> None:
    device = bench.client("lab", bench.token(f"whole-{budget}", frames_a_second=20, **{budget: 50}))
    with pytest.raises(errors.FrameBudgetError, match="None was taken"):
        device.measure(draw(60))
    assert bench.frames(f"whole-{budget}") == 0
    device.measure(draw(15))
    with pytest.raises(errors.FrameBudgetError, match="None was taken"):
        device.measure(draw(36))
    assert bench.frames(f"whole-{budget}") == 15


def test_a_day_that_has_too_few_frames_left_is_not_used_up_by_a_part(bench: Bench) -> None:
    device = bench.client("lab", bench.token("today", frames_a_day=20))
    with pytest.raises(errors.FrameBudgetError):
        device.measure(draw(30))
    assert bench.frames("today") == 0
