"""A run on several hosts: a file that another host has just written may not be seen on a network drive for some seconds."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: Seconds to wait for a file that must be there. NFS keeps what it knows of a folder for 3 s or more, unless it is listed.
PATIENCE = 5.0
_PAUSE = 0.05
_several: ContextVar[bool] = ContextVar("several hosts", default=False)


@contextmanager
def several_hosts() -> Iterator[None]:
    """In this block, in this thread, `awaited` waits: other hosts write files that are read here."""
    before = _several.set(True)
    try:
        yield
    finally:
        _several.reset(before)


def awaited(place: Path, read: Callable[[], T]) -> T:
    """What `read` returns. Where it finds no file, or one that was replaced meanwhile, it is called again for some seconds.

    Not on one host, where what is missing stays missing.

    Args:
        place: the file, which is looked for by listing the folders above it.
        read: raises FileNotFoundError, or the error ESTALE of a network drive.
    """
    end, pause = time.monotonic() + PATIENCE, _PAUSE
    while True:
        try:
            return read()
        except OSError as error:
            passing = isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE
            if not passing or not _several.get() or time.monotonic() >= end:
                raise
        time.sleep(pause)
        pause *= 2
        refresh(place.parent.parent)
        refresh(place.parent)


def refresh(folder: Path) -> None:
    """See what other hosts have put into a folder by now, as far as listing it makes the system ask. Nothing on one host."""
    if _several.get():
        with suppress(OSError):
            os.listdir(folder)
