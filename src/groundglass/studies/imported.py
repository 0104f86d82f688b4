"""What a user names as "package.module:name": found in the folder that a command is called from, or among what is installed."""

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groundglass.attacks import GradientAttack, QueryAttack
from groundglass.core import lookup


def imported(kind: str, text: str) -> Callable[..., Any]:
    """The function, or other callable, that a text "package.module:name" names.

    The folder it is called from is searched first, and stays the last place for what the module imports later.

    Args:
        kind: what it is, for an error: "factory".

    Raises:
        ValueError: it is no such text, or there is no such module or name; says what to do.
    """
    module, _, name = text.partition(":")
    if module.endswith(".py") or not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ValueError(
            f"{module}:{name} is not package.module:{kind}: give the dotted Python name that you would import: "
            "networks:make is the function make of networks.py in this folder"
        )
    here = os.getcwd()
    try:
        with _importable(here):
            found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise ValueError(f"{module} cannot be imported: it needs {error.name}, which is not installed") from error
        raise ValueError(
            f"there is no module {module!r} in {here} or among what is installed: go to the folder it lies in, or install it"
        ) from error
    functions = {key: value for key, value in vars(found).items() if callable(value) and not key.startswith("_")}
    named: Callable[..., Any] = lookup(f"{kind} in {module}", name, functions)
    return named


def imported_attack(text: str) -> Any:
    """The attack that a text names: a function of (model, images, labels, ball), an attack of this package, or its class.

    Raises:
        ValueError: as of `imported`.
    """
    found = imported("attack", text)
    ours = isinstance(found, type) and issubclass(found, GradientAttack | QueryAttack)
    return found() if ours else found


def attack_digest(attack: Any) -> str:
    """Of the settings of an attack of this package, or of the file that a function is written in: one that was changed makes
    another audit."""
    if isinstance(attack, GradientAttack | QueryAttack):
        return hashlib.sha256(repr(attack).encode()).hexdigest()
    try:
        source = inspect.getsourcefile(attack if inspect.isroutine(attack) else type(attack))
    except TypeError:  # it is built in
        source = None
    return file_digest(Path(source)) if source else hashlib.sha256(repr(type(attack)).encode()).hexdigest()


def file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """While this is open, modules in this folder come before others of their name. Afterwards they come last, since what the
    module imports later may be there too: then no file in the folder hides a library."""
    if folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        sys.path.append(folder)
