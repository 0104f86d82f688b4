"""Numba's cache of compiled kernels: a help, and never a reason to stop."""

import errno
import os
import pickle
import types
import warnings
from pathlib import Path
from typing import Any

import numba
import pytest

from groundglass.kernels.jit import llvm


def twice(x):
    return 2 * x


def compiled() -> Any:
    """The same function, as another process would find it."""
    return llvm.compiled(types.FunctionType(twice.__code__, globals(), "twice"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the cache of `twice`."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(llvm._Cache, "said", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compiled()(21) == 42
        again = compiled()
        assert again(21) == 42
    assert sum(again.stats.cache_hits.values()) == 1, "the detector detects"
    return tmp_path


def files(folder: Path, suffix: str) -> list[Path]:
    found = list(folder.rglob(f"*.{suffix}"))
    assert found
    return found


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "a byte": change_a_byte,
    "another file": lambda path: path.write_bytes(b"<html>"),
    "another pickle": lambda path: path.write_bytes(pickle.dumps(["a", {"b": 1}])),
    "a folder": lambda path: path.unlink() or path.mkdir(),
}


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_cache_is_told_once_and_written_again(cache: Path, suffix: str, how: str) -> None:
    for path in files(cache, suffix):
        DAMAGE[how](path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            assert compiled()(21) == 42
    assert len(told) <= 1
    if how == "a folder" or (suffix == "nbi" and how not in ("empty", "cut")):
        return  # cannot be written again, or looks like the cache of another version
    assert len(told) == 1
    assert str(cache) in str(told[0].message)
    again = compiled()
    assert again(21) == 42
    assert sum(again.stats.cache_hits.values()) == 1


def test_a_full_disk_is_told_once_and_nothing_is_lost(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in files(cache, "nb?"):
        path.unlink()

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(llvm._File, "_save_index", full)
    with pytest.warns(RuntimeWarning, match="No space left") as told:
        assert [compiled()(21), compiled()(21)] == [42, 42]
    assert len(told) == 1
