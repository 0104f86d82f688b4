"""One process at a time in a folder."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from groundglass.core.untrusted import within

LOCK_FILE = ".lock"


class FolderInUseError(OSError):
    """Another process, alive, is running a study in this folder."""


def lock(folder: Path) -> IO[str]:
    """A file that is locked until it is closed, or until the process ends, however it ends.

    It is the kernel's lock on an open file (flock), so a crash leaves nothing to clean up: the file stays,
    the lock goes.

    Raises:
        FolderInUseError: another process holds it; names the process.
    """
    # Never through a link: the file is emptied.
    path = within(folder, LOCK_FILE)
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666), "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise FolderInUseError(
            errno.EWOULDBLOCK,
            f"another process (pid {holder}) is running a study in {folder}: "
            "wait until it is done or stop it, or give another --out",
        ) from error
    if not _names(path, file):
        # The process that had it gave the folder up meanwhile: the locked file is gone.
        file.close()
        raise FolderInUseError(
            errno.EWOULDBLOCK, f"another process has just released {folder}: run the same command again"
        )
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _names(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
