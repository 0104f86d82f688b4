"""What an unfinished retrieval leaves behind: readings, solved rows, and how far they go."""

import errno
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from groundglass.core import DamagedFileError, make_folder, read_json, remove_parts, write_json
from groundglass.core.files import check_place, is_part
from groundglass.core.platform import flock
from groundglass.core.schema import read
from groundglass.core.settings import plain_identity
from groundglass.core.untrusted import check_file, within
from groundglass.optics.streams.reading_file import npy_header, reserve

STATE = "retrieval.json"
READINGS = "readings.npy"
MATRIX = "matrix.npy"


@dataclass(frozen=True, kw_only=True)
class _State:
    """What the fields of retrieval.json are."""

    identity: Mapping[str, Any]
    planned: int
    taken: int
    solved: int
    seconds: Mapping[str, float]
    checksums: tuple[tuple[int, int, str], ...]
    retried: tuple[int, ...] = ()


class RetrievalFolder:
    """Readings and rows of one retrieval; in a folder, where the same retrieval resumes from them, or in memory.

    The folder holds `readings.npy`, [rows, frames], and `matrix.npy`, complex64 [rows, N], for their owner alone, as they are
    as good as the secret; and `retrieval.json`, which is rewritten after each batch and block. One process at a time works in
    it, until the `with` block ends.

    Args:
        folder: None for memory. Made when missing.
        identity: plain JSON; what a resumed retrieval must agree with.
        planned: frames that may be taken.
        readings, matrix: (rows, frames, dtype) and (rows, N).

    Raises:
        FileExistsError: the folder holds something else.
        ValueError: it holds another retrieval; names the first difference.
        DamagedFileError: a file was truncated or altered.
        DiskFullError: no room for the readings or the matrix, said before a frame is taken.
        OSError: another process is at work there.
    """

    def __init__(
        self,
        folder: Path | None,
        identity: Mapping[str, Any],
        *,
        planned: int,
        readings: tuple[int, int, np.dtype[Any]],
        matrix: tuple[int, int],
    ) -> None:
        self._folder, self._identity, self._planned = folder, plain_identity(identity), planned
        self._shape = readings[:2]
        self.taken = 0
        self.solved = 0
        self.seconds = {"measure": 0.0, "compute": 0.0}
        #: Rows of those that were solved more than once.
        self.retried: list[int] = []
        self._checksums: list[tuple[int, int, str]] = []
        self._held: int | None = None
        self.readings: npt.NDArray[Any]
        self.matrix: npt.NDArray[np.complex64]
        if folder is None:
            self.readings = np.zeros(readings[:2], dtype=readings[2])
            self.matrix = np.zeros(matrix, dtype=np.complex64)
            return
        make_folder(folder)
        self._held = _lock(folder)
        try:
            self._begin(folder, readings, matrix)
        except BaseException:
            self.__exit__()
            raise

    def _begin(self, folder: Path, readings: tuple[int, int, np.dtype[Any]], matrix: tuple[int, int]) -> None:
        state = folder / STATE
        if state.exists():
            self._go_on(read_json(state), state)
        elif not all(is_part(entry.name) for entry in folder.iterdir()):
            raise FileExistsError(
                f"{folder} is there already and holds no retrieval: give another folder, or an empty one"
            )
        remove_parts(folder, below=False)
        if self.taken:
            check_place(state)
        else:
            try:
                # First of all: whatever a killed process leaves from here on belongs to a retrieval that has nothing yet.
                self._save()
                _make(folder / READINGS, readings[2], readings[:2])
                _make(folder / MATRIX, np.dtype(np.complex64), matrix)
            except OSError:
                # The same command then starts again, and so can another one.
                with suppress(OSError):
                    for name in (READINGS, MATRIX, STATE):
                        (folder / name).unlink(missing_ok=True)
                raise
        self.readings = _open(folder / READINGS, readings[2], readings[:2])
        self.matrix = _open(folder / MATRIX, np.dtype(np.complex64), matrix)
        for begin, end, checksum in self._checksums:
            if _checksum(self.matrix[begin:end]) != checksum:
                raise DamagedFileError(f"rows {begin} to {end} of {folder / MATRIX} were altered: delete the folder")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        if self._held is not None:
            os.close(self._held)

    @staticmethod
    def planned_in(folder: Path | None, frames: int) -> int | None:
        """Frames that the retrieval in this folder was begun with, of the `frames` asked for; None where there is none.

        Raises:
            ValueError: a retrieval of another number of frames.
            DamagedFileError: more than were asked for.
        """
        if folder is None or not (folder / STATE).exists():
            return None
        told = read(_State, read_json(folder / STATE), str(folder / STATE))
        _check_same(folder, told, "frames", frames)
        if told.planned > frames:
            raise DamagedFileError(
                f"{folder / STATE} plans {told.planned} frames of {frames}: it was altered, delete the folder"
            )
        return told.planned

    @staticmethod
    def taken_in(folder: Path) -> int:
        """Frames whose readings the folder has; 0 where no retrieval was begun.

        Raises:
            DamagedFileError: its state was altered.
        """
        state = folder / STATE
        return read(_State, read_json(state), str(state)).taken if state.exists() else 0

    def result(self) -> npt.NDArray[np.complex64]:
        """The matrix, for others: what they do to it does not change the file."""
        if self._folder is None:
            return self.matrix
        found: npt.NDArray[np.complex64] = np.load(self._folder / MATRIX, mmap_mode="c", allow_pickle=False)
        return found

    def keep_frames(self, taken: int, seconds: float) -> None:
        """The readings of the first `taken` frames are in."""
        self.taken = taken
        self.seconds["measure"] += seconds
        if self._folder is not None:
            assert isinstance(self.readings, np.memmap)
            self.readings.flush()
        self._save()

    def keep_rows(
        self, begin: int, rows: npt.NDArray[np.complex64], seconds: float, retried: Sequence[int] = ()
    ) -> None:
        """Rows from `begin` on are solved; `retried` are the numbers of those that took another try."""
        end = begin + len(rows)
        self.matrix[begin:end] = rows
        self.solved = end
        self.retried += retried
        self.seconds["compute"] += seconds
        if self._folder is not None:
            assert isinstance(self.matrix, np.memmap)
            self.matrix.flush()
            self._checksums.append((begin, end, _checksum(rows)))
        self._save()

    def _save(self) -> None:
        if self._folder is None:
            return
        state = {
            "format": "groundglass retrieval",
            "identity": self._identity,
            "planned": self._planned,
            "taken": self.taken,
            "solved": self.solved,
            "seconds": self.seconds,
            "checksums": self._checksums,
            "retried": self.retried,
        }
        write_json(self._folder / STATE, state)

    def _go_on(self, state: Any, path: Path) -> None:
        told = read(_State, state, str(path))
        for field, value in self._identity.items():
            _check_same(path.parent, told, field, value)
        rows, frames = self._shape
        ends = [0, *(end for _, end, _ in told.checksums)]
        whole = (
            [begin for begin, _, _ in told.checksums] == ends[:-1] and ends == sorted(ends) and ends[-1] == told.solved
        )
        if not (
            0 <= told.taken <= frames
            and told.solved <= rows
            and whole
            and told.seconds.keys() >= self.seconds.keys()
            and all(0 <= row < told.solved for row in told.retried)
        ):
            raise DamagedFileError(f"{path} does not fit its retrieval: give another folder, or delete this one")
        self.taken, self.solved, self.retried = told.taken, told.solved, list(told.retried)
        self.seconds = {name: told.seconds[name] for name in self.seconds}
        self._checksums = list(told.checksums)


