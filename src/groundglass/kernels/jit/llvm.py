"""What the kernels share: numba's `njit`, and pieces of LLVM code: vectors, loads and stores by address, steps to call.

Kernels write their inner steps as vectors, not as loops. Numba does not know that its arrays do not overlap, and the
checks that LLVM puts around a short loop cost as much as the loop. LLVM splits a vector into the registers of the machine.
"""

import hashlib
import pickle
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from inspect import signature
from pathlib import Path
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.extending import intrinsic

FLOAT, BYTE, SHORT, INT = ir.FloatType(), ir.IntType(8), ir.IntType(16), ir.IntType(32)
vector = ir.VectorType


# Numba's cache looks at a function's own file and at its name. But kernels call each other and are made of shared pieces,
# so a digest of all sources is part of the name.
_SOURCES = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parents[1].rglob("*.py"))))


class _File(IndexDataCacheFile):
    """A file of numba's cache whose content is checked: it is machine code, and a changed byte of it may compute anything."""

    def _dump(self, obj: Any) -> bytes:
        data: bytes = super()._dump(obj)
        return data + hashlib.sha256(data).digest()

    def _load_data(self, name: str) -> Any:
        content = Path(self._data_path(name)).read_bytes()
        data, digest = content[:-32], content[-32:]
        if hashlib.sha256(data).digest() != digest:
            raise ValueError(f"{name} was truncated or altered")
        return pickle.loads(data)


class _Cache(FunctionCache):
    """Numba's cache, used if it works: what cannot be read is compiled again, what cannot be written is not kept."""

    said = False

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        plain = self._cache_file
        self._cache_file = _File(plain._cache_path, self._impl.filename_base, plain._source_stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:
            self._say(error)
            with suppress(Exception):
                self.flush()  # it is written again, where it can be
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self._say(error)

    def _say(self, error: Exception) -> None:
        """Once, whichever kernel it is."""
        if not _Cache.said:
            _Cache.said = True
            warnings.warn(
                f"the cache of compiled kernels in {self.cache_path} is damaged, or cannot be written ({error}): they are "
                "compiled again, which takes some seconds. Make room there, or delete the folder",
                RuntimeWarning,
                stacklevel=2,
            )


def compiled(function: Callable[..., Any]) -> Any:
    """`njit` that lets other threads run; with a cache on disk where there is a place for one."""
    function.__qualname__ += f"_{_SOURCES.hexdigest()[:8]}"
    made: Any = njit(nogil=True)(function)
    with suppress(RuntimeError, OSError):  # no place
        made._cache = _Cache(function)
    return made


def step(*others: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a function (builder, *values), which emits code, into a step that compiled functions call.

    Args:
        others: numba types of the last values; those before them are addresses.
    """

    def make(emit: Callable[..., None]) -> Any:
        def called(typingctx: Any, *args: Any) -> Any:
            def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
                emit(b, *args)
                return context.get_dummy_value()

            return types.void(*[types.uintp] * (len(args) - len(others)), *others), codegen

        # Numba looks for the arguments one by one.
        called.__signature__ = signature(emit)  # type: ignore[attr-defined]
        return intrinsic(called)

    return make


def load(b: Any, address: Any, kind: Any, align: int = 4) -> Any:
    """The value of this type at an address."""
    return b.load(b.inttoptr(address, kind.as_pointer()), align=align)


def store(b: Any, value: Any, address: Any, align: int = 4) -> None:
    """Put a value at an address."""
    b.store(value, b.inttoptr(address, value.type.as_pointer()), align=align)


def at(b: Any, address: Any, offset: int) -> Any:
    """The address `offset` bytes further on."""
    return b.add(address, address.type(offset)) if offset else address


def every(kind: Any, number: float) -> Any:
    """A constant vector: `number` in all lanes."""
    return ir.Constant(kind, [number] * kind.count)


def picked(b: Any, first: Any, second: Any, lanes: Sequence[int]) -> Any:
    """These lanes of two vectors; the second one's are counted on from the first one's."""
    return b.shuffle_vector(first, second, ir.Constant(vector(INT, len(lanes)), list(lanes)))


def spread(b: Any, scalar: Any, kind: Any) -> Any:
    """A vector with `scalar` in all lanes."""
    one = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, INT(0))
    return picked(b, one, one, [0] * kind.count)


def butterflies(count: int, kind: Any) -> Any:
    """A step (address, bytes apart): log2(count) levels of sums and differences, of `count` vectors that are so far apart."""

    @step()
    def levels(b: Any, address: Any, apart: Any) -> None:
        places = [address]
        for _ in range(count - 1):
            places.append(b.add(places[-1], apart))
        values = [load(b, place, kind) for place in places]
        width = 1
        while width < count:
            for i in range(count):
                if not i & width:
                    x, y = values[i], values[i + width]
                    values[i], values[i + width] = b.fadd(x, y), b.fsub(x, y)
            width *= 2
        for value, place in zip(values, places, strict=True):
            store(b, value, place)

    return levels
