"""Settings as people write them, and what they change in them: `attack.steps=20`, `eps_paper+=0.08`, or a table of TOML.

What is written is plain: numbers, text, lists and tables. "none" stands for no value. A number may be a fraction, "8/255".
Where settings of several kinds fit, as attacks, a table names its own: `{kind = "Square", restarts = 2}`.
"""

import difflib
import inspect
import re
import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import PurePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from groundglass.core.names import lookup
from groundglass.core.settings import Settings, annotations, fit

T = TypeVar("T")

KIND, NONE = "kind", "none"
_PART = r"\w+(?:-\w+)*"
_ASSIGNMENT = re.compile(rf"\s*({_PART}(?:\.{_PART})*)\s*(\+=|-=|=)(.*)", re.DOTALL)
_WORD = re.compile(r"[\w./:+-]+")
_NUMBER = re.compile(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)(?:\s*/\s*(\d+(?:\.\d*)?))?")


@dataclass(frozen=True)
class Change:
    """One setting, and what becomes of it.

    Attributes:
        path: its name, from the outermost: ("attack", "steps").
        value: plain, as the module says, or an object that fits.
        how: "=" gives it the value; "+=" and "-=" add to a tuple what is not in it, and remove what is.
    """

    path: tuple[str, ...]
    value: Any
    how: Literal["=", "+=", "-="] = "="

    @property
    def name(self) -> str:
        return ".".join(self.path)


def parse_change(text: str) -> Change:
    """ "attack.steps=20", "eps_paper+=0.08", "eps_paper=[0.01, 0.02]", "ladder=none".

    The value is one of TOML. A word needs no quotes.

    Raises:
        ValueError: it is none of these; says what to write.
    """
    found = _ASSIGNMENT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} changes nothing: write NAME=VALUE, or NAME+=VALUE to add to a tuple")
    name, how, written = found[1], found[2], found[3].strip()
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        if not _WORD.fullmatch(written):
            raise ValueError(
                f"{text!r}: {written!r} is no value of TOML: write a number, a word, true, false, none, [a, list] or "
                '{kind = "PGD", steps = 20}'
            ) from None
        value = {"True": True, "False": False, "None": NONE}.get(written, written)
    return Change(tuple(name.split(".")), value, how)  # type: ignore[arg-type]


def changes_of(table: Mapping[str, Any]) -> list[Change]:
    """A table of values, one change each."""
    return [Change((str(name),), value) for name, value in table.items()]


def changed(one: T, changes: Sequence[Change], where: str = "") -> T:
    """Settings with these changes, in order. A table without a `kind` changes settings in it; with one it is new.

    Args:
        one: a dataclass of settings.
        where: its name in errors.

    Raises:
        ValueError, TypeError: an unknown name, with the nearest; a value that is refused, by its whole name.
    """
    hints = dict(annotations(type(one)))
    by_name: dict[str, list[Change]] = {}
    for change in changes:
        if change.path[0] not in hints:
            _refuse_unknown(one, change, where)
        by_name.setdefault(change.path[0], []).append(change)
    found = {}
    for name, some in by_name.items():
        value, path = getattr(one, name), f"{where}.{name}" if where else name
        for change in some:
            value = _applied(hints[name], value, change, path)
        found[name] = fit(hints[name], value, path)
    return _named(where, lambda: replace(one, **found))  # type: ignore[type-var]


def written_settings(one: Any, hint: Any = Any) -> Any:
    """A dataclass of settings as a table of plain values, complete: `changed` makes the same of it.

    Args:
        hint: the annotation of its place; where others fit there, the table says its kind.
    """
    if one is None:
        return NONE
    if is_dataclass(one) and not isinstance(one, type):
        kind = {KIND: type(one).__name__} if len(_kinds(hint)) > 1 else {}
        return kind | {name: written_settings(getattr(one, name), h) for name, h in annotations(type(one))}
    if isinstance(one, tuple | list):
        element = _elements(hint, len(one))
        return [written_settings(entry, h) for entry, h in zip(one, element, strict=True)]
    return str(one) if isinstance(one, PurePath) else one


