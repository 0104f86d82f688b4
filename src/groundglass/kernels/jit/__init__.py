"""The compiled kernels. `jit.lookup` and the others are imported when they are first used: numba takes as long to import
as torch, and many programs never run a kernel. The first call of a kernel compiles it; later runs load it from a cache.

Numba is an extra (`fast`). Whoever asks for a kernel asks first whether it is `available`, and has a plain way to the same.
"""

import os
import warnings
from functools import cache
from importlib import import_module
from typing import Any

from groundglass.core.imported import require

_KERNELS = ("hadamard", "lookup", "philox", "rows", "structured", "winograd")


@cache
def available() -> bool:
    """Whether numba is installed and can be imported. If not, everything is computed by torch's own operations: more slowly,
    and the readings of a device have the same bits."""
    try:
        import_module("numba")
    except ModuleNotFoundError:
        return False
    except ImportError as error:  # made for another numpy
        warnings.warn(
            f"numba cannot be imported ({error}): all is computed without it, more slowly", RuntimeWarning, stacklevel=2
        )
        return False
    except ValueError:  # of its settings: who asks for a kernel is told
        return True
    return True


def __getattr__(name: str) -> Any:
    if name in _KERNELS:
        require("a compiled kernel", "numba")
        try:
            return import_module(f"{__name__}.{name}")
        except ValueError as error:
            # Numba reads its settings when it is imported.
            given = ", ".join(sorted(name for name in os.environ if name.startswith("NUMBA_"))) or "NUMBA_NUM_THREADS"
            raise ValueError(
                f"numba, which compiles the kernels, does not start: {error} Check {given} in the environment"
            ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
