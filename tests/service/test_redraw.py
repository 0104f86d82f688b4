"""Another matrix under the same name: by an operator, by policy, by a guard; kept across restarts."""

import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from groundglass.core import DamagedFileError
from groundglass.optics import Camera, DeviceStore, DriftingDevice, LightOnOPU, MovingDevice, SimulatedOPU
from groundglass.optics.remote import errors
from groundglass.service.guard import Finding
from groundglass.service.policy import Redraw, Versions, redrawn
from groundglass.service.watch import Watch
from tests.contracts.test_device_contract import M, N, StandIn, draw
from tests.service import serving
from tests.service.serving import Bench


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving.bench() as one:
        yield one


def lab() -> SimulatedOPU:
    return SimulatedOPU.create(N, M, seed=1)


def ask_for_another(bench: Bench, name: str) -> str:
    bench.service.devices[name].redraw()
    return bench.service.devices[name].versions.fingerprint


def test_a_client_of_the_old_matrix_is_told_of_the_new_one(bench: Bench) -> None:
    bench.serve("lab", lab())
    device = bench.client("lab", bench.token("alice"))
    old = device.measure(draw(20))
    new = ask_for_another(bench, "lab")
    with pytest.raises(errors.MatrixRedrawnError) as told:
        device.measure(draw(20))
    assert (told.value.old, told.value.new) == (lab().fingerprint, new)
    assert device.fingerprint == lab().fingerprint
    assert bench.frames("alice") == 20
    assert device.refresh() == new == device.fingerprint
    assert not device.public  # the first one's seed was given
    assert (device.measure(draw(20)) != old).double().mean() > 0.9
    # What measures is what lies on the disk, for its owner alone.
    store = DeviceStore(bench.folder / "state" / "lab")
    assert torch.equal(store.find(new).measure(draw(20)), device.measure(draw(20)))
    assert store.path(new).stat().st_mode & 0o777 == 0o600


def test_the_old_matrix_answers_for_the_stated_overlap(bench: Bench) -> None:
    bench.serve("lab", lab(), policy=Redraw(overlap=100))
    device = bench.client("lab")
    assert device.facts().overlap == 100
    device.measure(draw(1))
    assert device.seconds_left is None
    ask_for_another(bench, "lab")
    assert torch.equal(device.measure(draw(20)), lab().measure(draw(20)))
    assert 90 < device.seconds_left <= 100
    versions, now = bench.service.devices["lab"].versions, time.time()
    versions._now = lambda: now + 101
    with pytest.raises(errors.MatrixRedrawnError):
        device.measure(draw(1))


def test_no_matrix_measures_more_frames_than_the_policy_says(bench: Bench) -> None:
    """Whoever asks for more at once gets a typed error in the middle, and is charged for what was measured."""
    frames = bench.serve("lab", lab(), policy=Redraw(frames=50))
    device = bench.client("lab", bench.token("alice"))
    device.measure(draw(20))
    with pytest.raises(errors.MatrixRedrawnError):
        device.measure(draw(31))
    assert bench.frames("alice") == 50
    assert device.refresh() == frames.versions.fingerprint != lab().fingerprint
    device.measure(draw(50))
    with pytest.raises(errors.MatrixRedrawnError):
        device.measure(draw(1))
    assert bench.frames("alice") == 100


def test_a_matrix_is_drawn_again_in_time_when_nobody_asks(bench: Bench) -> None:
    frames = bench.serve("lab", lab(), policy=Redraw(seconds=0.05))
    for _ in range(2000):
        if frames.versions.fingerprint != lab().fingerprint:
            break
        time.sleep(0.005)
    assert frames.versions.fingerprint != lab().fingerprint


def test_the_role_redraw_over_http(bench: Bench) -> None:
    bench.serve("lab", lab())
    with pytest.raises(errors.RoleRefusedError):
        bench.client("lab", bench.token(roles=("measure", "administer"))).redraw()
    device = bench.client("lab", bench.token(roles=("measure", "redraw")))
    new = device.redraw()
    assert device.fingerprint == lab().fingerprint
    assert device.refresh() == new == bench.service.devices["lab"].versions.fingerprint


def test_a_real_device_cannot_be_drawn_again(bench: Bench) -> None:
    bench.serve("opu", LightOnOPU.calibrate(StandIn("numpy"), N, M))
    device = bench.client("opu")
    with pytest.raises(errors.CannotRedrawError):
        device.redraw()
    assert device.measure(draw(3)).shape == (3, M)
    with pytest.raises(ValueError, match="policy"):
        Versions("opu", LightOnOPU.calibrate(StandIn("numpy"), N, M), bench.folder / "x", policy=Redraw(frames=5))


