"""The results of a study on disk: a line a result, arrays beside it, never a half-written one.

A run folder holds study.json (what the study is), records.jsonl (one result a line) and arrays/<key>.npz
(what a result has for each image); a compact copy has arrays.tar.xz in place of arrays/. A result that is there is
whole: arrays are written first, then the line, each to the disk before the next. So an interrupted run continues
with the first result that is missing.
"""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from groundglass.core import DamagedFileError, atomic_write, make_folder, remove_parts
from groundglass.core.arrays import read_npz, unpacked_limit
from groundglass.core.checksum import unsealed
from groundglass.core.hosts import awaited
from groundglass.core.schema import plain, read
from groundglass.core.untrusted import read_bytes, within
from groundglass.results.bundle import CompactCopyError, is_compact, read_bundle
from groundglass.results.journal import append_line, read_lines
from groundglass.results.kinds import KINDS
from groundglass.results.lock import LOCK_FILE, FolderInUseError, lock
from groundglass.results.manifest import (
    FORMAT,
    STUDY_FILE,
    OtherStudyError,
    Refusal,
    check_vacant,
    enter_study,
    format_of,
    load_manifest,
)
from groundglass.results.plain import cell_key
from groundglass.results.record import Record

__all__ = ["FolderInUseError", "OtherStudyError", "Record", "RecordStore", "cell_key"]

RECORDS_FILE = "records.jsonl"
_ARRAYS = "arrays"
_MOST_ARRAYS = 2**36
# The name of a frame, and of its file.
_KIND = re.compile(r"\w[^/\\]{0,99}")


