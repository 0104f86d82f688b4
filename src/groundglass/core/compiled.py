"""Compiling the few inner loops that numpy and torch have no fast way to say."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """`njit` that lets other threads run; with a cache on disk where there is a place for one.

    Importing this module imports numba; the first call of a function compiles it, later runs load the cache.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)
