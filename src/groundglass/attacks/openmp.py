"""Getting torch's idle threads out of the way."""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

_SOFT = 1


def rest_idle_threads() -> None:
    """End the threads that wait for torch's next operation; it starts them again when it has one.

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
