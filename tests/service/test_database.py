"""The service's file: its owner's alone, refused when it is damaged or newer, and honest when the disk is full."""

import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from groundglass.core import DamagedFileError, DiskFullError
from groundglass.core.locks import HeldError
from groundglass.optics.remote.errors import ServiceFullError
from groundglass.service import database as module
from groundglass.service.counts import read_counts
from groundglass.service.database import NAME, Database
from groundglass.service.ledger import Batch, Ledger
from groundglass.service.tokens import Budgets


def counted(folder: Path) -> int:
    database = Database(folder, create=False)
    try:
        return sum(one.frames for one in read_counts(database).values())
    finally:
        database.close()


def test_all_files_are_their_owners_from_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, seen = tmp_path / "state", set[int]()
    connect = sqlite3.connect

    def looked(*args: object, **kwargs: object) -> sqlite3.Connection:
        if state.exists():
            seen.update(stat.S_IMODE(path.stat().st_mode) for path in (state, *state.iterdir()))
        return connect(*args, **kwargs)  # type: ignore[arg-type]

    before = os.umask(0)
    monkeypatch.setattr(module.sqlite3, "connect", looked)
    try:
        with Ledger(state) as ledger:
            client, _ = ledger.tokens.new("lab")
            ledger.take([(ledger.begin(client, "opu", 1), 1)])
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()}
    finally:
        os.umask(before)
    assert modes.keys() == {NAME, f"{NAME}-wal", f"{NAME}-shm", "server.lock"}
    assert set(modes.values()) == {0o600}
    assert seen <= {0o600, 0o700}
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_one_server_at_a_time(tmp_path: Path) -> None:
    with Ledger(tmp_path), pytest.raises(HeldError, match=f"pid {os.getpid()}"):
        Ledger(tmp_path)
    Ledger(tmp_path).close()


def test_every_commit_is_flushed(tmp_path: Path) -> None:
    database = Database(tmp_path, create=True)
    try:
        with database.write() as connection:
            assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    finally:
        database.close()


def test_a_transaction_is_whole_or_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path, create=True)
    row = "INSERT INTO counts VALUES (?, 'opu', 1, 1, 1, 1, 1)"

    def interrupted() -> None:
        with database.write() as connection:
            connection.execute(row, ("a",))
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        with database.write() as connection:
            connection.execute(row, ("b",))
        assert [id for id, _ in read_counts(database)] == ["b"]
    finally:
        database.close()


# No room.


@contextmanager
def tiny_disk(folder: Path) -> Iterator[Path]:
    """A disk of 128 kB, and nothing left of it."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no disk may be mounted here: {mounted.stderr.decode(errors='replace')}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))
    return folder / "filler"


@contextmanager
def no_growth(folder: Path) -> Iterator[Callable[[], None]]:
    """No file may grow; calling what is given ends that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(path.stat().st_size for path in folder.iterdir()), hard))

    def end() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        yield end
    finally:
        end()


@contextmanager
def full_disk(folder: Path) -> Iterator[Callable[[], None]]:
    filler = fill(folder)
    yield filler.unlink


def until_full(ledger: Ledger, batch: Batch) -> int:
    """How many frames were counted before one was refused: some may fit in what is there."""
    for taken in range(200):
        try:
            ledger.take([(batch, 1)])
        except ServiceFullError:
            return taken
    raise AssertionError("it was never full")


@pytest.mark.parametrize("full", [full_disk, no_growth])
def test_what_cannot_be_written_is_not_counted(tmp_path: Path, full: Callable[..., object]) -> None:
    disk = tiny_disk(tmp_path / "disk") if full is full_disk else None
    state = disk.__enter__() if disk else tmp_path / "disk"
    try:
        with Ledger(state) as ledger:
            client, _ = ledger.tokens.new("lab", budgets=Budgets(10_000))
            batch = ledger.begin(client, "opu", 1000)
            with full(state) as mend:  # type: ignore[attr-defined]
                taken = until_full(ledger, batch)
                # None is counted, in memory neither, and it stays so.
                for _ in range(3):
                    with pytest.raises(ServiceFullError) as refused:
                        ledger.take([(batch, 1)])
                assert str(tmp_path) not in str(refused.value)
                assert (batch.left, batch.in_hand) == (1000 - taken, 0)
                assert ledger.left(client) == Budgets(9000)
                assert sum(one.frames for one in ledger.usage()) == counted(state) == taken
                with pytest.raises(OSError, match=str(state)):  # a command's, which may name the file
                    ledger.tokens.new("another")
                mend()
            # And goes on when there is room again.
            ledger.take([(batch, 7)])
            ledger.end(batch)
            assert sum(one.frames for one in ledger.usage()) == counted(state) == taken + 7
            assert ledger.left(client) == Budgets(10_000 - taken - 7)
    finally:
        if disk:
            disk.__exit__(None, None, None)


