"""What is said of a name that another library has and its phrasebook here does not."""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn


def missing(package: str, theirs: str, known: Sequence[str], *, others: str | None = None) -> Callable[[str], Any]:
    """The `__getattr__` of a phrasebook: says what there is (PEP 562), and what to do for `others`."""
    advice = others or f"For others use {theirs} itself: its attacks take our networks"

    def find(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        instead = f"these are: {', '.join(known)}. {advice}"
        raise AttributeError(f"{theirs}.{name} is not among the calls of {package}: {instead}")

    return find


def absent(theirs: str, instead: str) -> Callable[[str], NoReturn]:
    """The `__getattr__` of a module of which nothing is here. An ImportError, so that `from module import name` shows it."""

    def find(name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(f"{theirs} has no {name!r} here")
        raise ImportError(f"{theirs}.{name} is not here: {instead}")

    return find
