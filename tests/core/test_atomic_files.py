import errno
import json
import os
import subprocess
import sys

import pytest

from groundglass.core import DamagedFileError, DiskFullError, atomic_write, read_json, remove_parts, write_json


def test_a_failure_leaves_what_was_there_and_no_litter(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})

    def fail_half_way():
        with atomic_write(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert read_json(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_full_disk_says_so(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with pytest.raises(DiskFullError, match="disk is full"), atomic_write(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_real_full_device(tmp_path, monkeypatch):
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *a: real("/dev/full", os.O_WRONLY))
    with pytest.raises(DiskFullError), atomic_write(tmp_path / "a") as file:
        file.write(b"x" * 100_000)


def test_private_files_are_their_owners_alone(tmp_path):
    with atomic_write(tmp_path / "secret", private=True) as file:
        file.write(b"s")
        assert all(os.stat(tmp_path / name).st_mode & 0o077 == 0 for name in os.listdir(tmp_path))
    assert os.stat(tmp_path / "secret").st_mode & 0o777 == 0o600


def test_truncated_json_is_damaged(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"x": [1, 2]})[:-2])
    with pytest.raises(DamagedFileError, match="truncated or altered"):
        read_json(path)


def test_unfinished_files_of_the_dead_are_removed_and_nothing_else(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    litter = [tmp_path / f".a.json.{dead.pid}.part", tmp_path / "deep" / "er" / f".b.npz.{dead.pid}.part"]
    kept = [
        tmp_path / name for name in (f".c.json.{os.getppid()}.part", ".readings.npy.part", "part", f"d.{dead.pid}.part")
    ]
    for path in (*litter, *kept):
        path.touch()
    remove_parts(tmp_path)
    assert [path.exists() for path in litter] == [False, False]
    assert all(path.exists() for path in kept)
