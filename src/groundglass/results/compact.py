"""Making a compact copy of a run folder; see bundle.py for what it is."""

import hashlib
import io
import json
import secrets
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundglass.core import atomic_write, publish
from groundglass.core.checksum import SEAL, sealed
from groundglass.results.bundle import BUNDLE
from groundglass.results.journal import read_lines
from groundglass.results.manifest import STUDY_FILE, on_disk
from groundglass.results.records import RECORDS_FILE, RecordStore, not_deflated


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

    Every array is checked on the way. What the folder's plan does not ask for, as a remnant of another version's, is
    left out. The same records give the same bytes, of `arrays.tar.xz` with the same liblzma.

    Args:
        folder: a run folder; is left as it is.
        out: the copy, a new folder.

    Raises:
        FileExistsError: there is something at `out`.
        FileNotFoundError: no study in `folder`.
        DamagedFileError: a record or its arrays were altered; nothing is written.
    """
    folder, out = Path(folder), Path(out)
    if out.exists() or out.is_symlink():
        raise FileExistsError(
            f"{out} is there already: nothing is ever replaced; give a new folder, or remove it first"
        )
    # Read once, the lines first: a run may be under way there, and add to them.
    lines = read_lines(folder / RECORDS_FILE, heal=False)
    store = RecordStore.read(folder)
    unplanned = {record.key for record in store.unplanned}
    lines = [line for line in lines if line["key"] not in unplanned]
    packed: dict[str, bytes] = {}
    for line in lines:
        record = store.get(line["key"])
        if record is not None and record.arrays is not None:
            data = packed[record.arrays] = not_deflated(store.arrays(record))
            line["arrays_sha256"] = hashlib.sha256(data).hexdigest()
            if SEAL in line:
                line[SEAL] = sealed(line)[SEAL]
    return _write(out, store.manifest, lines, packed)


def _write(
    out: Path, manifest: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], arrays: Mapping[str, bytes]
) -> Compacted:
    """Whole or not at all. `arrays`: path within the folder -> bytes of that file."""
    part = out.with_name(f".{out.name}.{secrets.token_hex(8)}.part")  # nobody else uses this name
    try:
        with atomic_write(part / STUDY_FILE, "w") as file:
            file.write(json.dumps(on_disk(manifest), indent=2, sort_keys=True) + "\n")
        with atomic_write(part / RECORDS_FILE, "w") as file:
            file.writelines(json.dumps(line, sort_keys=True, allow_nan=False) + "\n" for line in lines)
        with atomic_write(part / BUNDLE) as file, tarfile.open(fileobj=file, mode="w:xz", preset=8) as bundle:
            for path in sorted(arrays):
                member = tarfile.TarInfo(path)  # of no time and no user
                member.size = len(arrays[path])
                bundle.addfile(member, io.BytesIO(arrays[path]))
        size = [file.stat().st_size for file in part.iterdir()]
        publish(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Compacted(out, len(size), sum(size), len(lines), len(arrays))
