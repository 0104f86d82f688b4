"""Work that leaves Python's lock, spread over threads; and torch's own threads out of its way."""

import ctypes
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
_SOFT = 1


def for_each(items: Iterable[T], work: Callable[[T], None], *, leaving: Callable[[], None] | None = None) -> None:
    """`work(item)` for all items, in any order, on as many threads as torch uses.

    Args:
        leaving: called when all is done, or when this thread is interrupted: before it waits for the others, so that it can
            make them end.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        for item in items:
            work(item)
        return
    # A pool for the call alone: it costs a tenth of a millisecond, spins on no core, and survives a fork.
    with ThreadPoolExecutor(threads) as pool:
        try:
            list(pool.map(work, items))
        finally:
            if leaving is not None:
                leaving()


def rest_idle_threads() -> None:
    """End the threads that wait for torch's next operation; torch starts them again when it has one.

    After each operation they keep a core busy for some milliseconds, looking out for the next. Threads of our own that
    start meanwhile have to share that core: a fifth of their time was lost that way on two cores. Does nothing where
    torch does not come with GNU's OpenMP, or in a thread that has no such helpers.
    """
    pause = _pause()
    if pause is not None:
        pause(_SOFT)


@cache
def _pause() -> Callable[[int], int] | None:
    """`omp_pause_resource_all` (OpenMP 5.0) of the library that torch has loaded; None if there is none."""
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*")):
        try:
            function = ctypes.CDLL(str(path)).omp_pause_resource_all
        except (OSError, AttributeError):
            continue
        function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
        found: Callable[[int], int] = function
        return found
    return None
