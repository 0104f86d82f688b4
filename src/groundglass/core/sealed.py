"""Things that hold a secret: they do not print it, copy it, or let it into a pickle."""

import hashlib
import operator
import secrets
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ClassVar, Literal, NoReturn, ParamSpec, Self, SupportsIndex, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
# A seed of 128 bits from the operating system is below this once in four billion; one that people type nearly always.
_SHORT = 2**96
# scrypt (RFC 7914) of 32 MiB: a tenth of a second of a core, and on a card bound by the speed of its memory. The salt is public
# and fixed, as the same seed must give the same device everywhere. Another cost is another device: it is never changed.
_SALT, _COST, _BLOCK = b"groundglass/1/given seed", 2**15, 8

#: How a seed becomes the number that all streams come from. "given": one below 2^96 is stretched. "exact": it is that number.
#: "raw": the same, and its parts are made as version 0.2 made them.
_How = Literal["given", "exact", "raw"]


def without_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: an error that comes out of `function` shows where it was raised, and no local variable from here on.

    For code that handles a secret: a logger that writes tracebacks with their variables then writes none of it.
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        outer = sys.exception()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            _forget(error, outer)
            raise

    return called


def _forget(error: BaseException, outer: BaseException | None) -> None:
    """Clear the frames of an error, and of those that it came from, up to one that was there before."""
    todo, seen = [error], set[int]()
    while todo:
        one = todo.pop()
        if one is outer or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        todo += [other for other in (one.__cause__, one.__context__) if other is not None]


class Single:
    """Base of objects that exist once: a copy is the object itself, and pickling is refused."""

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
        "holds a secret and cannot be pickled: save the device into a file of its own, device.save(path) or "
        "DeviceStore(folder).put(device), and keep device.fingerprint with the model (torch.save(model.state_dict(), ...) "
        "holds that, and nothing else of the device)"
    )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: sealed>"


@lru_cache(maxsize=1024)
@without_locals
def _stretched(value: int) -> int:
    """128 bits from a short seed, slowly, so that trying many takes long: scrypt of its hex digits."""
    raw = hashlib.scrypt(b"%x" % value, salt=_SALT, n=_COST, r=_BLOCK, p=1, maxmem=2**27, dklen=16)
    return int.from_bytes(raw, "big")


class Seed(Sealed):
    """A seed that is passed around without being seen; all streams of a device come from it.

    A function that takes a seed seals it first, `seed = Seed(seed)`, and only then looks at it, `seed.check()`: so no
    traceback has it.

    A number below 2^96 that is given could be found by trying numbers against what is known of its device: the fingerprint,
    or one reading. So it is stretched, once, by a slow function that needs much memory, to 128 bits; streams come from these,
    and a device file holds them. It takes a tenth of a second, and makes a guess as dear. It adds no secret: a number that
    somebody would think of is found all the same, and a seed that is given is public.

    Args:
        value: not negative; or a Seed, which stays what it is. None draws 128 bits from the operating system, too many to be
            found by trying. Nothing is raised here.
        public: whether others may know it, or find it by trying. None: where a number is given, yes.

    Attributes:
        public: as given.

    Source: C. Percival, S. Josefsson, RFC 7914, "The scrypt Password-Based Key Derivation Function", 2016.
    """

    __slots__ = ("_how", "_value", "public")

    def __init__(self, value: "int | Seed | None" = None, *, public: bool | None = None) -> None:
        inherited = value.public if isinstance(value, Seed) else value is not None
        self.public: bool = inherited if public is None else public
        self._how: _How = value._how if isinstance(value, Seed) else "exact" if value is None else "given"
        self._value: Any = (
            secrets.randbits(128) if value is None else value._value if isinstance(value, Seed) else value
        )

    @classmethod
    @without_locals
    def raw(cls, value: int) -> "Seed":
        """A seed that is used as it is, and whose parts are those of version 0.2: for devices that were made so.

        As public as one that is given, and found faster: for what is no secret at all.
        """
        return cls._as_it_is(value, public=True, how="raw")

    @classmethod
    @without_locals
    def _as_it_is(cls, value: int, *, public: bool, how: _How) -> "Seed":
        seed = cls(value, public=public)
        seed._how = how
        return seed

    def check(self) -> Self:
        """The seed itself, if it is one.

        Raises:
            TypeError: not an integer.
            ValueError: negative.
        """
        try:
            self._value = operator.index(self._value)
        except TypeError:
            pass
        else:
            if self._value >= 0:
                return self
            raise ValueError("`seed` must not be negative")
        # Outside of the `try`: no other error, with the value in it, is this one's cause.
        raise TypeError("`seed` must be an integer, or None for a fresh secret")

    @classmethod
    def of_hex(cls, text: object, *, public: bool | None = None) -> "Seed | None":
        """The seed that `reveal` gave; None if `text` is anything else. It is used as it is.

        Args:
            public: None: not known. Then a short seed counts as one that was given.
        """
        try:
            value = int(text, 16)  # type: ignore[call-overload]
        except (TypeError, ValueError):
            return None
        return (
            None
            if value < 0
            else cls._as_it_is(value, public=value < _SHORT if public is None else public, how="exact")
        )

    @property
    def derivation(self) -> str:
        """How it is used: "scrypt-1", stretched; "none", as it is; "raw", as it is and its parts as of version 0.2."""
        if self._how == "raw":
            return "raw"
        return "scrypt-1" if self._how == "given" and self._value < _SHORT else "none"

    def _key(self) -> int:
        """What all streams come from."""
        short = self._how == "given" and self._value < _SHORT
        return _stretched(operator.index(self._value)) if short else self._value

    def stream(self, purpose: str, count: int) -> bytes:
        """`count` random bytes for a purpose (SHAKE-128): they give away neither the seed nor another stream."""
        return hashlib.shake_128(f"groundglass/1/{purpose}/{self._key():x}".encode()).digest(count)

    def number(self, purpose: str) -> int:
        """128 random bits for a purpose."""
        return int.from_bytes(self.stream(purpose, 16), "big")

    def derived(self, purpose: str) -> "Seed":
        """The seed of a part, `number(purpose)`; as public as this one. It is not stretched, as this one was."""
        return self._as_it_is(self.number(purpose), public=self.public, how="raw" if self._how == "raw" else "exact")

    @without_locals
    def at(self, *path: str | int) -> "Seed":
        """The seed of the part that a path names, 128 bits; as public as this one."""
        if self._how == "raw":
            from groundglass.core.seeds import derive_seed

            # 63 bits, that could be tried past any stretching.
            return self._as_it_is(derive_seed(self._value, *path), public=self.public, how="raw")
        return self.derived("/".join(["at", *(f"{type(part).__name__}:{part}" for part in path)]))

    def reveal(self) -> str:
        """Hex digits of what all streams come from, for the device file."""
        return f"{self._key():x}"
