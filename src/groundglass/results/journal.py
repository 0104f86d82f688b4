"""A file of JSON lines that only grows, a line at a time, and never has half a line in its middle.

Every line has the SHA-256 of the rest of it, so an altered line is noticed. Older files have lines without one.
"""

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from groundglass.core import DamagedFileError, DiskFullError
from groundglass.core.checksum import sealed
from groundglass.core.files import sync_folder
from groundglass.core.untrusted import MOST_JSON, parse_json, read_bytes, within

# A study of ours has some MB.
_MOST = 2**28


def read_lines(path: Path, *, heal: bool) -> list[dict[str, Any]]:
    """All whole lines, in order.

    A process that dies while it appends leaves a last line without an end. That line is left out here.

    Args:
        heal: also repair the file on disk: cut a torn last line off. Only for the process that owns the
            file: to any other, the line may be one that is being written.

    Raises:
        DamagedFileError: any other line is not a JSON object; names the line.
    """
    path = within(path.parent, path.name)
    if not path.exists():
        return []
    *lines, tail = read_bytes(path, most=_MOST).split(b"\n")
    # All of a line but its end may have reached the disk. An object that closes is whole, and may be an
    # hour's work.
    whole = tail.rstrip().endswith(b"}") and _is_object(tail)
    values = []
    for number, line in enumerate([*lines, *([tail] if whole else [])], start=1):
        values.append(_parse(line, f"{path}, line {number}"))
    if heal and whole:
        _extend(path, b"\n")
    elif heal and tail:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - len(tail))
            os.fsync(file.fileno())
    return values


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add a line with its checksum, and return when it is on the disk.

    Raises:
        DiskFullError: no room; the file ends with its last whole line, as before.
    """
    _extend(path, json.dumps(sealed(value), sort_keys=True, allow_nan=False).encode() + b"\n")


def _extend(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    try:
        before = os.fstat(fd).st_size
        try:
            # A disk that fills up takes part of the bytes first, and says so only at the next write.
            while data:
                data = data[os.write(fd, data) :]
            os.fsync(fd)
            if not before:  # the file may be new
                sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):  # if not, the next reader drops the incomplete line
                os.ftruncate(fd, before)
            raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                error.errno,
                f"the disk is full: the last result was not added to {path} (those before it are "
                "safe). Free some space and run the same command again: it continues",
            ) from error
        raise
    finally:
        os.close(fd)


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        if len(line) > MOST_JSON:
            raise DamagedFileError(f"it has {len(line):,} bytes")
        value = parse_json(line, where)
        if not isinstance(value, dict):
            raise DamagedFileError(f"it is {line[:20]!r}")
    except DamagedFileError as error:
        number = where.rpartition(" ")[2]
        raise DamagedFileError(
            f"{where} is not a JSON object ({error}): the file was altered. Put it back "
            f"from a copy, or delete line {number}: what it recorded will be done again"
        ) from error
    return value


def _is_object(line: bytes) -> bool:
    try:
        _parse(line, "the last line")
    except DamagedFileError:
        return False
    return True
