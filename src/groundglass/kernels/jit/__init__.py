"""The compiled kernels. `jit.lookup` and the others are imported when they are first used: numba takes as long to import
as torch, and many programs never run a kernel. The first call of a kernel compiles it; later runs load it from a cache.
"""

from importlib import import_module
from typing import Any

_KERNELS = ("hadamard", "lookup", "philox", "structured", "winograd")


def __getattr__(name: str) -> Any:
    if name in _KERNELS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
