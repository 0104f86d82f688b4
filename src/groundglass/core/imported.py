"""Code that a user names, as "package.module:name" or "file.py:name"; and libraries that not every user has."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any


def imported(kind: str, text: str) -> Callable[..., Any]:
    """The function, or other callable, that a text names: "package.module:name", or "folder/file.py:name".

    Of a module the folder it is called from is searched first, and stays the last place for what the module imports later; of
    a file it is the file's own folder.

    Args:
        kind: what it is, for an error: "factory".

    Raises:
        ValueError: it is no such text, or there is no such module, file or name; says what to do.
    """
    from groundglass.core.names import lookup

    place, _, name = text.rpartition(":")
    if place.endswith(".py") and name.isidentifier():
        found = _of_file(Path(place))
    elif all(part.isidentifier() for part in (*place.split("."), name)):
        found = _of_module(place)
    else:
        raise ValueError(
            f"{text} is not package.module:{kind} or file.py:{kind}: networks:make and networks.py:make are both the function "
            "make of networks.py in this folder"
        )
    functions = {key: value for key, value in vars(found).items() if callable(value) and not key.startswith("_")}
    named: Callable[..., Any] = lookup(f"{kind} in {place}", name, functions)
    return named


def _of_module(module: str) -> ModuleType:
    here = os.getcwd()
    try:
        with _importable(here):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise ValueError(f"{module} cannot be imported: it needs {error.name}, which is not installed") from error
        raise ValueError(
            f"there is no module {module!r} in {here} or among what is installed: go to the folder it lies in, or install it"
        ) from error


def _of_file(path: Path) -> ModuleType:
    """The module of a file, under a name of its own: no library and no other file is hidden by it."""
    import hashlib

    path = path.resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made  # classes of it can be pickled, and their source found
    try:
        with _importable(str(path.parent)):
            spec.loader.exec_module(made)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, ModuleNotFoundError):
            raise ValueError(f"{path} cannot be imported: it needs {error.name}, which is not installed") from error
        raise
    return made


#: The extra of the package, as pyproject.toml has it, that brings each library which not every user needs.
EXTRAS = {
    "numba": "fast",
    "llvmlite": "fast",
    "pandas": "reports",
    "matplotlib": "reports",
    "jinja2": "reports",
    "tyro": "cli",
    "rich": "cli",
    "platformdirs": "studies",
    "requests": "studies",
    "pyarrow": "parquet",
    "ray": "ray",
    "starlette": "service",
    "uvicorn": "service",
    "httptools": "service",
    "prometheus_client": "service",
    "sklearn": "sklearn",
}


class MissingLibraryError(ImportError, ValueError):
    """A library that was not installed with the package, or that does not work. The message has what to type."""


def library(name: str, what: str) -> Any:
    """A library, or a module of one, that is not among those that the package always needs.

    Args:
        name: as `import` knows it.
        what: it is needed for.

    Raises:
        MissingLibraryError: it is not installed, or cannot be imported; says what to type.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _missing(error.name or name, what) from error
    except Exception as error:  # built for another torch: its own errors are of many kinds
        raise MissingLibraryError(
            f"{what} needs {name}, which is installed and fails when it is imported ({error}): install the version that was made "
            f"for this torch, by pip install --upgrade torch {_installed_by(name)}"
        ) from error


def require(what: str, *names: str) -> None:
    """Refuse what a missing library would end later. Nothing is imported.

    Raises:
        MissingLibraryError: one of these is not installed; says what to type.
    """
    for name in names:
        if sys.modules.get(name) is None and importlib.util.find_spec(name) is None:
            raise _missing(name, what)


def _missing(name: str, what: str) -> MissingLibraryError:
    return MissingLibraryError(
        f"{what} needs {name}, which is not installed: pip install {_installed_by(name)}", name=name
    )


def _installed_by(name: str) -> str:
    package = name.partition(".")[0]
    return f'"groundglass[{EXTRAS[package]}]"' if package in EXTRAS else package


def file_digest(path: Path) -> str:
    import hashlib

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
