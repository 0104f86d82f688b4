"""A .npy file of readings that is written piece by piece, and takes its name when it is whole."""

import errno
import io
import math
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from groundglass.core import (
    DamagedFileError,
    DiskFullError,
    make_folder,
    publish,
    read_json,
    refuse_existing,
    write_json,
)
from groundglass.core.files import check_place
from groundglass.core.platform import flock
from groundglass.core.settings import plain_identity

_FORMAT = "groundglass measurement"
_VERSION = 1
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_COUNTS = ("row", "output", "batch", "saturated", "batch_saturated")
_WORDS = {
    "fingerprint": "device",
    "source_sha256": "input (by its SHA-256)",
    "noise_seed": "noise seed",
    "first_frame": "number of frames that the device had counted (a device that is loaded again begins at 0)",
}


class ReadingFile:
    """Readings [rows, M] on their way into `out`, for one process at a time.

    Until all are in, they are in `.NAME.part` beside it, whose space is taken at the start, and `.NAME.part.json` says of which
    device and input they are and how far they go. It is rewritten after each piece, once the piece is on the disk. Only their
    owner can read them (0600): together with the bits they give away the matrix.

    Pieces come in this order: rows from `row` on, and of `batch` rows at a time either all outputs or spans of them.

    Args:
        identity: plain JSON; what a resumed measurement must agree with.

    Attributes:
        row: so many rows are whole.
        output, batch: of the next `batch` rows, so many outputs are in; 0 and 0 between batches.
        seconds: of measuring, over all sessions.
        saturated, batch_saturated: readings at the top of the camera; those of them in the spans of the next rows.

    Raises:
        FileExistsError: `out` is there, or a part file without its ledger.
        PermissionError: the part file is another user's, or a link.
        ValueError: the part file is of another measurement; names the first difference.
        DamagedFileError: the part file or its ledger was truncated or altered.
        DiskFullError: no room, said before anything is measured; nothing is left behind.
        OSError: another process is writing it.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], shape: tuple[int, int], dtype: npt.DTypeLike) -> None:
        refuse_existing(out)
        self.row = self.output = self.batch = self.saturated = self.batch_saturated = 0
        self.seconds = 0.0
        self._out = out
        self._part = out.with_name(f".{out.name}.part")
        self._ledger = out.with_name(f".{out.name}.part.json")
        self._identity = plain_identity(identity)
        self.shape, self._dtype = shape, np.dtype(dtype)
        self._header = npy_header(shape, self._dtype)
        make_folder(out.parent)
        self._fd = _own(self._part)
        try:
            self._lock()
            refuse_existing(out)  # another process may just have finished it
            if self._go_on():
                check_place(self._ledger)
            else:
                self._make()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        os.close(self._fd)

    @property
    def done(self) -> int:
        """Readings that are in."""
        return self.row * self.shape[1] + self.batch * self.output

    def add(self, readings: npt.NDArray[Any], *, saturated: int, seconds: float) -> None:
        """The next piece, [batch, outputs from `output` on]: on the disk when this returns. On a full disk what is in stays."""
        rows, outputs = readings.shape
        m = self.shape[1]
        assert readings.dtype == self._dtype
        assert rows == self.batch or not self.output
        # Whole rows are one piece of the file.
        pieces = [readings] if outputs == m else list(readings)
        try:
            for k, piece in enumerate(pieces):
                at = (self.row + k) * m + self.output
                self._write(np.ascontiguousarray(piece).data, len(self._header) + at * self._dtype.itemsize)
            os.fsync(self._fd)
        except OSError as error:
            raise _full(error, self._out, self._bytes) from error
        self.output += outputs
        self.batch = rows
        self.saturated += saturated
        self.batch_saturated += saturated
        if self.output == m:
            self.row += rows
            self.output = self.batch = self.batch_saturated = 0
        self.seconds += seconds
        self._save()

    def drop_batch(self) -> None:
        """Forget the spans of a batch that is not whole: its rows come again, for a device that measures whole frames."""
        self.saturated -= self.batch_saturated
        self.output = self.batch = self.batch_saturated = 0

    def finish(self) -> None:
        """All readings are in: the part file becomes `out`."""
        assert self.row == self.shape[0]
        publish(self._part, self._out, new=True)
        self._ledger.unlink()

    def _save(self) -> None:
        state = {name: getattr(self, name) for name in (*_COUNTS, "seconds")}
        write_json(self._ledger, {"format": _FORMAT, "version": _VERSION, "identity": self._identity, **state})

    def _go_on(self) -> bool:
        """Take up what an earlier session left; False if there is nothing to lose."""
        size = os.fstat(self._fd).st_size
        if not self._ledger.exists():
            # The ledger comes first, so this file is not from here.
            if size:
                raise FileExistsError(f"{self._part} is there without {self._ledger.name}: delete it to start afresh")
            return False
        afresh = f"delete {self._part} and {self._ledger.name} to start afresh"
        try:
            state = read_json(self._ledger)
            if state["format"] != _FORMAT or state["version"] != _VERSION:
                raise ValueError(f"format {state['format']!r}, version {state['version']!r}")
            stored = dict(state["identity"])
            row, output, batch, saturated, in_batch = (int(state[name]) for name in _COUNTS)
            seconds = float(state["seconds"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(
                f"{self._ledger} was not written by groundglass, or is damaged ({error}): {afresh}"
            ) from error
        if not size or not (row or output):
            return False
        for field in sorted(stored.keys() | self._identity.keys()):
            then, now = stored.get(field), self._identity.get(field)
            if then != now:
                raise ValueError(
                    f"{self._part} has readings of another measurement: its {_WORDS.get(field, field)} is {then!r:.80}, not "
                    f"{now!r}. Continue that one, give another file for the readings, or {afresh}"
                )
        rows, m = self.shape
        if not (0 <= row <= rows and 0 <= output < m and 0 <= batch <= rows - row and (batch > 0) == (output > 0)):
            raise DamagedFileError(f"{self._ledger} does not fit its measurement: {afresh}")
        if size != self._bytes or os.pread(self._fd, len(self._header), 0) != self._header:
            raise DamagedFileError(f"{self._part} was truncated or altered: {afresh}")
        self.row, self.output, self.batch, self.saturated = row, output, batch, saturated
        self.batch_saturated, self.seconds = in_batch, seconds
        return True

    def _lock(self) -> None:
        """The kernel's lock on the open file: it goes with the process, however that ends."""
        try:
            flock(self._fd)
        except BlockingIOError as error:
            raise OSError(
                errno.EWOULDBLOCK, f"another process is writing {self._part}: wait until it is done, or stop it"
            ) from error

    def _make(self) -> None:
        """A file of zeros; the ledger comes first."""
        self._save()
        try:
            reserve(self._fd, self._out, self._header, math.prod(self.shape) * self._dtype.itemsize)
        except OSError:
            # The same command then starts again.
            self._part.unlink(missing_ok=True)
            self._ledger.unlink(missing_ok=True)
            raise

    @property
    def _bytes(self) -> int:
        return len(self._header) + math.prod(self.shape) * self._dtype.itemsize

    def _write(self, data: memoryview, at: int) -> None:
        left = data.cast("B")
        while left:
            written = os.pwrite(self._fd, left, at)
            left, at = left[written:], at + written


