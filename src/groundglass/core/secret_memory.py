"""Memory for matrices: in no core dump, and out of swap where the process is hardened."""

import ctypes
import math
import mmap
import weakref
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# As numpy does for its own arrays: from here on large pages are worth asking for.
_LARGE = 2**22
# So much is locked at a time: where not all may be locked, a part is.
_STEP = 2**20


class _Region(mmap.mmap):
    """Pages of their own, which hold nothing else.

    Attributes:
        locked: bytes that the system keeps out of swap.
    """

    locked = 0


_regions: "weakref.WeakSet[_Region]" = weakref.WeakSet()
_locking = False


@dataclass(frozen=True)
class Held:
    """How much memory of this kind a process holds, and how much of it is kept out of swap; bytes."""

    held: int
    locked: int


def secret_empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """As `np.empty`, of zeros, on pages that no core dump has (Linux: MADV_DONTDUMP).

    Elsewhere it is `np.zeros`. What is computed from it, and copies that others make of it, lie in ordinary memory.

    Raises:
        MemoryError: there is no room.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if not size or not hasattr(mmap, "MADV_DONTDUMP"):
        return np.zeros(shape, kind)
    try:
        # Private: a forked process has a copy of its own, as of all its memory.
        region = _Region(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for {size:,} bytes of a matrix") from error
    for advice, asked in ((mmap.MADV_DONTDUMP, True), (mmap.MADV_HUGEPAGE, size >= _LARGE)):
        with suppress(OSError):  # a kernel that was built without it: no reason to have no matrix
            if asked:
                region.madvise(advice)
    _regions.add(region)
    if _locking:
        _lock(region)
    return np.frombuffer(region, kind).reshape(shape)


def secret_copy(array: npt.NDArray[Any], dtype: npt.DTypeLike | None = None) -> npt.NDArray[Any]:
    """A copy of an array in such memory."""
    copy = secret_empty(array.shape, array.dtype if dtype is None else dtype)
    copy[...] = array
    return copy


def lock_secrets() -> Held:
    """Keep what is held, and what will be, out of swap, as far as RLIMIT_MEMLOCK lets."""
    global _locking
    _locking = True
    for region in list(_regions):
        _lock(region)
    return held_secrets()


def held_secrets() -> Held:
    """What of this memory is alive now."""
    regions = list(_regions)
    return Held(sum(map(len, regions)), sum(region.locked for region in regions))


def _lock(region: _Region) -> None:
    libc = ctypes.CDLL(None)
    start = np.frombuffer(region, np.uint8).ctypes.data
    while region.locked < len(region):
        size = min(_STEP, len(region) - region.locked)
        if libc.mlock(ctypes.c_void_p(start + region.locked), ctypes.c_size_t(size)):
            return
        region.locked += size