class RecordStore:
    """The records of one run folder. Made by `open` (to add; one process at a time) or `read` (to look)."""

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        records: list[Record],
        held: IO[str] | None,
        *,
        begun: Sequence[Path] = (),
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self._records = {record.key: record for record in records}
        self._lock = held
        self._begun = begun

    @classmethod
    def open(cls, folder: Path, manifest: Mapping[str, Any], *, refusal: Refusal | None = None) -> "RecordStore":
        """Start a study in `folder`, or continue the one that is there. The folder is locked until `close`.

        Args:
            folder: made when missing.
            manifest: {study, recipe, data, config, seed, versions, machine, started}, plain JSON. It may have
                `cells`, the plan: a list of {key, kind, name}, so that a reader knows what is still missing.
            refusal: why recipe and settings of a study with these records may not change; empty if they may: its plan is then
                another, in this folder. None: they may not.

        Raises:
            OtherStudyError: the folder holds another study, other settings, or something else.
            FolderInUseError: another process is at work there.
            CompactCopyError: the folder is a compact copy, and lacks a cell of the plan.
            DamagedFileError: a file in it was altered.
        """
        folder = Path(folder)
        check_vacant(folder)
        if is_compact(folder):
            # All that is asked for is there, or it is refused: a copy stays as it was made.
            store, planned = cls.read(folder), manifest.get("cells", ())
            missing = [cell for cell in planned if cell["key"] not in store]
            if missing:
                raise CompactCopyError(
                    f"{folder} is a compact copy, without networks or devices, and {len(missing)} of the {len(planned)} "
                    f"results asked for are not in it (first: {missing[0].get('name', missing[0]['key'])}): it cannot be "
                    "continued. Ask for the study that it holds, or give the run folder that it was made from as --out, or "
                    f"begin a new folder with its results: --reuse {folder} --out NEW"
                )
            enter_study(folder, manifest, write=False)
            return store
        begun = [] if folder.exists() else [folder]
        make_folder(folder)
        held = lock(folder)
        try:
            begun += [path for path in (folder / STUDY_FILE,) if not path.exists()]
            for entry in folder.iterdir():  # what is written below a link would be elsewhere
                if entry.is_dir() and entry.is_symlink():
                    within(folder, entry.name)
            known = load_manifest(folder) if (folder / STUDY_FILE).exists() else {"format": FORMAT}
            records = _records(folder, known, heal=True)
            stored = enter_study(folder, manifest, records=records, refusal=refusal)
            remove_parts(folder)
        except BaseException:
            held.close()
            raise
        return cls(folder, stored, records, held, begun=begun)

    @classmethod
    def read(cls, folder: Path) -> "RecordStore":
        """Look at what `folder` holds, without changing it; also while a run is under way there.

        Raises:
            FileNotFoundError: no study there.
            DamagedFileError: a file in it was altered.
        """
        folder = Path(folder)
        manifest = load_manifest(folder)
        return cls(folder, manifest, _records(folder, manifest, heal=False), None)

    @property
    def records(self) -> tuple[Record, ...]:
        """The results that the plan asks for, in its order; all, oldest first, where the manifest has no plan.

        Cells that run side by side end in any order: what is made from records must not depend on it. A folder whose
        settings were changed, or that an earlier version began, may hold results of another plan: they stay, and no table
        mixes them with those of this one.
        """
        plan = self.manifest.get("cells")
        if not plan:
            return tuple(self._records.values())
        found = (self._records.get(cell["key"]) for cell in plan)
        return tuple(record for record in found if record is not None)

    @property
    def unplanned(self) -> tuple[Record, ...]:
        """What is in the folder though the plan does not ask for it, oldest first: an earlier plan did."""
        planned = {record.key for record in self.records}
        return tuple(record for record in self._records.values() if record.key not in planned)

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: object) -> bool:
        return key in self._records

    def get(self, key: str) -> Record | None:
        """The record of that key, or None while there is none."""
        return self._records.get(key)

    def add(self, record: Record, arrays: Mapping[str, np.ndarray] | None = None) -> Record:
        """Keep a result; when this returns it is on the disk.

        Args:
            record: its `arrays` and `arrays_sha256` are set here.
            arrays: what the result has for each image; no object arrays.

        Returns:
            The record as stored.

        Raises:
            ValueError: the key is taken or malformed, or a number is NaN or infinite.
            TypeError: a value that is not plain JSON.
            CompactCopyError: the folder is a compact copy.
            DiskFullError: no room; the folder is as before and can be continued.
        """
        if is_compact(self.folder):
            raise CompactCopyError(f"{self.folder} is a compact copy: nothing is added to it. Give another --out")
        if self._lock is None:
            raise RuntimeError(f"{self.folder} was opened for reading, or is closed: use RecordStore.open to add")
        if not re.fullmatch(r"[0-9a-f]{12}", record.key):
            raise ValueError(
                f"the key {record.key!r} is not 12 hex digits: make it with cell_key(kind, config, inputs)"
            )
        if record.key in self._records:
            there = self._records[record.key]
            raise ValueError(f"{self.folder} has the record {record.key} ({there.name}) already: none is ever replaced")
        bare = replace(record, arrays=None, arrays_sha256=None)
        record = read(Record, plain(asdict(bare), "record"), "record")
        _check(
            record,
            f"the record {record.name!r}",
            "make it with cell_key(kind, config, inputs) and a consistent Result",
        )
        if arrays:
            data, path = _pack(arrays), f"{_ARRAYS}/{record.key}.npz"
            record = replace(record, arrays=path, arrays_sha256=hashlib.sha256(data).hexdigest())
            with atomic_write(self.folder / path) as file:
                file.write(data)
        # Most records have no frames: their lines are as earlier versions read them.
        line = {name: value for name, value in asdict(record).items() if (name, value) != ("frames", None)}
        append_line(self.folder / RECORDS_FILE, line)
        self._records[record.key] = record
        return record

    def arrays(self, record: Record) -> dict[str, np.ndarray]:
        """The arrays of a record, checked against its checksum; none: an empty dict.

        Raises:
            DamagedFileError: the file is missing or altered.
        """
        if record.arrays is None:
            return {}
        path = within(self.folder, record.arrays)
        data = self._bundle.get(record.arrays)
        with suppress(FileNotFoundError):
            data = awaited(path, lambda: read_bytes(path, most=_MOST_ARRAYS)) if data is None else data
        advice = (
            f"put it back from a copy, or delete the line of {record.key} from {RECORDS_FILE}: "
            "it is then done again when the study continues"
        )
        if is_compact(self.folder):
            advice = "put the folder back from a copy, or make the compact copy again from its run folder"
        needed = f"{path}, which the record {record.key} ({record.name}) needs,"
        if data is None:
            raise DamagedFileError(f"{needed} is missing: {advice}")
        if hashlib.sha256(data).hexdigest() != record.arrays_sha256:
            raise DamagedFileError(f"{needed} was altered since it was recorded (its SHA-256 differs): {advice}")
        arrays = read_npz(data, needed, advice)
        if record.kind in KINDS:
            KINDS[record.kind].check_arrays(record, arrays, needed, advice)
        return arrays

    @cached_property
    def _bundle(self) -> dict[str, bytes]:
        return read_bundle(self.folder) if is_compact(self.folder) else {}

    def give_up(self) -> None:
        """Close, and remove what `open` has made here if nothing else is there: no result and no unfinished work."""
        study = self.folder / STUDY_FILE
        bare = {path.name for path in self.folder.iterdir()} <= {STUDY_FILE, LOCK_FILE}
        if self._lock is not None and bare and study in self._begun:
            for path in (study, self.folder / LOCK_FILE):
                path.unlink(missing_ok=True)
            if self.folder in self._begun:
                with suppress(OSError):  # another process has just put something there
                    self.folder.rmdir()
        self.close()

    def close(self) -> None:
        """Unlock the folder. Nothing can be added after this."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> "RecordStore":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _records(folder: Path, manifest: Mapping[str, Any], *, heal: bool) -> list[Record]:
    known, records = {field.name for field in fields(Record)}, dict[str, Record]()
    for number, line in enumerate(read_lines(folder / RECORDS_FILE, heal=heal), start=1):
        where = f"{folder / RECORDS_FILE}, line {number}"
        value = unsealed(line, where, required=format_of(manifest) > 1)
        # Those of earlier versions lack some of these.
        for word, names in (
            ("lacks", known - value.keys() - {"memory", "device_memory", "files", "frames"}),
            ("has", value.keys() - known),
        ):
            if names:
                raise DamagedFileError(f"{where} is not a record: it {word} {', '.join(map(repr, sorted(names)))}")
        record = read(Record, value, where)
        if record.key in records:
            raise DamagedFileError(f"{where} repeats the key {record.key!r:.40}: delete one of the two lines")
        _check(
            record, where, "it was altered, put it back from a copy, or delete the line: the result is then made again"
        )
        records[record.key] = record
    return list(records.values())


def _check(record: Record, where: str, again: str) -> None:
    """Refuse a record that is well formed, but contradicts itself."""
    if not _KIND.fullmatch(record.kind) or not record.kind.isprintable():
        raise DamagedFileError(f"{where}: {record.kind!r:.80} is no name of a kind of result: {again}")
    if cell_key(record.kind, record.config, record.inputs) != record.key:
        raise DamagedFileError(f"{where}: the key {record.key!r:.40} is not that of its config and inputs: {again}")
    if record.arrays not in (None, f"{_ARRAYS}/{record.key}.npz"):
        raise DamagedFileError(f"{where}: the arrays of {record.key} are not in {record.arrays!r:.80}: {again}")
    if record.kind in KINDS:
        KINDS[record.kind].check(record, where, again)


def _pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"the array {name!r} holds Python objects: use numbers, booleans or strings")
    buffer = io.BytesIO()
    contents: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez_compressed(buffer, allow_pickle=False, **contents)
    data = buffer.getvalue()
    # In a form that may be read again: see `core.arrays`.
    return data if sum(a.nbytes for a in contents.values()) < unpacked_limit(len(data)) // 2 else not_deflated(contents)


def not_deflated(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz file of plain arrays."""
    buffer = io.BytesIO()
    contents: dict[str, Any] = dict(arrays)
    np.savez(buffer, allow_pickle=False, **contents)
    return buffer.getvalue()
