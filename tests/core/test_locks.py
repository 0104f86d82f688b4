import errno
import os
import pickle
import signal
import threading
import time
from pathlib import Path

import pytest

from groundglass.core.locks import HeldError, Holder, NoLocksError, check_shared, leased, lock, lock_itself


class Process:
    """Another one, that holds something until it is killed."""

    def __init__(self, hold) -> None:
        ready, told = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                hold(lambda: os.write(told, b"x"))
            finally:
                os._exit(1)
        os.read(ready, 1)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def holding(folder: Path, host: str, monkeypatch) -> Process:
    def hold(ready) -> None:
        monkeypatch.setattr("groundglass.core.platform._node_name", lambda: host)
        with leased(folder, "k"):
            ready()
            time.sleep(60)

    return Process(hold)


def test_a_lock_says_who_has_it_and_goes_with_its_process(tmp_path: Path, monkeypatch) -> None:
    def hold(ready) -> None:
        monkeypatch.setattr("groundglass.core.platform._node_name", lambda: "node7")
        _file = lock(tmp_path / "l", what="at work here")
        ready()
        time.sleep(60)

    other = Process(hold)
    with pytest.raises(HeldError, match=f"pid {other.pid} on node7.*at work here") as held:
        lock(tmp_path / "l", what="at work here")
    again = pickle.loads(pickle.dumps(held.value))
    assert again.holder == Holder(str(other.pid), "node7")
    assert str(again) == str(held.value)
    other.kill()
    lock(tmp_path / "l", what="at work here").close()


def test_a_file_that_cannot_be_written_is_locked_itself(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x")
    file.chmod(0o400)

    def hold(ready) -> None:
        _file = lock_itself(file, what="serving it")
        ready()
        time.sleep(60)

    other = Process(hold)
    with pytest.raises(HeldError, match="serving it"):
        lock_itself(file, what="serving it")
    other.kill()
    lock_itself(file, what="serving it").close()
    assert file.read_text() == "x"


@pytest.mark.parametrize(
    ("text", "holder"),
    [("77\n", "pid 77"), ("", "pid unknown"), ("\x1b[31m x", r"pid \x1b[31m on x"), ("\udc80", "pid unknown")],
)
def test_whatever_the_file_says(tmp_path: Path, text: str, holder: str) -> None:
    """One of an earlier version has no host."""
    with lock(tmp_path / "l", what="here"):
        (tmp_path / "l").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(HeldError) as held:
            lock(tmp_path / "l", what="here")
        assert str(held.value.holder) == holder


def test_a_lease_waits_for_a_living_process_and_takes_that_of_a_killed_one(tmp_path: Path, monkeypatch) -> None:
    other = holding(tmp_path / "checkpoints", "node7", monkeypatch)
    told = []

    def waiting(held: HeldError) -> None:
        told.append(held.holder)
        if len(told) == 3:
            other.kill()

    with leased(tmp_path / "checkpoints", "other"):
        pass  # another key is another lease
    with leased(tmp_path / "checkpoints", "k", waiting=waiting, poll=0.01):
        assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["k.lease"]
    assert told == [Holder(str(other.pid), "node7")] * 3
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_wait_can_be_given_up(tmp_path: Path, monkeypatch) -> None:
    other = holding(tmp_path, "node7", monkeypatch)

    def refuse(held: HeldError) -> None:
        raise held

    try:
        with pytest.raises(HeldError, match="node7"), leased(tmp_path, "k", waiting=refuse):
            raise AssertionError
    finally:
        other.kill()


def test_one_at_a_time_though_each_removes_the_file(tmp_path: Path) -> None:
    inside, most, done = [], [], []

    def work() -> None:
        for _ in range(20):
            with leased(tmp_path, "k", poll=0):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0)
                inside.pop()
        done.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), max(most), len(most)) == (4, 1, 80)


def test_a_lease_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), leased(tmp_path, "k"):
        raise RuntimeError
    with leased(tmp_path, "k"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch, number: int) -> None:
    def refused(*args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refused)
    with pytest.raises(NoLocksError, match=str(tmp_path)):
        lock(tmp_path / "l", what="here")
    with pytest.raises(NoLocksError, match=str(tmp_path)), leased(tmp_path, "k"):
        raise AssertionError


def test_a_lease_that_another_host_removed_while_it_was_opened_is_made_anew(tmp_path: Path, monkeypatch) -> None:
    real, stale = os.open, [errno.ESTALE, errno.ESTALE]

    def sometimes(path, *args: object, **options: object) -> int:
        if stale and str(path).endswith(".lease"):
            number = stale.pop()
            raise OSError(number, os.strerror(number))
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", sometimes)
    monkeypatch.setattr("groundglass.core.locks._PAUSE", 0)
    with leased(tmp_path, "k"):
        assert (tmp_path / "k.lease").exists()
    assert not stale
    stale += [errno.ESTALE] * 1000  # the drive is gone
    with pytest.raises(OSError, match="tale"), leased(tmp_path, "k"):
        raise AssertionError


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ("nfs4 rw,vers=4.2,local_lock=none", False),
        ("nfs rw,vers=3,local_lock=all", True),
        ("nfs rw,nolock", True),
        ("lustre rw,flock", False),
        ("lustre rw,localflock", True),
    ],
)
def test_a_drive_whose_locks_hold_on_one_host_is_refused(
    tmp_path: Path, monkeypatch, options: str, refused: bool
) -> None:
    mounts = tmp_path / "mounts"
    (tmp_path / "a b" / "runs").mkdir(parents=True)
    place = str(tmp_path / "a b").replace(" ", "\\040")
    mounts.write_text(
        f"/dev/sda / ext4 rw 0 0\nserver:/x {place} {options} 0 0\nserver:/y /elsewhere nfs rw,nolock 0 0\n"
    )
    monkeypatch.setattr("groundglass.core.locks._MOUNTS", mounts)
    check_shared(tmp_path)
    if refused:
        with pytest.raises(NoLocksError, match=r"runs.*one host alone"):
            check_shared(tmp_path / "a b" / "runs")
    else:
        check_shared(tmp_path / "a b" / "runs")
