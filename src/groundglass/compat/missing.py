"""What is said of a name that another library has and its phrasebook here does not."""

from collections.abc import Callable, Sequence
from typing import Any


def missing(package: str, theirs: str, known: Sequence[str]) -> Callable[[str], Any]:
    """The `__getattr__` of a phrasebook: says what there is (PEP 562)."""

    def find(name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        instead = f"these are: {', '.join(known)}. For others use {theirs} itself: its attacks take our networks"
        raise AttributeError(f"{theirs}.{name} is not among the calls of {package}: {instead}")

    return find
