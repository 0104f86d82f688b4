"""Plain arrays out of .npy and .npz files, which may come from a stranger: no larger than their file says."""

import io
import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from groundglass.core.files import DamagedFileError
from groundglass.core.untrusted import check_file, damaged

#: A file that unpacks to more bytes than this, and to so many times its own size, was made to fill the memory.
_FREE, _RATIO = 2**26, 128
_KINDS = "biufcUS"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def unpacked_limit(packed: int) -> int:
    """Bytes that a file of `packed` bytes may unpack to."""
    return _FREE + _RATIO * packed


def check_unpacked(size: int, packed: int, where: str) -> None:
    """Refuse a file that is small on disk and would fill the memory."""
    if size > unpacked_limit(packed):
        raise DamagedFileError(f"{where} has {packed:,} bytes and unpacks to {size:,}: it was made to fill the memory")


def read_npz(data: bytes | Path, where: str, again: str, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The plain arrays of an .npz file.

    Args:
        data: the file, or its bytes.
        where: what to call it in an error.
        again: what to do where it is damaged.
        names: those of the arrays that are read; None for all.

    Raises:
        DamagedFileError: truncated, altered, of objects, or made to fill the memory.
    """
    packed = check_file(data) if isinstance(data, Path) else len(data)
    source: Any = data if isinstance(data, Path) else io.BytesIO(data)
    found = {}
    with damaged(where, again), zipfile.ZipFile(source) as archive:
        members = [one for one in archive.infolist() if names is None or one.filename.removesuffix(".npy") in names]
        check_unpacked(sum(member.file_size for member in members), packed, where)
        for member in members:
            with archive.open(member) as file:
                name = member.filename.removesuffix(".npy")
                if name in found or name == member.filename:
                    raise ValueError(f"{member.filename!r:.60} is not an array, or is there twice")
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{member.filename!r:.60} is packed in a way that numpy does not write")
                found[name] = _array(file, member.file_size)
    return found


def read_npy(path: Path, again: str) -> np.ndarray:
    """The plain array of a .npy file; see `read_npz`."""
    size = check_file(path)
    with damaged(str(path), again), path.open("rb") as file:
        return _array(file, size)


def _array(file: Any, size: int) -> np.ndarray:
    """An array that is as large as its file: what its header says is not believed."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"an array of format {version}")
    shape, column_major, dtype = _HEADERS[version](file)
    if dtype.kind not in _KINDS:
        raise ValueError(f"an array of {dtype}: use numbers, booleans or strings")
    needed = math.prod(shape) * dtype.itemsize
    if any(n < 0 for n in shape) or file.tell() + needed != size:
        raise ValueError(f"{size:,} bytes are not an array {list(shape)} of {dtype}")
    return np.ndarray(shape, dtype, file.read(needed), order="F" if column_major else "C").copy("K")
