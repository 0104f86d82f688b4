"""One process at a time in a folder."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

LOCK_FILE = ".lock"


class FolderInUseError(OSError):
    """Another process, alive, is running a study in this folder."""


class FolderLock:
    """Held from construction until `release`, or until the process ends, however it ends.

    It is the kernel's lock on an open file (flock), so a crash leaves nothing to clean up: the file stays,
    the lock goes.

    Raises:
        FolderInUseError: another process holds it; names the process.
    """

    def __init__(self, folder: Path) -> None:
        self._file: IO[str] = (folder / LOCK_FILE).open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise FolderInUseError(
                errno.EWOULDBLOCK,
                f"another process (pid {holder}) is running a study in {folder}: "
                "wait until it is done or stop it, or give another --out",
            ) from error
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let others in. Releasing twice is no error."""
        self._file.close()