def _check_same(folder: Path, told: _State, field: str, value: Any) -> None:
    if told.identity.get(field) != value:
        then = repr(told.identity.get(field))
        raise ValueError(
            f"{folder} holds another retrieval: its {field} is {then:.80}, not {value!r:.80}. Use the same settings to "
            "go on with it, or give another folder"
        )


def _lock(folder: Path) -> int:
    """The kernel's lock on the folder: it is released when the process ends, however it does."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flock(fd)
    except BlockingIOError:
        os.close(fd)
        raise OSError(
            errno.EWOULDBLOCK, f"another process is retrieving in {folder}: wait until it is done, or stop it"
        ) from None
    except OSError:  # not every file system has locks
        pass
    return fd


def _make(path: Path, dtype: np.dtype[Any], shape: tuple[int, int]) -> None:
    """A file of zeros that only its owner can read, in place of what an earlier process began."""
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        reserve(fd, path, npy_header(shape, dtype), math.prod(shape) * dtype.itemsize)
    finally:
        os.close(fd)


def _open(path: Path, dtype: np.dtype[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    try:
        check_file(within(path.parent, path.name))
        # Opened to be written, a file that was cut short is filled up with zeros, without a word.
        np.lib.format.open_memmap(path, mode="r")
        found = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError) as error:
        raise DamagedFileError(f"{path} is damaged or missing ({error}): delete the folder to start afresh") from error
    if found.dtype != dtype or found.shape != shape:
        raise DamagedFileError(f"{path} has shape {found.shape}, not {shape}: delete the folder to start afresh")
    return found


def _checksum(rows: npt.NDArray[np.complex64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()