def test_state_is_gone_on_with_after_a_restart(tmp_path: Path) -> None:
    folder, now = tmp_path / "lab", [1000.0]
    policy = Redraw(frames=100, seconds=3600, overlap=60)

    def again(frames: int, device: Any = None) -> Versions:
        return Versions("lab", device or lab(), folder, policy=policy, frames=frames, now=lambda: now[0])

    one = again(0)
    one.count(30)
    now[0] += 10
    one.redraw()
    new = one.fingerprint
    one.count(30)
    now[0] += 10
    two = again(60)
    assert two.fingerprint == new
    assert torch.equal(two.current.device.measure(draw(9)), one.current.device.measure(draw(9)))
    assert two.frames_left == 70
    assert two.until_due() == 3590
    assert two.facts()["age"] == 10
    assert two.find(lab().fingerprint).until == 1070
    two.redraw()
    assert two.find(new).until == 1080
    now[0] += 55  # the first has ended, the second has not
    three = again(60, SimulatedOPU.load(DeviceStore(folder).path(two.fingerprint)))
    assert torch.equal(three.find(new).device.measure(draw(9)), one.current.device.measure(draw(9)))
    with pytest.raises(errors.MatrixRedrawnError):
        three.find(lab().fingerprint)
    with pytest.raises(ValueError, match="another name"):
        again(60, SimulatedOPU.create(N, M, seed=2))


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    Versions("lab", lab(), tmp_path)
    (tmp_path / "versions.json").write_text("{}")
    with pytest.raises(DamagedFileError, match=r"versions\.json"):
        Versions("lab", lab(), tmp_path)


@pytest.mark.parametrize(
    "device",
    [
        SimulatedOPU.create(N, M, seed=1, kind="structured", camera=Camera(bits=None)),
        MovingDevice.create(N, M, count=2, seed=1, read_noise=0.5),
        DriftingDevice(SimulatedOPU.create(N, M, seed=1), correlation=500, hold=5),
    ],
)
def test_every_simulated_kind_is_drawn_again_as_it_was(device: Any, tmp_path: Path) -> None:
    new = redrawn(device)
    assert type(new) is type(device)
    assert new.camera == device.camera
    assert new.fingerprint != device.fingerprint
    versions = Versions("lab", device, tmp_path)
    versions.redraw()
    again = Versions("lab", device, tmp_path)
    assert again.fingerprint == versions.fingerprint
    assert type(again.current.device) is type(device)


def test_noise_and_drift_go_on_after_a_restart(tmp_path: Path) -> None:
    noisy, here = (SimulatedOPU.create(N, M, seed=1, read_noise=1.0) for _ in range(2))
    Versions("lab", noisy, tmp_path / "a", frames=0)
    Versions("lab", noisy, tmp_path / "a", frames=40)
    here.skip_frames(40)
    assert torch.equal(noisy.measure(draw(5)), here.measure(draw(5)))


