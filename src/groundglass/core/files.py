"""Files that are either whole or not there: written beside their place, flushed, then given their name; and on the disk, folder
and all, when the writer returns."""

import errno
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from groundglass.core.platform import flock, host

# Bytes of a file's name.
_LONGEST = 255


class DamagedFileError(ValueError):
    """A file that was truncated, altered, or is not what its name says."""


class DiskFullError(OSError):
    """No room for a file; what was there before is untouched."""


@contextmanager
def atomic_write(path: Path, mode: str = "wb", *, private: bool = False, new: bool = False) -> Iterator[IO[Any]]:
    """Open a file that takes the place of `path` only when the block ends without an error.

    Nobody else can have made the file that is written to, and nobody can guess its name. It is locked while it is written,
    so `remove_parts` can tell which files a killed process has left.

    Args:
        path: where the whole file will stand. Its folder is made when missing.
        mode: "wb" or "w".
        private: for its owner alone (0600), from the first byte on; where the system can, it has no name until it is whole, so
            that a killed process leaves nothing of it.
        new: never take the place of another file.

    Raises:
        DiskFullError: the disk is full. The part that was written is removed.
        FileExistsError: there is something at `path`, and `new` was asked for.
    """
    make_folder(path.parent)
    part = _beside(path)
    try:
        unnamed = _unnamed(part) if private else None
        fd = _exclusive(part, 0o600 if private else 0o666) if unnamed is None else unnamed
        try:
            with os.fdopen(fd, mode) as file:
                yield file
                file.flush()
                os.fsync(fd)
                if unnamed is not None:
                    _name(fd, path if new else part)
                if unnamed is None or not new:
                    publish(part, path, new=new)
                else:
                    sync_folder(path.parent)
        finally:
            with suppress(OSError):  # it must not replace the error that brought us here
                part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                error.errno,
                f"the disk is full: {path} was not written (what stood there before is untouched). "
                "Free some space and run the same command again: it continues",
            ) from error
        raise


def publish(part: Path, path: Path, *, new: bool = False) -> None:
    """Give a finished file or folder its name; on the disk when this returns.

    Args:
        new: of a file: never take the place of another one, not even of one that has just been made.

    Raises:
        FileExistsError: there is something at `path`, and `new` was asked for.
    """
    if new:
        try:
            os.link(part, path, follow_symlinks=False)
        except FileExistsError:
            raise _exists(path) from None
        except OSError:
            # A file system without such links: the name is taken first, which only one can do.
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                raise _exists(path) from None
            os.replace(part, path)
        else:
            os.unlink(part)
    else:
        os.replace(part, path)
    sync_folder(path.parent)


def refuse_existing(path: Path) -> None:
    """Raises FileExistsError for a file, folder or link that is there already."""
    if path.exists() or path.is_symlink():
        raise _exists(path)


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it that are missing; on the disk when this returns."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for one in missing:
        sync_folder(one.parent)


def check_writable(folder: Path) -> None:
    """Make a folder if it is missing, and a file in it for a moment: better to fail now than after hours of work.

    Raises:
        OSError: that is not possible; names the folder, and says what to do.
    """
    probe = _beside(folder / "probe")
    try:
        make_folder(folder)
        os.close(_exclusive(probe, 0o600))
        probe.unlink()
    except OSError as error:
        raise type(error)(
            f"nothing can be written into {folder} ({error.strerror}): the results would have no place. Give another folder, "
            "or change its permissions"
        ) from error


def check_place(path: Path) -> None:
    """Refuse a place where no file can be written, before the work that is to be kept there.

    Raises:
        OSError: a folder stands there, or nothing can be written beside it.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file in it")
    check_writable(path.parent)


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk: a renamed file is there after a power cut only when its folder is, too."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot do it, or need not
            raise
    finally:
        os.close(fd)


# As `atomic_write` names them. Earlier versions named no host; the first ones had a process's number and one of these endings.
_PART = re.compile(
    r"\..+?(\.@(?P<host>[a-z0-9-]+))?\.[0-9a-f]{16}\.part"
    r"|\..+\.(json|jsonl|npz|npy|safetensors|device|moving|png|svg|html)\.[0-9]+\.part"
)
#: The seconds after which the unfinished file of another host, without a lock, is taken for that of a killed process.
ABANDONED = 86_400.0


def is_part(name: str) -> bool:
    """Whether `atomic_write` gives such a name to a file that is not finished."""
    return _PART.fullmatch(name) is not None


def remove_parts(folder: Path, *, below: bool = True) -> None:
    """Remove the unfinished files of killed processes in `folder` and, if asked, below: those of running processes stay.

    A running process keeps its file locked. Where files cannot be locked, all stay. That of another host must also have been
    left for a day: not every network drive shows the locks of other hosts.
    """
    for part in folder.rglob(".*.part") if below else folder.glob(".*.part"):
        named = _PART.fullmatch(part.name)
        if named is None:
            continue
        with suppress(OSError):  # gone meanwhile, another user's, or still being written
            fd = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)  # NFS locks only what may be written
            try:
                status = os.fstat(fd)
                ours = named["host"] in (None, host()) or time.time() - status.st_mtime > ABANDONED
                if ours and stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                    flock(fd)
                    os.unlink(part)
            finally:
                os.close(fd)


def write_json(path: Path, value: Any, *, private: bool = False, new: bool = False) -> None:
    """Write `value` as indented JSON, atomically; `private` and `new` as in `atomic_write`."""
    with atomic_write(path, "w", private=private, new=new) as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")


def _beside(path: Path) -> Path:
    """A name for the unfinished file of this host that nobody can guess. It fits even where that of `path` just does."""
    ending = f".@{host()}.{secrets.token_hex(8)}.part"
    name = os.fsencode(path.name)[: _LONGEST - 1 - len(ending)].decode(errors="ignore")
    return path.with_name(f".{name}{ending}")


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} is there already: give the name of a new file, or delete it")


def _unnamed(part: Path) -> int | None:
    """A private file that has no name yet; None where the system has no such files, or no way to name one."""
    try:
        # An empty one shows whether there is a way.
        empty = os.open(part.parent, os.O_WRONLY | os.O_TMPFILE, 0o600)
        try:
            _name(empty, part)
        finally:
            os.close(empty)
        os.unlink(part)
        fd = os.open(part.parent, os.O_WRONLY | os.O_TMPFILE, 0o600)
    except (AttributeError, OSError):
        return None
    _hold(fd)
    return fd


def _name(fd: int, path: Path) -> None:
    """Give a nameless file a name that is free."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Without a folder's descriptor Python calls link(), which would link to the entry of /proc.
        os.link(f"/proc/self/fd/{fd}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    except FileExistsError:
        raise _exists(path) from None
    finally:
        os.close(folder)


def _exclusive(part: Path, permissions: int) -> int:
    """A file that was not there before, locked."""
    while True:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, permissions)
        _hold(fd)
        # Between the two, `remove_parts` of another process may have found it without a lock.
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)


def _hold(fd: int) -> None:
    with suppress(OSError):  # not every file system has locks
        flock(fd, wait=True)