def test_a_full_disk_is_said_when_a_server_starts(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk") as state:
        filler = fill(state)
        with pytest.raises(DiskFullError, match="disk is full"):
            Ledger(state)
        filler.unlink()
        Ledger(state).close()
        fill(state)
        with pytest.raises(DiskFullError, match="disk is full"):
            Ledger(state)


def test_who_holds_the_file_for_long_delays_and_does_not_break(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        client, token = ledger.tokens.new("lab")
        batch = ledger.begin(client, "opu", 5)
        with sqlite3.connect(tmp_path / NAME, isolation_level=None, check_same_thread=False) as other:
            other.execute("BEGIN IMMEDIATE")
            ledger.authenticate(token)  # who reads does not wait
            threading.Timer(0.05, other.execute, ["ROLLBACK"]).start()
            ledger.take([(batch, 1)])
            other.execute("BEGIN IMMEDIATE")
            ledger._database._writer.execute("PRAGMA busy_timeout = 20")
            with pytest.raises(ServiceFullError) as refused:
                ledger.take([(batch, 1)])
            assert "another process" in str(refused.value.__cause__)
            other.execute("ROLLBACK")
        ledger.take([(batch, 1)])
        assert counted(tmp_path) == 2


# What is no state of this service.


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def replaced(path: Path) -> None:
    path.write_bytes(b"tokens: lab\n" * 400)


def another_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("CREATE TABLE t(x)")
    path.chmod(0o600)


def with_a_trigger(path: Path) -> None:
    """One that counts nothing, say."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("CREATE TRIGGER t AFTER INSERT ON counts BEGIN DELETE FROM counts; END")


def impossible_counts(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("INSERT INTO counts VALUES ('a', 'opu', -5, 1, 1, 1, 1)")


def no_time(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("DELETE FROM clock")


DAMAGE = [
    *(truncated, emptied, overwritten, replaced, another_database, with_a_trigger, impossible_counts, no_time),
]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "state") as ledger:
        ledger.tokens.new("lab")
    return tmp_path / "state"


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda one: one.__name__)
def test_a_damaged_file_is_refused_and_said_what_to_do(state: Path, damage: Callable[[Path], None]) -> None:
    damage(state / NAME)
    before = (state / NAME).read_bytes()
    for _ in range(2):
        with pytest.raises(DamagedFileError, match=r"service\.db was truncated or altered .*copy of the state folder"):
            Ledger(state)
    assert (state / NAME).read_bytes() == before


def test_damage_that_is_met_at_work_measures_nothing(state: Path) -> None:
    with Ledger(state) as ledger:
        client, _ = ledger.tokens.new("other")
        batch = ledger.begin(client, "opu", 5)
        ledger._database._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with (state / NAME).open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (os.path.getsize(state / NAME) - 4096))
        ledger._database._writer.execute("PRAGMA shrink_memory")
        with pytest.raises(ServiceFullError) as refused:
            ledger.take([(batch, 1)])
        assert isinstance(refused.value.__cause__, DamagedFileError)
        assert batch.left == 5


@pytest.mark.parametrize("closed", [True, False])
def test_a_newer_state_is_refused_and_left_as_it_is(state: Path, closed: bool) -> None:
    """Also while what makes it newer is in the log of the last commits alone, as after a kill."""
    with closing(sqlite3.connect(state / NAME, isolation_level=None)) as file:
        file.execute("PRAGMA user_version = 2")
        file.execute("CREATE TABLE news(x)")
        if closed:
            file.close()
        before = (state / NAME).read_bytes()
        with pytest.raises(DamagedFileError, match="upgrade groundglass"):
            Ledger(state)
        assert (state / NAME).read_bytes() == before


def test_a_file_that_others_may_read_is_refused(state: Path) -> None:
    (state / NAME).chmod(0o640)
    with pytest.raises(PermissionError, match="chmod 600"):
        Ledger(state)


def test_a_link_is_refused(state: Path, tmp_path: Path) -> None:
    shutil.move(state / NAME, tmp_path / "elsewhere")
    (state / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedFileError, match="link"):
        Ledger(state)
