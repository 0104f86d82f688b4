"""A .npy file of bit vectors, packed or not: checked as a whole, then read a few rows at a time."""

import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from groundglass.core import DamagedFileError, Progress
from groundglass.optics.streams.packed import check_packed, packed_width, unpack_bits

# Bytes that are checked at a time.
_PIECE = 2**24


class BitFile:
    """Rows of N bits: uint8 or bool [rows, N], or packed uint8 [rows, ceil(N / 8)]; the width says which.

    The file is read, not mapped: memory stays small, and a file that is cut short meanwhile is an error.

    Args:
        packed: whether eight bits are in a byte; None: the width says so.

    Raises:
        FileNotFoundError: no such file.
        DamagedFileError: not a .npy file, or one that was cut short.
        ValueError: no rows, another dtype, shape or order, or a width that fits neither N nor ceil(N / 8).
    """

    def __init__(self, path: Path, in_features: int, packed: bool | None = None) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"no file of bits {path}: numpy.save makes one")
        self.path = path
        self._in_features = in_features
        shape, self._dtype, self._offset = _header(path)
        self.packed = _is_packed(path, shape, self._dtype, in_features, packed)
        self.rows, self._width = shape
        self._stamp = _stamp(path)
        needed = self._offset + self.rows * self._width
        if self._stamp[0] < needed:
            raise DamagedFileError(
                f"{path} was cut short: {self.rows} rows of {self._width} bytes need {needed} bytes, "
                f"it has {self._stamp[0]}. Write or copy it again"
            )

    def check(self, progress: Progress) -> str:
        """Refuse a value that is not a bit, with its row. Returns the SHA-256 of all rows, in hex."""
        digest = hashlib.sha256()
        step = max(1, _PIECE // self._width)
        for begin in range(0, self.rows, step):
            progress("checking bits", begin, self.rows)
            raw = self._raw(begin, min(begin + step, self.rows))
            digest.update(raw.data)
            if self.packed:
                try:
                    check_packed(torch.from_numpy(raw), self._in_features)
                except ValueError as error:
                    raise ValueError(f"{self.path}, from row {begin} on: {error}") from error
            elif raw.max() > 1:
                row = begin + int((raw.max(axis=1) > 1).argmax())
                raise ValueError(
                    f"bits must be 0 or 1, and row {row} of {self.path} has a {raw.max(axis=1)[row - begin]}: binarise them "
                    "first, (values > threshold).astype('uint8')"
                )
        return digest.hexdigest()

    def read(self, begin: int, end: int) -> UInt8[Tensor, "batch n"]:
        """The bits of some rows, uint8 [end - begin, N]."""
        self.check_unchanged()
        raw = torch.from_numpy(self._raw(begin, end))
        return unpack_bits(raw, self._in_features) if self.packed else raw

    def check_unchanged(self) -> None:
        """Refuse a file that was written to since it was opened: the readings would be of two inputs."""
        if _stamp(self.path) != self._stamp:
            raise ValueError(
                f"{self.path} was changed while it was measured: leave it alone, and run the command again"
            )

    def _raw(self, begin: int, end: int) -> npt.NDArray[np.uint8]:
        count = (end - begin) * self._width
        raw = np.fromfile(self.path, dtype=np.uint8, count=count, offset=self._offset + begin * self._width)
        if len(raw) != count:
            raise DamagedFileError(f"{self.path} was cut short at row {begin + len(raw) // self._width}")
        return raw.reshape(end - begin, self._width)


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, dtype, and where the data begins."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version not in readers:
                raise ValueError(f"its format version is {version}")
            shape, column_major, dtype = readers[version](file)
            offset = file.tell()
    except (ValueError, EOFError) as error:
        raise DamagedFileError(
            f"{path} is not a .npy file of bits ({error}): numpy.save(path, bits) writes one"
        ) from error
    if column_major:
        raise ValueError(
            f"the rows of {path} are not one after another in it (Fortran order): "
            "save numpy.ascontiguousarray(bits) instead"
        )
    return shape, dtype, offset


def _is_packed(path: Path, shape: tuple[int, ...], dtype: np.dtype, in_features: int, asked: bool | None) -> bool:
    if dtype not in (np.dtype(np.uint8), np.dtype(np.bool_)):
        raise ValueError(
            f"{path} holds {dtype}, and bits are uint8 or bool: if all are 0 or 1 use bits.astype('uint8'), or "
            "numpy.packbits(bits, axis=1) for an eighth of the size"
        )
    if len(shape) != 2:
        raise ValueError(f"{path} must be [rows, bits], not {list(shape)}: one input is bits[None]")
    rows, width = shape
    if not rows:
        raise ValueError(f"{path} has no rows: there is nothing to measure")
    whole, packed = in_features, packed_width(in_features)
    if asked and dtype == np.bool_:
        raise ValueError(
            f"{path} holds bool, one bit a value: packed bits are uint8, as numpy.packbits(bits, axis=1) makes them"
        )
    if asked is None and dtype == np.uint8 and whole == packed == width:
        raise ValueError(
            f"a row of {path} is one byte, and the device takes one bit: it may be packed or not. Pass packed=True "
            "or packed=False"
        )
    if asked is not True and width == whole:
        return False
    if asked is not False and width == packed and dtype == np.uint8:
        return True
    wanted = {None: f"{whole} bits, or {packed} bytes of packed ones", True: f"{packed} bytes", False: f"{whole} bits"}
    raise ValueError(
        f"a row of {path} has {width} values, and the device takes {wanted[asked]}: these are the bits of another device"
    )


def _stamp(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns
