"""Reading a compact copy of a run folder: small enough to be committed, enough to rebuild every figure and table.

It holds study.json, records.jsonl and arrays.tar.xz, whose members are the files of arrays/, not deflated: they are alike, and
together they take a quarter. So the records there have the SHA-256 of those. It has no networks and no devices, and of images
only the few that the page shows: nothing can be added to it.
"""

import lzma
import re
import tarfile
from pathlib import Path

from groundglass.core.arrays import check_unpacked, unpacked_limit
from groundglass.core.untrusted import damaged, read_bytes, within

BUNDLE = "arrays.tar.xz"
_MEMBER = re.compile(r"arrays/[0-9a-f]{12}\.npz")
_MOST = 2**32


class CompactCopyError(ValueError):
    """A compact copy was asked for what it does not hold: networks, devices, or room for another result."""


def read_bundle(folder: Path) -> dict[str, bytes]:
    """The files of arrays of a compact copy, by their path within the folder.

    All at once: what is one stream has no other way in, and the whole of all studies is some 15 MB.

    Raises:
        DamagedFileError: the bundle cannot be read.
    """
    path = within(folder, BUNDLE)
    packed = read_bytes(path, most=_MOST)
    again = "put it back from a copy, or make the compact copy again"
    with damaged(str(path), again, lzma.LZMAError, tarfile.TarError):
        limit = unpacked_limit(len(packed))
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2**28)
        data = stream.decompress(packed, max_length=limit)
        if not stream.eof:
            check_unpacked(len(data) + (len(data) == limit), len(packed), str(path))
            raise EOFError("it was cut short")
        return _members(memoryview(data))


def _members(data: memoryview) -> dict[str, bytes]:
    """The files of an archive that `compact` wrote. No other member is taken: no link, no folder, no header of another kind."""
    found: dict[str, bytes] = {}
    at, block = 0, tarfile.BLOCKSIZE
    while any(header := bytes(data[at : at + block])):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        end = at + block + member.size
        if member.type != tarfile.REGTYPE or not _MEMBER.fullmatch(member.name) or member.name in found:
            raise ValueError(f"{member.name!r:.80} is not an array of a result")
        if not at + block <= end <= len(data):
            raise EOFError("it was cut short")
        found[member.name] = bytes(data[at + block : end])
        at += block + -(-member.size // block) * block
    return found


def is_compact(folder: Path) -> bool:
    """Whether `folder` is a compact copy."""
    return (folder / BUNDLE).is_file()
