"""Things that hold a secret: they do not print it, copy it, or let it into a pickle."""

import hashlib
import operator
import secrets
from typing import Any, ClassVar, NoReturn, Self, SupportsIndex


class Single:
    """Base of what there is once: a copy is the object itself, and a pickle is refused."""

    __slots__ = ("__weakref__",)

    #: Why it is not pickled, and what to do.
    _unpickled: ClassVar[str]

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} {self._unpickled}")


class Sealed(Single):
    """Base of what holds a seed or a matrix.

    Immutable from outside, so a copy is the object itself. Python hides nothing from code in the same process. What
    this class ensures is that no log, traceback (with local variables or without), checkpoint or `state_dict` shows a
    secret by accident.
    """

    __slots__ = ()

    _unpickled = (
        "holds a secret and is not pickled: save the device into a file of its own, device.save(path) or "
        "DeviceStore(folder).put(device), and keep device.fingerprint with the model (torch.save(model.state_dict(), ...) "
        "holds nothing of the device)"
    )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: sealed>"


class Seed(Sealed):
    """A seed that is passed around without being seen; all streams of a device come from it.

    Args:
        value: not negative. None draws 128 bits from the operating system, too many to be found by trying.

    Raises:
        TypeError: not an integer.
        ValueError: negative.
    """

    __slots__ = ("_value",)

    def __init__(self, value: int | None = None) -> None:
        self._value = secrets.randbits(128) if value is None else operator.index(value)
        if self._value < 0:
            raise ValueError("`seed` must not be negative")

    def stream(self, purpose: str, count: int) -> bytes:
        """`count` random bytes for a purpose (SHAKE-128): they give away neither the seed nor another stream."""
        return hashlib.shake_128(f"groundglass/1/{purpose}/{self._value:x}".encode()).digest(count)

    def number(self, purpose: str) -> int:
        """128 random bits for a purpose."""
        return int.from_bytes(self.stream(purpose, 16), "big")

    def reveal(self) -> str:
        """Hex digits, for the device file."""
        return f"{self._value:x}"
