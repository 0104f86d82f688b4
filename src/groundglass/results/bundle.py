"""Reading a compact copy of a run folder: small enough to be committed, enough to rebuild every figure and table.

It holds study.json, records.jsonl and arrays.tar.xz, whose members are the files of arrays/, not deflated: they are alike, and
together they take a quarter. So the records there have the SHA-256 of those. It has no networks and no devices, and of images
only the few that the page shows: nothing can be added to it.
"""

import lzma
import tarfile
from functools import cached_property
from pathlib import Path

from groundglass.core import DamagedFileError

BUNDLE = "arrays.tar.xz"


class CompactCopyError(ValueError):
    """A compact copy was asked for what it does not hold: networks, devices, or room for another result."""


class Arrays:
    """The files of arrays of a folder: in arrays/, or of a compact copy in its bundle."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> bytes | None:
        """The bytes of `path`, which is within the folder; None where it is nowhere.

        Raises:
            DamagedFileError: the bundle cannot be read.
        """
        file = self._folder / path
        if file.exists():
            return file.read_bytes()
        if not is_compact(self._folder):
            return None
        try:
            return self._bundle.get(path)
        except (OSError, EOFError, lzma.LZMAError, tarfile.TarError) as error:
            raise DamagedFileError(
                f"{self._folder / BUNDLE} cannot be read ({error}): put it back from a copy, or make the compact copy anew"
            ) from error

    @cached_property
    def _bundle(self) -> dict[str, bytes]:
        # All at once: what is one stream has no other way in, and the whole of all studies is some 15 MB.
        with tarfile.open(self._folder / BUNDLE, "r:xz") as bundle:
            return {member.name: file.read() for member in bundle if (file := bundle.extractfile(member))}


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
