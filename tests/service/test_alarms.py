"""What a guard has found outlives a restart, and so does what followed, until the operator lets the client in again."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from groundglass import cli
from groundglass.core import DamagedFileError, DiskFullError
from groundglass.optics import SimulatedOPU
from groundglass.optics.remote import errors
from groundglass.service.alarms import Alarm, Alarms
from groundglass.service.database import Database
from groundglass.service.ledger import Ledger
from groundglass.service.watch import Watch
from tests.contracts.test_device_contract import M, N, draw
from tests.service.serving import Bench
from tests.service.test_redraw import ONE_BIT, Sees

ALARM = Alarm(at=1e9, client="bad", device="lab", name="weight", score=7.0, limit=5.0, frames=12, response="refuse")


def lab() -> SimulatedOPU:
    return SimulatedOPU.create(N, M, seed=1)


@pytest.fixture
def benches(quick_folder: Path) -> Iterator[Any]:
    """Makes a service in the same folder, one after the other."""
    opened: list[Bench] = []

    def next_one(response: Any) -> Bench:
        if opened:
            opened.pop().close()
        opened.append(Bench(quick_folder))
        opened[0].serve("lab", lab(), watch=Watch(Sees(), response, slow=1e4))
        return opened[0]

    yield next_one
    opened.pop().close()


def let_in(bench: Bench, name: str) -> None:
    assert cli.main(["device", "token", "set", name, "--let-in", "--state", str(bench.folder / "state")]) == 0


def test_who_is_shut_out_stays_out_until_the_operator_lets_it_in(
    benches: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    first = benches("refuse")
    bad = first.token("bad")
    with pytest.raises(errors.GuardedError):
        first.client("lab", bad).measure(ONE_BIT)
    (alarm,) = first.ledger.alarms.latest(9)
    assert (alarm.client, alarm.device, alarm.response) == ("bad", "lab", "refuse")
    assert abs(alarm.at - first.ledger.clock.now()) < 60

    second = benches("refuse")
    assert second.ledger.alarms.latest(9) == (alarm,)
    device = second.client("lab", bad)
    with pytest.raises(errors.GuardedError):
        device.measure(draw(3))
    assert cli.main(["device", "token", "list", "--state", str(second.folder / "state")]) == 0
    assert "shut out at lab" in capfd.readouterr().out
    let_in(second, "bad")
    assert torch.equal(device.measure(draw(3)), lab().measure(draw(3)))
    assert second.frames("bad") == 3
    # It is looked at as before, and the second finding is an alarm of its own.
    with pytest.raises(errors.GuardedError):
        device.measure(ONE_BIT)
    assert len(second.ledger.alarms.latest(9)) == 2
    let_in(second, "bad")
    device.measure(draw(3))


def test_who_is_slowed_down_stays_so(benches: Any) -> None:
    first = benches("throttle")
    bad = first.token("bad")
    first.client("lab", bad).measure(ONE_BIT)
    second = benches("throttle")
    frames = second.service.devices["lab"]
    (held,) = frames._turns._slowed
    assert second.ledger.tokens.current(held).name == "bad"
    let_in(second, "bad")
    second.client("lab", bad).measure(draw(3))
    assert not frames._turns._slowed


def test_a_full_disk_lets_nobody_in(benches: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = benches("refuse")

    def full(*_: object) -> None:
        raise DiskFullError(28, "full")

    monkeypatch.setattr(Alarms, "put", full)
    device = bench.client("lab")
    for bits in (ONE_BIT, draw(3), draw(3)):
        with pytest.raises(errors.GuardedError):
            device.measure(bits)


def test_what_all_do_together_is_nobodys(quick_folder: Path) -> None:
    with Ledger(quick_folder) as ledger:
        ledger.alarms.put(None, replace(ALARM, client=None))
        assert ledger.alarms.latest(9) == (replace(ALARM, client=None),)
        assert ledger.alarms.held() == {}


def test_a_client_pushes_out_its_own_alarms_alone(quick_folder: Path) -> None:
    with Ledger(quick_folder) as ledger:
        quiet, loud = (ledger.tokens.new(name)[0].id for name in ("quiet", "loud"))
        ledger.alarms.put(quiet, replace(ALARM, client="quiet"))
        for k in range(130):
            ledger.alarms.put(loud, replace(ALARM, client="loud", at=1e9 + k))
        found = ledger.alarms.latest(500)
    assert [alarm.at - 1e9 for alarm in found if alarm.client == "loud"] == list(range(129, 29, -1))
    assert [alarm for alarm in found if alarm.client == "quiet"] == [replace(ALARM, client="quiet")]


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("UPDATE alarms SET response = 'praise'", lambda alarms: alarms.latest(1)),
        ("UPDATE alarms SET score = 9e999", lambda alarms: alarms.latest(1)),
        ("UPDATE alarms SET frames = 'many'", lambda alarms: alarms.latest(1)),
        ("UPDATE alarms SET token = 'nobody'", lambda alarms: alarms.latest(1)),
        ("UPDATE held SET response = 'alarm'", lambda alarms: alarms.held()),
    ],
)
def test_what_was_never_an_alarm_is_damage(quick_folder: Path, change: str, read: Any) -> None:
    with Ledger(quick_folder) as ledger:
        ledger.alarms.put(ledger.tokens.new("bad")[0].id, ALARM)
    with closing(Database(quick_folder, create=False)) as database:
        assert Alarms(database).latest(1) == (ALARM,)
        with database.write() as connection:
            connection.execute(change)
        with pytest.raises(DamagedFileError):
            read(Alarms(database))
