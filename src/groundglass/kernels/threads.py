"""Work that leaves Python's lock, spread over threads; and torch's own threads out of its way."""

import ctypes
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
_SOFT = 1


def for_each(items: Iterable[T], work: Callable[[T], None], *, leaving: Callable[[], None] | None = None) -> None:
    """`work(item)` for all items, in any order, on as many threads as torch uses; this thread is one of them.

    Args:
        leaving: called when a thread has an error or is interrupted, before the others are waited for: to make them end.
    """
    todo = deque(items)

    def drain() -> None:
        try:
            while todo:
                try:
                    item = todo.popleft()
                except IndexError:  # the other threads were quicker
                    return
                work(item)
        except BaseException:
            todo.clear()
            if leaving is not None:
                leaving()
            raise

    helpers = min(torch.get_num_threads(), len(todo)) - 1
    if helpers < 1:
        drain()
        return
    # A pool for the call alone: it costs a tenth of a millisecond, spins on no core, and survives a fork. This thread works
    # too: if it waited, torch's next operation would find its core taken by a thread that is about to end.
    with ThreadPoolExecutor(helpers) as pool:
        others = [pool.submit(drain) for _ in range(helpers)]
        drain()
        for other in others:
            other.result()


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