def reserve(fd: int, path: Path, header: bytes, size: int) -> None:
    """Make an open file `header` and so many zeros, with all its space taken: a full disk is noticed here, not while it is
    written. It is on the disk when this returns.

    Raises:
        DiskFullError: no room; `path` is the file that is named.
    """
    whole = len(header) + size
    try:
        os.ftruncate(fd, 0)
        # Asked first: a file that is much too large would fill the disk before it fails.
        if shutil.disk_usage(path.parent).free < whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            os.posix_fallocate(fd, 0, whole)
        except (AttributeError, OSError) as error:  # not every system has it, nor every file system
            if getattr(error, "errno", None) in _NO_ROOM:
                raise
            os.ftruncate(fd, whole)
        os.pwrite(fd, header, 0)
        os.fsync(fd)
    except OSError as error:
        raise _full(error, path, whole) from error


def _full(error: OSError, path: Path, size: int) -> OSError:
    if error.errno not in _NO_ROOM:
        return error
    return DiskFullError(
        error.errno,
        f"the disk has no room for {path}, which takes {size / 1e9:.3g} GB. Free some space, or give a file on another disk, "
        "and run the same command again",
    )


def _own(part: Path) -> int:
    """Open the part file, or make it. Its name can be guessed, so a file that another user has put there is not written to."""
    flags = os.O_RDWR | os.O_NOFOLLOW
    with suppress(FileExistsError):
        return os.open(part, flags | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fd = os.open(part, flags | os.O_NONBLOCK)
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1:
            os.fchmod(fd, 0o600)  # earlier versions let others read it
            return fd
        os.close(fd)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EACCES, errno.ENXIO, errno.EISDIR):
            raise
    raise PermissionError(
        f"{part} is there, and is not a file of yours alone: readings are not written to it. Delete it, or give another file "
        "for the readings"
    )


def npy_header(shape: tuple[int, int], dtype: np.dtype[Any]) -> bytes:
    """The first bytes of a .npy file."""
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()
