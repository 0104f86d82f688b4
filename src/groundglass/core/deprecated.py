"""Names that are on their way out: they work, and say what to use, for one minor version at least (CONTRIBUTING.md)."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def deprecated(use: str, *, since: str, until: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that works as before, with a DeprecationWarning that names what is to be used.

        @deprecated("attack(..., eps=[...])", since="1.1", until="1.3")
        def sweep(...): ...

    Args:
        use: in its place, as it is typed.
        since: the version in which the warning is new.
        until: the version in which the function is gone.
    """

    def around(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            warn_deprecated(f"{function.__qualname__}()", use, since=since, until=until)
            return function(*args, **kwargs)

        return called

    return around


def warn_deprecated(what: str, use: str, *, since: str, until: str, stacklevel: int = 2) -> None:
    """The warning itself: for an argument or a value of it, in the function that takes it.

    Args:
        what: is deprecated: "`step`".
        use, since, until: as in `deprecated`.
        stacklevel: of `warnings.warn`: 2 is the caller of who calls this.
    """
    warnings.warn(
        f"{what} is deprecated since groundglass {since} and gone in {until}: use {use}",
        DeprecationWarning,
        stacklevel=stacklevel + 1,
    )
