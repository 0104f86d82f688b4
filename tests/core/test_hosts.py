import errno
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from groundglass.core import DamagedFileError, hosts
from groundglass.core.hosts import awaited, several_hosts
from groundglass.optics import DeviceStore, SimulatedOPU
from groundglass.results import RecordStore
from groundglass.results.made import digest_of, made_file
from tests.results.test_record_store import MANIFEST, record


class Clock:
    """Nobody waits in a test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.then: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if len(self.slept) == 2:
            self.then()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(hosts, "time", clock)
    return clock


def stale() -> OSError:
    return OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def failing(*errors: OSError):
    left = list(errors)

    def read() -> str:
        if left:
            raise left.pop(0)
        return "whole"

    return read


def test_on_one_host_what_is_missing_is_missing_at_once(clock: Clock, tmp_path: Path) -> None:
    for error in (FileNotFoundError("gone"), stale()):
        with pytest.raises(OSError, match=re.escape(str(error))):
            awaited(tmp_path / "a", failing(error))
    assert clock.slept == []


def test_on_several_it_may_appear_and_a_stale_one_is_read_again(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []
    monkeypatch.setattr(os, "listdir", listed.append)
    with several_hosts():
        read = failing(stale(), stale(), FileNotFoundError("not seen yet"))
        assert awaited(tmp_path / "deep" / "a", read) == "whole"
    assert len(clock.slept) == 3
    assert set(listed) == {tmp_path, tmp_path / "deep"}, "what is known of the folders is refreshed"


def test_the_wait_ends_with_the_readers_own_error(clock: Clock, tmp_path: Path) -> None:
    with several_hosts():
        with pytest.raises(FileNotFoundError, match="say what to do"):
            awaited(tmp_path / "a", failing(*[FileNotFoundError("say what to do")] * 1000))
        assert hosts.PATIENCE <= clock.now <= 2 * hosts.PATIENCE
        slept = len(clock.slept)
        for error in (PermissionError(errno.EACCES, "no"), OSError(errno.EIO, "no")):
            with pytest.raises(OSError, match="no"):
                awaited(tmp_path / "a", failing(error))
        assert len(clock.slept) == slept, "another error does not pass"


def test_devices_arrays_and_files_of_records_that_another_host_has_just_written(clock: Clock, tmp_path: Path) -> None:
    """Each appears while it is waited for; on one host it is an error at once."""
    device = SimulatedOPU.create(40, 30, seed=7)
    at = DeviceStore(tmp_path / "devices").put(device)
    with RecordStore.open(tmp_path / "run", MANIFEST) as store:
        found = store.add(record(), {"success": np.array([True, False])})
    (tmp_path / "run" / "models").mkdir()
    model = tmp_path / "run" / "models" / "a"
    model.write_bytes(b"weights")
    made = replace(found, files={"models/a": digest_of(model)})
    readers: dict[Path, Callable[[], object]] = {
        at: lambda: DeviceStore(tmp_path / "devices").find(device.fingerprint),
        tmp_path / "run" / str(found.arrays): lambda: RecordStore.read(tmp_path / "run").arrays(found),
        model: lambda: made_file(tmp_path / "run", made, "models/a"),
    }
    for path, read in readers.items():
        away = path.rename(tmp_path / "away")
        with pytest.raises((FileNotFoundError, DamagedFileError), match=r"no |missing"):
            read()
        assert clock.slept == []
        clock.then = lambda away=away, path=path: away.rename(path)  # type: ignore[misc]
        with several_hosts():
            assert read() is not None
        assert len(clock.slept) == 2
        clock.slept.clear()
