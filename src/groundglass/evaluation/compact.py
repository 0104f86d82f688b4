"""Making a compact copy of a run folder; see bundle.py for what it is."""

import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundglass.core import atomic_write
from groundglass.evaluation.bundle import BUNDLE
from groundglass.evaluation.journal import Journal
from groundglass.evaluation.manifest import STUDY_FILE
from groundglass.evaluation.records import RECORDS_FILE, RecordStore

# The earliest that the format knows: no file tells when it was made.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Compacted:
    """What came of it. `bytes`: of all its files together; `arrays`: how many results have arrays."""

    folder: Path
    files: int
    bytes: int
    records: int
    arrays: int


def compact(folder: Path, out: Path) -> Compacted:
    """Make a compact copy of a run folder, finished or not: all that its report and tables are made from.

    Every array is checked on the way. The same records give the same bytes.

    Args:
        folder: a run folder; is left as it is.
        out: the copy, a new folder.

    Raises:
        FileExistsError: there is something at `out`.
        FileNotFoundError: no study in `folder`.
        DamagedFileError: a record or its arrays were altered; nothing is written.
    """
    folder, out = Path(folder), Path(out)
    _refuse_existing(out)
    # Read once, the lines first: a run may be under way there, and add to them.
    lines = Journal(folder / RECORDS_FILE).read(heal=False)
    store = RecordStore.read(folder)
    records = [record for line in lines if (record := store.get(line["key"]))]
    arrays = {record.arrays: data for record in records if (data := store.stored_arrays(record)) and record.arrays}
    return _write(out, store.manifest, lines, arrays)


def _write(
    out: Path, manifest: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], arrays: Mapping[str, bytes]
) -> Compacted:
    """Whole or not at all. `arrays`: path within the folder -> bytes of that file."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with atomic_write(part / STUDY_FILE, "w") as file:
            file.write(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        with atomic_write(part / RECORDS_FILE, "w") as file:
            file.writelines(json.dumps(line, sort_keys=True, allow_nan=False) + "\n" for line in lines)
        with atomic_write(part / BUNDLE) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as bundle:
            for path in sorted(arrays):
                bundle.writestr(_member(path), arrays[path])
        size = [file.stat().st_size for file in part.iterdir()]
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Compacted(out, len(size), sum(size), len(lines), len(arrays))


def _refuse_existing(out: Path) -> None:
    """Raises FileExistsError where there is anything at `out`, an empty folder too."""
    if out.exists() or out.is_symlink():
        raise FileExistsError(
            f"{out} is there already: nothing is ever replaced; give a new folder, or remove it first"
        )


def _member(path: str) -> zipfile.ZipInfo:
    """Stored as it is: the arrays are deflated already, and what deflating gives hangs on the version of zlib."""
    member = zipfile.ZipInfo(path, _NO_TIME)
    member.create_system = 3  # Unix, wherever it is made
    member.external_attr = 0o644 << 16
    return member
