"""Reading what may come from a stranger: plain files, plain names, and JSON of bounded size and depth.

All that the package reads from files goes through here, `core.arrays` or `core.states`. What is wrong with a file is one
error, `DamagedFileError`, which names it.
"""

import errno
import json
import math
import os
import stat
import struct
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from groundglass.core.files import DamagedFileError

#: The most bytes of a JSON file, or of one line of it: our largest have a hundredth of that.
MOST_JSON = 2**25
_DEPTH = 64


def within(folder: Path, name: str) -> Path:
    """The path of a file in `folder` whose name was read from a file: no way out of the folder, and no link on the way.

    Raises:
        DamagedFileError: the name leads elsewhere.
    """
    parts = name.split("/")
    if not all(part and part not in (".", "..") and part.isprintable() and len(part) <= 200 for part in parts):
        raise DamagedFileError(
            f"{name!r:.80} is not the name of a file in {folder}: the file that names it was altered"
        )
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise DamagedFileError(f"{path} is a link: a run folder must hold the file itself. Put it back")
    return path


def check_file(path: Path, *, most: float = math.inf) -> int:
    """The size of a regular file, in bytes.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: a folder, pipe or device, or more than `most` bytes.
    """
    return _size(path, path.stat(), most)


def read_bytes(path: Path, *, most: int) -> bytes:
    """A regular file, whole; see `check_file`."""
    check_file(path, most=most)
    # Should a pipe take its place in between, do not wait for it.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        _size(path, os.fstat(file.fileno()), most)
        return file.read()


def _size(path: Path, status: os.stat_result, most: float) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFileError(f"{path} is not a regular file but a folder, a pipe or a device: give a file")
    if status.st_size > most:
        raise DamagedFileError(f"{path} has {status.st_size:,} bytes, and such a file has at most {most:,.0f}")
    return status.st_size


def read_json(path: Path) -> Any:
    """JSON of bounded size and depth; anything else is a DamagedFileError."""
    return parse_json(read_bytes(path, most=MOST_JSON), str(path))


def read_format(path: Path, format: str, version: int, what: str) -> dict[str, Any]:
    """The JSON object of a file that says its own format and version, as `read_json`.

    Args:
        what: what to call it in an error, "the list of a moving device" say.

    Raises:
        DamagedFileError: another format or version.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != format:
        raise DamagedFileError(f"{path} is not {what}")
    if content.get("version") != version:
        found = f"{content.get('version')!r:.20}"
        raise DamagedFileError(
            f"{what.removeprefix('the ').capitalize()}, {path}, has format version {found}, this groundglass reads {version}"
        )
    return content


def parse_json(text: bytes | str, where: str, *, finite: bool = True) -> Any:
    """JSON of bounded depth, with finite numbers and texts that can be written.

    Args:
        where: what to call it in an error; begins with the file.
        finite: refuse NaN and infinite numbers.

    Raises:
        DamagedFileError: it is not.
    """
    try:
        value = json.loads(text, parse_constant=_refuse if finite else None)
        _check(value, finite)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{where} is not valid JSON ({error}): it was truncated or altered") from error
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """TOML of bounded size and depth, with finite numbers; anything else is a DamagedFileError."""
    text = read_bytes(path, most=MOST_JSON)
    try:
        value = tomllib.loads(text.decode())
        _check(value, finite=True)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is not valid TOML ({error}): correct it, or begin with a new file") from error
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _check(value: Any, finite: bool) -> None:
    level = [value]
    for _ in range(_DEPTH):
        deeper: list[Any] = []
        for one in level:
            kind = type(one)  # parsers make no subclasses
            if kind is str:
                if not one.isascii():
                    one.encode()
            elif kind is int:
                if one.bit_length() > 128:
                    raise ValueError("a number has more than 128 bits")
            elif kind is float:
                if finite and not math.isfinite(one):
                    raise ValueError("a number is infinite")
            elif kind is list:
                deeper.extend(one)
            elif kind is dict:
                deeper.extend(one)
                deeper.extend(one.values())
        if not deeper:
            return
        level = deeper
    raise ValueError(f"it is nested more than {_DEPTH} deep")


_ERRORS: tuple[type[Exception], ...] = (
    *(
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ),
    *(AssertionError, SyntaxError, struct.error, zipfile.BadZipFile, zlib.error),
)


@contextmanager
def damaged(where: str, again: str, *others: type[Exception]) -> Iterator[None]:
    """Errors in this block are blamed on the file that is read in it: for a few lines that parse it.

    Args:
        where: the file.
        again: what to do.
        others: further errors that the format's own library raises.

    Raises:
        DamagedFileError: names the file and says what to do.
    """
    try:
        yield
    except DamagedFileError:
        raise
    except (*_ERRORS, *others) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the disk's fault, or nobody's
        told = f"{type(error).__name__} {error}" if isinstance(error, LookupError | AttributeError) else str(error)
        raise DamagedFileError(f"{where} is damaged ({told:.200}): {again}") from error
