"""Names that a package gives, imported when they are first asked for.

`import groundglass` needs this module alone, so it imports next to nothing: `typing` by itself takes as long as Python's start.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def lazily(package: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package some of whose names, each here with its module, cost an import that not every user
    needs (PEP 562). A name whose module is PACKAGE.NAME is that module."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(names[name])
        value = module if names[name] == f"{package}.{name}" else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    return find
