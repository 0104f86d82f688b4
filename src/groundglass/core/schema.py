"""One schema: the dataclass that a cell returns is what its record stores, the page reads and a test builds.

A `Config` or `Result` is a frozen dataclass. `written` makes the plain JSON of a record from it and `read` makes it
from that JSON, checking every field against its annotation.
"""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from groundglass.core.files import DamagedFileError
from groundglass.core.settings import plain_number

T = TypeVar("T")


def left_out(default: Any = None) -> Any:
    """A field that is not written while it has this value, so that records made before there was such a field keep
    their identity."""
    return field(default=default, metadata={"left_out": True})


def named(name: str) -> Any:
    """A field whose name in the record cannot be a name in Python, such as "from"."""
    return field(metadata={"name": name})


def written(one: Any) -> dict[str, Any]:
    """A Config or Result as the plain JSON of a record; tuples become lists."""
    return {
        _name(f): plain(value, f.name)
        for f in fields(one)
        if not (f.metadata.get("left_out") and getattr(one, f.name) == f.default)
        for value in (getattr(one, f.name),)
    }


def plain(value: Any, path: str) -> Any:
    """`value` as JSON reads it back: dicts with str keys, lists, str, int, float, bool, None.

    Args:
        value: tuples become lists, a Config or Result becomes what is `written`, numbers of numpy and torch become
            Python's; what JSON cannot hold is refused.
        path: what to call the value in an error, "result" say.

    Raises:
        TypeError: not plain JSON; names the field.
        ValueError: NaN or infinite; names the field.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return written(value)
    if value is None or isinstance(value, bool | str):
        return value
    number = plain_number(value)
    if number is not None:
        if not math.isfinite(number):
            raise ValueError(f"`{path}` is {number}: a record holds finite numbers only; use null for 'not measured'")
        return number
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"`{path}` has the key {key!r}: keys must be str")
        return {key: plain(entry, f"{path}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry, f"{path}[{i}]") for i, entry in enumerate(value)]
    raise TypeError(
        f"`{path}` is a {type(value).__module__}.{type(value).__qualname__}, not plain JSON: "
        "turn it into int, float, str, list or dict (arrays go into the record's arrays)"
    )


def read(cls: type[T], value: Any, where: str) -> T:
    """A Config or Result from the plain JSON of a record. What this version does not know is passed over.

    Args:
        where: what to call the value in an error.

    Raises:
        DamagedFileError: a field is missing or of another type; names it.
    """
    if not isinstance(value, Mapping):
        raise DamagedFileError(f"{where} must be an object, not {value!r:.60}: it was altered, put it back from a copy")
    found = {}
    for f, hint in _shape(cls):  # type: ignore[arg-type]
        name = _name(f)
        if name in value:
            found[f.name] = _read(hint, value[name], f"{where}.{name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise DamagedFileError(
                f"{where} lacks `{name}`: it was altered, or written by another version. Put the file back from a copy, "
                "or use the version that ran the study"
            )
    try:
        return cls(**found)
    except ValueError as error:
        raise DamagedFileError(f"{where} cannot be: {error}") from error


@cache
def _shape(cls: Any) -> tuple[tuple[Field[Any], Any], ...]:
    hints = get_type_hints(cls)
    return tuple((f, hints[f.name]) for f in fields(cls))


def _name(f: Field[Any]) -> str:
    return str(f.metadata.get("name", f.name))


_PLAIN = (int, str, bool)


def _fits(hint: Any, value: Any) -> bool:
    """Whether it is one plain value of just this type, as nearly all of a record are: quick to tell."""
    # A record holds no infinity or NaN.
    return type(value) is hint and (hint in _PLAIN or (hint is float and abs(value) < 1e300))


def _read(hint: Any, value: Any, where: str) -> Any:
    if _fits(hint, value):
        return value
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _read(next(kind for kind in inner if kind is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        if inner[1:] == (...,):
            if all(_fits(inner[0], entry) for entry in value):
                return tuple(value)
            return tuple(_read(inner[0], entry, f"{where}[{i}]") for i, entry in enumerate(value))
        if len(value) == len(inner):
            return tuple(_read(kind, entry, f"{where}[{i}]") for i, (kind, entry) in enumerate(zip(inner, value)))  # noqa: B905
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        if isinstance(value, Mapping):
            if inner[1] is Any:
                return {str(key): entry for key, entry in value.items()}
            return {
                str(key): _read(inner[1], entry, f"{where}.{key if key.isidentifier() else repr(key)}")
                for key, entry in value.items()
            }
    elif origin is Literal:
        if value in inner:
            return value
    elif is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value, where)
    elif hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1e300:
        return float(value)  # an int may be too large for it
    raise DamagedFileError(f"{where} must be {_said(hint)}, not {value!r:.60}: it was altered, put it back from a copy")


def _said(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint))
