"""Reading a compact copy of a run folder: small enough to be committed, enough to rebuild every figure and table.

It holds study.json, records.jsonl and arrays.tar.xz, whose members are the files of arrays/, not deflated: they are alike, and
together they take a quarter. So the records there have the SHA-256 of those. It has no networks and no devices, and of images
only the few that the page shows: nothing can be added to it.
"""

import lzma
import tarfile
from pathlib import Path

from groundglass.core import DamagedFileError

BUNDLE = "arrays.tar.xz"


class CompactCopyError(ValueError):
    """A compact copy was asked for what it does not hold: networks, devices, or room for another result."""


def read_bundle(folder: Path) -> dict[str, bytes]:
    """The files of arrays of a compact copy, by their path within the folder.

    All at once: what is one stream has no other way in, and the whole of all studies is some 15 MB.

    Raises:
        DamagedFileError: the bundle cannot be read.
    """
    try:
        with tarfile.open(folder / BUNDLE, "r:xz") as bundle:
            return {member.name: file.read() for member in bundle if (file := bundle.extractfile(member))}
    except (OSError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise DamagedFileError(
            f"{folder / BUNDLE} cannot be read ({error}): put it back from a copy, or make the compact copy anew"
        ) from error


def is_compact(folder: Path) -> bool:
    """Whether `folder` is a compact copy."""
    return (folder / BUNDLE).is_file()


def refuse_without_networks(folder: Path) -> None:
    """Refuse a compact copy where networks and devices are needed.

    Raises:
        CompactCopyError: `folder` is one.
    """
    if is_compact(folder):
        raise CompactCopyError(
            f"{folder} is a compact copy: it has results, but neither networks nor devices. "
            "Give the run folder that it was made from, or leave it out: networks are then trained again"
        )
