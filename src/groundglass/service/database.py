"""What the service must not forget, in one SQLite file: tokens, the frames that were counted, and what guards have found.

The server has it open, and the token commands beside it (WAL: who reads waits for nobody). It is its owner's alone from the
first byte on.

Every commit is on the disk when it returns (`synchronous=FULL`). That costs one flush for each shared measurement, 0.3 to 4 ms
as the disk is busy, against 0.02 ms with `NORMAL`. That holds through a kill too, but a power cut takes its last counts: who
can cut the power would be given frames. A server hides the flush by counting the next frames while it measures these.
"""

import errno
import os
import sqlite3
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from groundglass.core import DamagedFileError, DiskFullError, atomic_write, make_folder
from groundglass.core.untrusted import check_file, within
from groundglass.service.clock import Clock

#: The name of the file in the service's state folder.
NAME = "service.db"
#: "ggsv"
_APPLICATION = 0x67677376
_VERSION = 1
# The year 5138: what is later was never a time.
_LAST = 1e11
# "The Database Header" of SQLite's file format: what it is, and two numbers of the application's.
_HEADER = struct.Struct(">16s44xI4xI")
_SCHEMA = """
CREATE TABLE clock(latest REAL NOT NULL);
CREATE TABLE tokens(
    id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL,
    roles TEXT NOT NULL, devices TEXT NOT NULL, frames INTEGER, frames_a_day INTEGER, frames_a_second INTEGER,
    made REAL NOT NULL, expires REAL, revoked REAL
) WITHOUT ROWID;
CREATE UNIQUE INDEX names ON tokens(name) WHERE revoked IS NULL;
CREATE TABLE counts(
    token TEXT NOT NULL, device TEXT NOT NULL, frames INTEGER NOT NULL, day INTEGER NOT NULL, today INTEGER NOT NULL,
    second INTEGER NOT NULL, in_second INTEGER NOT NULL, PRIMARY KEY (token, device)
) WITHOUT ROWID;
CREATE TABLE alarms(
    at REAL NOT NULL, token TEXT, device TEXT NOT NULL, name TEXT NOT NULL, score REAL NOT NULL, bound REAL NOT NULL,
    frames INTEGER NOT NULL, response TEXT NOT NULL
);
CREATE TABLE held(
    token TEXT NOT NULL, device TEXT NOT NULL, response TEXT NOT NULL, PRIMARY KEY (token, device)
) WITHOUT ROWID;
"""


