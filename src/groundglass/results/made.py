"""The files that a result has made in its run folder, such as a network: named and pinned by its record."""

import hashlib
from pathlib import Path

from groundglass.core import DamagedFileError
from groundglass.core.hosts import awaited
from groundglass.core.untrusted import check_file, within
from groundglass.results.record import Record


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def made_file(folder: Path, record: Record, name: str) -> Path:
    """A file that a record names, checked to be unchanged. Records of earlier versions have no checksum for it.

    Raises:
        FileNotFoundError: it is not there.
        DamagedFileError: its name leads elsewhere, it is not a regular file, or it was altered.
    """
    return awaited(folder / name, lambda: _made_file(folder, record, name))


def _made_file(folder: Path, record: Record, name: str) -> Path:
    path = within(folder, name)
    again = (
        f"put it back from a copy, or delete the line of {record.key} from records.jsonl: "
        "it is then made again when the study continues"
    )
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}, which the record {record.key} ({record.name}) has made: {again}")
    check_file(path)
    if record.files and record.files.get(name) != digest_of(path):
        raise DamagedFileError(
            f"{path} was altered, or is not the file that the record {record.key} ({record.name}) has made (its SHA-256 "
            f"differs): {again}"
        )
    return path
