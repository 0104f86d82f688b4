"""One process at a time in a run folder."""

from pathlib import Path
from typing import IO

from groundglass.core.locks import HeldError
from groundglass.core.locks import lock as lock_file

LOCK_FILE = ".lock"


class FolderInUseError(HeldError):
    """Another process, alive, is running a study in this folder."""


def lock(folder: Path) -> IO[str]:
    """A file that is locked until it is closed, or until the process ends, however it ends.

    Raises:
        FolderInUseError: another process holds it; names the process and its host.
        NoLocksError: files cannot be locked there.
    """
    try:
        return lock_file(folder / LOCK_FILE, what=f"running a study in {folder}")
    except HeldError as held:
        said = f"{held.strerror}: wait until it is done or stop it, or give another --out"
        raise FolderInUseError(held.errno or 0, said, held.holder) from held