def setting_notes(cls: type) -> dict[str, str]:
    """What the docstring of a dataclass, or of its bases, says of its fields; fields that are explained together share a text."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        for entry in re.finditer(r"^    ([a-z_][\w, ]*): (.*(?:\n {8,}.*)*)", text, re.MULTILINE):
            said = f"{entry[1]}: {' '.join(entry[2].split())}"
            found |= dict.fromkeys(entry[1].split(", "), said)
    return {f.name: found[f.name] for f in fields(cls) if f.name in found}


def _applied(hint: Any, now: Any, change: Change, path: str) -> Any:
    """The value of a setting after a change of it, or of something within it."""
    if deeper := change.path[1:]:
        if not is_dataclass(now) or isinstance(now, type):
            say = f"give it a table first, {path}={{...}}" if now is None else f"it is {now!r:.60}"
            raise ValueError(f"`{path}` has no setting {'.'.join(deeper)!r}: {say}")
        return changed(now, [replace(change, path=deeper)], path)
    if change.how == "=":
        return _made(hint, now, change.value, path)
    if not isinstance(now, tuple):
        raise ValueError(f"`{path}` is {now!r:.60}, no tuple: {change.how} is for tuples, give it a value by =")
    several = isinstance(change.value, list | tuple) and not any(get_origin(h) is tuple for h in _elements(hint, 1))
    for value in change.value if several else [change.value]:
        entry = _made(_elements(hint, 1)[0], None, value, path)
        if (entry in now) == (change.how == "+="):
            raise ValueError(f"`{path}` has {'' if entry in now else 'no '}{entry!r:.60}: it is {now!r:.300}")
        now = (*now, entry) if change.how == "+=" else tuple(each for each in now if each != entry)
    return now


def _made(hint: Any, now: Any, value: Any, path: str) -> Any:
    """What a written value stands for, where an annotation says `hint`; what it cannot be is left for `fit` to refuse."""
    if isinstance(value, Mapping):
        return _table(hint, now, value, path)
    if isinstance(value, list | tuple):
        return tuple(_made(h, None, entry, f"{path}[{i}]") for i, (h, entry) in enumerate(_pairs(hint, value)))
    members = list(_members(hint))
    if value == NONE and types.NoneType in members:
        return None
    if isinstance(value, str) and {int, float} & set(members) and str not in members:
        found = _NUMBER.fullmatch(value)
        try:
            return value if found is None else float(found[1]) / float(found[2] or 1)
        except (ValueError, ZeroDivisionError):
            return value
    return value


def _table(hint: Any, now: Any, table: Mapping[str, Any], path: str) -> Any:
    """Settings from a table: those that are there, changed; or new ones, of the kind that it names."""
    kinds = _kinds(hint)
    if not kinds:
        raise TypeError(f"`{path}` is no table of settings: give it a value")
    only = next(iter(kinds.values()))
    # A class with a setting of that name stands where nothing else does.
    kind = None if len(kinds) == 1 and KIND in dict(annotations(only)) else table.get(KIND)
    inner = {name: value for name, value in table.items() if name != KIND or kind is None}
    if kind is None and is_dataclass(now):
        return changed(now, changes_of(inner), path)
    if kind is None and len(kinds) > 1:
        raise ValueError(
            f'`{path}` does not say which: give it a kind, {{kind = "{next(iter(kinds))}"}}, one of {", ".join(kinds)}'
        )
    cls = lookup(f"kind of {path}", str(kind or only.__name__), kinds)
    needed = [f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in inner]:
        raise ValueError(f"`{path}` lacks {', '.join(missing)}: a {cls.__name__} needs {', '.join(needed)}")
    hints = dict(annotations(cls))
    if unknown := [name for name in inner if name not in hints]:
        lookup(f"setting of {path}", unknown[0], hints)
    made = {name: _made(hints[name], None, value, f"{path}.{name}") for name, value in inner.items()}
    found = {name: fit(hints[name], value, f"{path}.{name}") for name, value in made.items()}
    return _named(path, lambda: cls(**found))


def _named(where: str, make: Any) -> Any:
    """What `make` makes; what it refuses is said with where it was to stand."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}" if where else str(error)) from None


def _refuse_unknown(one: Any, change: Change, where: str) -> None:
    """Raises a ValueError with the settings that are meant: the nearest, or those elsewhere that have this name."""
    name = f"{where}.{change.name}" if where else change.name
    elsewhere = [path for path in _paths(one) if path.split(".")[-1] == change.path[-1]]
    if len(change.path) > 1 and elsewhere:
        near = difflib.get_close_matches(change.name, elsewhere, n=3, cutoff=0)
        raise ValueError(f"unknown setting {name!r}: did you mean {' or '.join(map(repr, near))}?")
    lookup(f"setting of {where}" if where else "setting", change.path[0], dict(annotations(type(one))))


def _paths(one: Any, path: str = "") -> Iterator[str]:
    """The names of all settings, those within others after them."""
    named = [(f"{path}{name}", getattr(one, name)) for name, _ in annotations(type(one))]
    yield from (name for name, _ in named)
    for name, value in named:
        if is_dataclass(value):
            yield from _paths(value, f"{name}.")


def _members(hint: Any) -> Iterator[Any]:
    """The types that an annotation allows, without what it says of their range."""
    if get_origin(hint) is Annotated:
        yield from _members(get_args(hint)[0])
    elif get_origin(hint) in (Union, types.UnionType):
        for inner in get_args(hint):
            yield from _members(inner)
    else:
        yield hint


def _elements(hint: Any, count: int) -> list[Any]:
    """The annotations of the entries of a tuple of so many."""
    for inner in (get_args(one) for one in _members(hint) if get_origin(one) is tuple):
        if inner[1:] == (...,):
            return [inner[0]] * count
        if len(inner) == count:
            return list(inner)
    return [Any] * count


def _pairs(hint: Any, values: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(_elements(hint, len(values)), values, strict=True)


def _kinds(hint: Any) -> dict[str, type]:
    """The dataclasses of settings that may stand in a place, by name: a class itself, and what is of its kind."""
    asked: tuple[type, ...] = tuple(
        one for one in _members(hint) if isinstance(one, type) and not issubclass(one, str | int | float)
    )
    # Nothing is below a protocol: what has its methods is of its kind.
    roots = [Settings if getattr(one, "_is_protocol", False) else one for one in asked if one is not types.NoneType]
    known: set[type] = {each for root in roots for each in (root, *_below(root))}
    found = [one for one in known if is_dataclass(one) and issubclass(one, asked) and not inspect.isabstract(one)]
    return {one.__name__: one for one in sorted(found, key=lambda one: one.__name__) if one.__name__[0] != "_"}


def _below(cls: type) -> Iterator[type]:
    subclasses: list[type] = cls.__subclasses__()
    for one in subclasses:
        yield one
        yield from _below(one)