def test_a_full_disk_leaves_the_old_matrix(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.serve("lab", lab())
    device = bench.client("lab", timeout=0.5)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("groundglass.optics.store.DeviceStore.put", full)
    with pytest.raises(errors.ServiceFullError):
        device.redraw()
    assert torch.equal(device.measure(draw(5)), lab().measure(draw(5)))


class Sees:
    """Finds a retrieval in rows with a single bit."""

    def __init__(self, *, together: bool = False) -> None:
        self.together = together
        self.rows: list[tuple[str, int]] = []

    def look(self, client: str, bits: np.ndarray) -> Finding | None:
        assert bits.dtype == np.uint8
        assert bits.shape[1] == N
        self.rows.append((client, len(bits)))
        return Finding("weight", 5.0, 4.0, 7, together=self.together) if (bits.sum(1) == 1).any() else None


ONE_BIT = torch.eye(N, dtype=torch.uint8)[:5]


@pytest.mark.parametrize("response", ["alarm", "throttle", "redraw", "refuse"])
def test_what_follows_from_what_a_guard_finds(bench: Bench, response: Any) -> None:
    guard = Sees()
    frames = bench.serve("lab", lab(), watch=Watch(guard, response, slow=1e4))
    good, bad = bench.client("lab"), bench.client("lab", bench.token("bad"))
    good.measure(draw(20))
    assert not bench.ledger.alarms.latest(9)
    expected = {"redraw": errors.MatrixRedrawnError, "refuse": errors.GuardedError}.get(response)
    if expected is None:
        assert torch.equal(bad.measure(ONE_BIT), lab().measure(ONE_BIT))
    else:
        with pytest.raises(expected):
            bad.measure(ONE_BIT)
    assert [(alarm.client, alarm.device, alarm.score, alarm.response) for alarm in bench.ledger.alarms.latest(9)] == [
        ("bad", "lab", 5.0, response)
    ]
    assert [rows for _, rows in guard.rows] == [20, 5]
    if response == "redraw":
        assert bench.frames("bad") == 0
        assert frames.versions.fingerprint != lab().fingerprint
    else:
        good.measure(draw(20))
    if response == "refuse":
        assert bench.frames("bad") == 0
        with pytest.raises(errors.GuardedError):
            bad.measure(draw(1))
    if response == "throttle":
        assert list(frames._turns._slowed) == [guard.rows[1][0]]


def test_who_would_have_the_matrix_drawn_again_and_again_is_shut_out(bench: Bench) -> None:
    """Every redraw is felt by all others."""
    frames = bench.serve("lab", lab(), watch=Watch(Sees(), "redraw"), policy=Redraw(overlap=60))
    first = frames.versions.fingerprint
    frames.redraw()
    bad, old = bench.client("lab", bench.token("bad")), bench.client("lab").at(first, 50.0)
    old.measure(draw(2))  # within the overlap
    with pytest.raises(errors.MatrixRedrawnError):
        bad.measure(ONE_BIT)
    with pytest.raises(errors.MatrixRedrawnError):  # it may have been the old matrix that was retrieved
        old.measure(draw(2))
    name = bad.refresh()
    bad.measure(draw(2))
    with pytest.raises(errors.GuardedError):
        bad.measure(ONE_BIT)
    assert [one.response for one in bench.ledger.alarms.latest(9)] == ["refuse", "redraw"]
    good = bench.client("lab")
    assert good.fingerprint == name
    good.measure(draw(2))
    bench.ledger.alarms.let_in(next(iter(bench.ledger.alarms.held()))[0])
    bad.measure(draw(2))
    with pytest.raises(errors.MatrixRedrawnError):
        bad.measure(ONE_BIT)


def test_all_together_have_it_drawn_again_once_a_minute(bench: Bench) -> None:
    frames = bench.serve("lab", lab(), watch=Watch(Sees(together=True), "redraw"))
    device = bench.client("lab")
    with pytest.raises(errors.MatrixRedrawnError):
        device.measure(ONE_BIT)
    name = device.refresh()
    device.measure(ONE_BIT)
    assert frames.versions.fingerprint == name


@pytest.mark.parametrize("response", ["throttle", "redraw", "refuse"])
def test_what_all_clients_do_together_is_no_single_ones_doing(bench: Bench, response: Any) -> None:
    frames = bench.serve("lab", lab(), watch=Watch(Sees(together=True), response))
    device = bench.client("lab")
    with pytest.raises(errors.MatrixRedrawnError) if response == "redraw" else nullcontext():
        assert torch.equal(device.measure(ONE_BIT), lab().measure(ONE_BIT))
    assert [alarm.client for alarm in bench.ledger.alarms.latest(9)] == [None]
    assert not frames._turns._slowed
    assert not bench.ledger.alarms.held()


def test_a_redraw_in_the_middle_of_many_requests_loses_nothing(bench: Bench) -> None:
    """Every answer is whole and of one matrix, or a typed error; and every frame is counted once."""
    frames = bench.serve("lab", lab())
    found: list[tuple[str, int, torch.Tensor]] = []

    def work(name: str) -> None:
        device = bench.client("lab", bench.token(name))
        for k in range(12):
            try:
                found.append((device.fingerprint, k, device.measure(draw(40, seed=k))))
            except errors.MatrixRedrawnError:
                device.refresh()

    threads = [threading.Thread(target=work, args=(f"client-{k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        frames.redraw()
    for thread in threads:
        thread.join()
    store = DeviceStore(bench.folder / "state" / "lab")
    known = {name: store.find(name) for name in store.fingerprints()} | {lab().fingerprint: lab()}
    assert len(known) == 4
    assert found
    assert all(torch.equal(readings, known[name].measure(draw(40, seed=k))) for name, k, readings in found)
    taken = sum(bench.frames(f"client-{k}") for k in range(4))
    assert 40 * len(found) <= taken == frames.frames <= 4 * 12 * 40
    assert bench.ledger._reserved.total() == 0
