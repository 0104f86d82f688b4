"""Records with plausible values, from their schema."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from groundglass.core.schema import written
from groundglass.results import Record, cell_key
from groundglass.results.kinds import Kind

_VALUES = {int: 1, float: 0.25, str: "one", bool: True}


def plausible(hint: Any) -> Any:
    """A value that a field of this type may have: a dataclass with every field set, one entry in a tuple."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return plausible(next(kind for kind in inner if kind is not type(None)))
    if origin is Literal:
        return inner[0]
    if origin is tuple:
        return tuple(plausible(kind) for kind in inner if kind is not ...)
    if hint is Any:
        return "anything"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"key": plausible(inner[1])}
    if hint in _VALUES:
        return _VALUES[hint]
    hints = get_type_hints(hint)
    return hint(**{f.name: _named(f.name, plausible(hints[f.name])) for f in fields(hint)})


def _named(field: str, value: Any) -> Any:
    """Texts differ by their field: a new fingerprint is not the old one."""
    return field if isinstance(value, str) and value == _VALUES[str] else value


def filled(cls: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a Config or Result: these values, its defaults, and else what is plausible."""
    hints = get_type_hints(cls)
    settings = {
        f.name: _named(f.name, plausible(hints[f.name]))
        for f in fields(cls)
        if f.default is MISSING and f.default_factory is MISSING and f.name not in changes
    }
    return written(cls(**settings, **changes))


def made(
    kind: Kind[Any, Any],
    config: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    inputs: tuple[str, ...] = (),
) -> Record:
    """A record of a kind, with these values and plausible ones."""
    told, found = filled(kind.config, config or {}), filled(kind.result, result or {})
    # Two that found something else are two.
    told = {**told, "#": cell_key(kind.name, found, ())}
    return Record(
        key=cell_key(kind.name, told, inputs),
        kind=kind.name,
        name=name or kind.name,
        config=told,
        inputs=inputs,
        result=found,
        seconds=1.0,
        finished="2026-01-01T00:00:00+00:00",
    )
