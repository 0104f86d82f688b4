"""One process at a time, on any host that sees the folder: the kernel's lock on an open file (flock).

It goes with the process, however that ends, so a crash leaves nothing to clean up. On a network drive it holds for all hosts,
unless the drive was mounted with locks of its own for each; see `check_shared`.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from groundglass.core.files import make_folder
from groundglass.core.hosts import refresh
from groundglass.core.platform import flock, host
from groundglass.core.text import visible
from groundglass.core.untrusted import within

#: What systems say where files cannot be locked. Lustre without the option `flock` says ENOSYS.
_WITHOUT = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
# Where mount options say that a lock holds on one host alone.
_OWN_LOCKS = {"nolock", "local_lock=flock", "local_lock=all", "localflock"}
_MOUNTS = Path("/proc/self/mounts")
# Tries to open a file that other hosts remove, and seconds between two.
_MOST_STALE, _PAUSE = 50, 0.1


@dataclass(frozen=True)
class Holder:
    """The process that has a lock, as it says itself: words for a message."""

    pid: str
    host: str | None

    def __str__(self) -> str:
        return f"pid {self.pid}" + (f" on {self.host}" if self.host else "")


class HeldError(OSError):
    """Another process, alive, has the lock: `holder`."""

    def __init__(self, number: int, text: str, holder: Holder) -> None:
        super().__init__(number, text)
        self.holder = holder

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.errno, self.strerror, self.holder)


class NoLocksError(OSError):
    """The file system has no locks, or none that hold for all hosts; says what to do."""


def lock(path: Path, *, what: str) -> IO[str]:
    """A file that is locked until it is closed, or until the process ends. Its folder is there already; the file stays.

    Args:
        path: never written through a link.
        what: what the one who has the lock is doing, for the error: "running a study in FOLDER".

    Raises:
        HeldError: another process has it; says which, and on which host.
        NoLocksError: files cannot be locked there.
    """
    path = within(path.parent, path.name)
    stale = 0
    while True:
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666), "a+")
        except OSError as error:
            # Another host has removed it while it was opened here; for ever, if the drive itself is gone.
            if error.errno != errno.ESTALE or stale == _MOST_STALE:
                raise
            stale += 1
            time.sleep(_PAUSE)
            continue
        try:
            flock(file)
            if not _names(path, file):  # who had it has removed it meanwhile
                file.close()
                continue
            file.truncate(0)
            file.write(f"{os.getpid()} {host()}\n")
            file.flush()
            with suppress(OSError):  # other hosts see what is on the server
                os.fsync(file.fileno())
        except BlockingIOError as error:
            holder = _holder(file)
            file.close()
            raise HeldError(errno.EWOULDBLOCK, f"another process ({holder}) is {what}", holder) from error
        except BaseException as error:
            file.close()
            if isinstance(error, OSError) and error.errno in _WITHOUT:
                raise _no_locks(path.parent, f"files cannot be locked there: {error.strerror}", error.errno) from error
            raise
        return file


def lock_itself(path: Path, *, what: str) -> IO[bytes]:
    """As `lock`, on a file that is there already, and in whose folder nothing can be written. It cannot say who has it.

    Raises:
        HeldError: another process has it.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    try:
        flock(file)
    except BaseException as error:
        file.close()
        if isinstance(error, BlockingIOError):
            holder = Holder("unknown", None)
            raise HeldError(errno.EWOULDBLOCK, f"another process is {what}", holder) from error
        raise
    return file


@contextmanager
def leased(
    folder: Path, key: str, *, waiting: Callable[[HeldError], None] = lambda held: None, poll: float = 1.0
) -> Iterator[None]:
    """Only one living process at a time is in this block for `key`, on whatever host it runs.

        with leased(run / "checkpoints", key_of(cell), waiting=lambda held: context.note(str(held))):
            ...  # look again for what another has finished meanwhile

    The lease is the file KEY.lease in `folder`, locked. It is removed at the end; that of a killed process is free at once.

    Args:
        folder: made when missing.
        waiting: called with who has it, each time that it was not free. What it raises ends the wait.
        poll: seconds between two tries.

    Raises:
        NoLocksError: files cannot be locked there.
    """
    make_folder(folder)
    path = folder / f"{key}.lease"
    while True:
        try:
            file = lock(path, what=f"at work on {key}")
            break
        except HeldError as held:
            waiting(held)
            time.sleep(poll)
    try:
        refresh(folder)  # what the one before has saved
        yield
    finally:
        with suppress(OSError):  # while it is locked: whoever waits for it finds that it is gone
            path.unlink()
        file.close()


def check_shared(folder: Path) -> None:
    """Refuse a network drive on which each host has locks of its own, before several hosts work there.

    What cannot be known from the options of the mount is not refused.

    Raises:
        NoLocksError: names the option.
    """
    place, found = folder.resolve(), (-1, "", set[str]())
    with suppress(OSError):
        for line in _MOUNTS.read_text().splitlines():
            _, at, kind, options, *_ = line.split(" ")
            mount = Path(at.replace("\\040", " "))
            if place.is_relative_to(mount) and len(mount.parts) >= found[0]:  # the last one is on top
                found = len(mount.parts), kind, set(options.split(","))
    if own := sorted(found[2] & _OWN_LOCKS):
        raise _no_locks(folder, f"this {found[1]} drive is mounted with `{own[0]}`, so a lock holds on one host alone")


def _no_locks(folder: Path, why: str, number: int | None = None) -> NoLocksError:
    return NoLocksError(
        number or errno.ENOLCK,
        f"{folder} cannot be kept to one process at a time ({why}). Give a folder on another file system, or have this one "
        "mounted with locks for all hosts: `local_lock=none` for NFS, `flock` for Lustre",
    )


def _holder(file: IO[str]) -> Holder:
    with suppress(OSError, ValueError):
        file.seek(0)
        pid, _, where = visible(file.read(100).strip()).partition(" ")
        return Holder(pid or "unknown", where or None)
    return Holder("unknown", None)


def _names(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
