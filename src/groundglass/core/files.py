"""Files that are either whole or not there: written beside their place, flushed, then renamed."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


class DamagedFileError(ValueError):
    """A file that was truncated, altered, or is not what its name says."""


class DiskFullError(OSError):
    """No room for a file; what was there before is untouched."""


@contextmanager
def atomic_write(path: Path, mode: str = "wb", *, private: bool = False) -> Iterator[IO[Any]]:
    """Open a file that takes the place of `path` only when the block ends without an error.

    Args:
        path: where the whole file will stand. Its folder is made when missing.
        mode: "wb" or "w".
        private: readable by its owner alone (0600), from the first byte on.

    Raises:
        DiskFullError: the disk is full. The part that was written is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600 if private else 0o666)
        with os.fdopen(fd, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                error.errno,
                f"the disk is full: {path} was not written (what stood there before is untouched). "
                "Free some space and run the same command again: it continues",
            ) from error
        raise
    finally:
        part.unlink(missing_ok=True)


_SUFFIXES = ("json", "jsonl", "npz", "npy", "safetensors", "device", "moving", "png", "svg", "html")


def remove_parts(folder: Path) -> None:
    """Remove the unfinished files that killed processes have left in `folder` and below: those of the living stay."""
    for part in folder.rglob(".*.part"):
        # .NAME.SUFFIX.PID.part, as `atomic_write` names them for all that this package writes.
        *_, suffix, pid, _ = part.name.split(".")
        if suffix in _SUFFIXES and pid.isdecimal() and not _alive(int(pid)):
            part.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    if pid == os.getpid():
        # A file of an earlier process that had this number: nothing of ours is unfinished where this is asked.
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path, "w") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")


def read_json(path: Path) -> Any:
    """Read JSON; a file that does not parse is a DamagedFileError."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise DamagedFileError(f"{path} is not valid JSON ({error}): it was truncated or altered") from error
