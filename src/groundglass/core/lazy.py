"""Names that a package gives, imported when they are first asked for; and packages that not every installation has.

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


#: What the distribution `groundglass-studies` brings (release/divide.py), each with the extra that asks for it.
PARTS = {
    "groundglass.bench": "cli",
    "groundglass.cli": "cli",
    "groundglass.report": "reports",
    "groundglass.studies": "studies",
}


class Absent:
    """The last finder of `import`: who asks for one of `PARTS` where it is not installed reads what to type."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """None, for all other names.

        Raises:
            MissingLibraryError: it is one of `PARTS`, and no finder before this one has it.
        """
        if name in PARTS:
            from groundglass.core.imported import MissingLibraryError

            raise MissingLibraryError(f'{name} is not installed: pip install "groundglass[{PARTS[name]}]"', name=name)
