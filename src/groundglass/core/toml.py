"""Writing TOML: a table of plain values as a file that people edit. Python reads it (tomllib) but does not write it."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WIDTH = 100


def toml(table: Mapping[str, Any], notes: Mapping[str, str] | None = None, *, inline: str = "kind") -> str:
    """A table as TOML, which reads back as the same values.

    Args:
        table: numbers, text, lists and tables.
        notes: by dotted name: a comment above that value, once where neighbours share it.
        inline: a table with this key stands in a line, any other under a heading of its own.
    """
    return "\n".join(_lines(table, notes or {}, inline, ())).strip() + "\n"


def _lines(table: Mapping[str, Any], notes: Mapping[str, str], inline: str, path: tuple[str, ...]) -> Iterator[str]:
    headed = {name for name, one in table.items() if isinstance(one, Mapping) and inline not in one}
    if path and (not headed or headed != table.keys()):
        yield from ("", *_comment(notes.get(".".join(path), "")), f"[{'.'.join(map(_key, path))}]")
    said = ""
    for name in (name for name in table if name not in headed):
        note = notes.get(".".join((*path, name)), "")
        if note and note != said:
            yield from ("", *_comment(note))
        said = note
        yield f"{_key(name)} = {_value(table[name])}"
    for name in (name for name in table if name in headed):
        yield from _lines(table[name], notes, inline, (*path, name))


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        entries = [_value(one) for one in value]
        if any(isinstance(one, Mapping) for one in value):
            return "[\n" + "".join(f"    {one},\n" for one in entries) + "]"
        return f"[{', '.join(entries)}]"
    if isinstance(value, bool | int | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, float):
        return repr(value)
    raise TypeError(f"{value!r:.60} is no value of TOML")