class Database:
    """The open file. Safe to share between threads; not between processes by fork.

    Args:
        folder: the service's state folder.
        create: make folder (0700) and file if they are missing.
        wall, steady: see `Clock`.
        patience: seconds to wait for another process that writes.

    Attributes:
        clock: begins where it was when something was last written.

    Raises:
        FileNotFoundError: there is none, and `create` was not asked for.
        PermissionError: it is another user's, or others may read it.
        DamagedFileError: it was truncated or altered, or a newer groundglass has made it.
        DiskFullError, OSError: it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        create: bool,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        patience: float = 5.0,
    ) -> None:
        self._path = within(folder, NAME)
        if create and not self._path.exists():
            _create(self._path)
        _check_access(self._path)
        self._check_kind()
        # Who only reads has a connection of its own: it never waits for a flush.
        self._reads, self._writes = threading.Lock(), threading.Lock()
        with self._translated():
            self._reader = self._connection(patience)
            try:
                self._check_content()
                self._writer = self._connection(patience)
            except BaseException:
                self._reader.close()
                raise
        rows = self.read("SELECT latest FROM clock")
        if len(rows) != 1 or not isinstance(rows[0][0], float) or not 0 <= rows[0][0] < _LAST:
            self.close()
            raise self.damaged("it does not say when it was written last")
        self._kept = rows[0][0]
        self.clock = Clock(self._kept, wall=wall, steady=steady)

    def read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that are there now, with what other processes have written."""
        with self._reads, self._translated():
            return self._reader.execute(query, values).fetchall()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on the disk when the block has ended, or nothing of it if anything was raised.

        Raises:
            DiskFullError: the disk is full.
            OSError: it could not be written for another reason; another process is writing for longer than `patience`.
        """
        with self._writes, self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                now = self.clock.now()
                self._writer.execute("UPDATE clock SET latest = max(latest, ?)", (now,))
                self._writer.execute("COMMIT")
                self._kept = now
            except BaseException:
                with suppress(sqlite3.Error):  # it must not replace the error that brought us here
                    if self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
                raise

    def keep_time(self, at_least: float) -> None:
        """Have it on the disk that it is later than that: a restart with a clock that was set back will not undo it."""
        if self._kept < at_least:
            with self.write():
                pass

    def damaged(self, why: str) -> DamagedFileError:
        """The error that says so, and what to do."""
        return DamagedFileError(
            f"{self._path} was truncated or altered ({why}). Put back a copy of the state folder (frames measured since "
            "are then not counted), or move it away, which ends all tokens, and make new ones by `groundglass device token new`"
        )

    def close(self) -> None:
        self._reader.close()
        self._writer.close()

    def _connection(self, patience: float) -> sqlite3.Connection:
        one = sqlite3.connect(self._path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            one.execute("PRAGMA trusted_schema = OFF")
            one.execute("PRAGMA cell_size_check = ON")
            if one.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
                raise OSError(
                    errno.ENOTSUP,
                    f"{self._path} cannot be shared by server and commands on this file system: give a state folder on a "
                    "local disk",
                )
            one.execute("PRAGMA synchronous = FULL")
        except BaseException:
            one.close()
            raise
        return one

    def _check_kind(self) -> None:
        """By its header alone: SQLite writes to what it opens."""
        with self._path.open("rb") as file:
            header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise self.damaged("it has no header")
        magic, version, application = _HEADER.unpack(header)
        if magic != b"SQLite format 3\0" or application != _APPLICATION:
            raise self.damaged("it is not a database of the device service")
        self._check_version(version)

    def _check_version(self, version: int) -> None:
        if version != _VERSION:
            raise DamagedFileError(
                f"{self._path} has format version {version}, and this groundglass reads {_VERSION}: upgrade groundglass, or "
                "give another state folder. Nothing was changed"
            )

    def _check_content(self) -> None:
        # What was written last may not be in the file itself yet.
        self._check_version(self._reader.execute("PRAGMA user_version").fetchone()[0])
        # Before the file's own schema is used for anything.
        with closing(_new()) as wanted:
            if _schema(self._reader) != _schema(wanted):
                raise self.damaged("its tables are not those of the device service")
        ((found,),) = self._reader.execute("PRAGMA quick_check(1)").fetchall()
        if found != "ok":
            raise self.damaged(" ".join(found.split()))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._said(error) from error

    def _said(self, error: sqlite3.Error) -> Exception:
        """What an error of SQLite means, and what to do."""
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):
            return error  # a bug of ours
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and not os.statvfs(self._path.parent).f_bavail):
            return DiskFullError(
                errno.ENOSPC, f"the disk is full: {self._path} was not changed. Free some space and try again"
            )
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return OSError(
                errno.EBUSY, f"another process holds {self._path}: end it, or wait, and try again. Nothing was changed"
            )
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return OSError(
                errno.EIO,
                f"{self._path} cannot be read or written ({error}): check its disk and the folder's permissions",
            )
        return self.damaged(str(error))


def _new() -> sqlite3.Connection:
    """An empty one, in memory."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.executescript(_SCHEMA)
    made.execute("INSERT INTO clock VALUES (0.0)")
    made.execute(f"PRAGMA application_id = {_APPLICATION}")
    made.execute(f"PRAGMA user_version = {_VERSION}")
    return made


def _schema(one: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return one.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name").fetchall()


def _create(path: Path) -> None:
    """Whole from the start: an empty file is one that was truncated."""
    make_folder(path.parent, 0o700)
    with closing(_new()) as made, suppress(FileExistsError), atomic_write(path, private=True, new=True) as file:
        file.write(made.serialize())


def _check_access(path: Path) -> None:
    try:
        check_file(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no {path}: give the folder that the service keeps its state in, or begin one by `groundglass device token new`"
        ) from None
    folder = path.parent.stat()
    if folder.st_mode & 0o022:
        raise PermissionError(
            f"{path.parent} may be written by others (mode {stat.S_IMODE(folder.st_mode):04o}), who could put another device or "
            f"other tokens there. Run: chmod go-w {path.parent}"
        )
    status = path.stat()
    if mode := stat.S_IMODE(status.st_mode) & 0o077:
        raise PermissionError(
            f"{path} may be read or written by others (mode {0o600 | mode:04o}): it decides who may use the devices. Run: "
            f"chmod 600 {path}"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(f"{path} is not yours to change: run this as the user of the service")
