"""Numba's `njit` as all kernels use it."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

# Numba's cache looks at a function's own file and at its name. But kernels call each other and are made of shared pieces,
# so a digest of all sources is part of the name.
_SOURCES = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parents[1].rglob("*.py"))))


def compiled(function: Callable[..., Any]) -> Any:
    """`njit` that lets other threads run; with a cache on disk where there is a place for one."""
    function.__qualname__ += f"_{_SOURCES.hexdigest()[:8]}"
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)
