"""What `--help` says of an option: its docstring as one paragraph, what to give, and a default where there is one to say.

tyro by itself breaks the paragraph where the source does, calls what stands alone STR, and says "(default: None)" where the
text has just named the default.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tyro

_VALUES = {str: "STR", int: "INT", float: "FLOAT", Path: "PATH", bool: "True|False"}


@cache
def explain(command: type) -> None:
    """Put it into the annotations of a command's fields, where tyro looks, and of its subcommands'. Only once.

    The source is read for it, so it is done for the command that was given alone.
    """
    texts = _docstrings(command)
    for name, annotation in command.__annotations__.items():
        kind, notes = _parts(annotation)
        if name == "command":
            for one in get_args(kind):
                explain(_parts(one)[0])
        elif _DONE not in notes:
            text = texts.get(name) or next((note.help for note in notes if getattr(note, "help", None)), "")
            says = tyro.conf.arg(
                help=text or None, metavar=_metavar(name, kind, notes), help_behavior_hint=_default(text, notes)
            )
            command.__annotations__[name] = Annotated[annotation, says, _DONE]


_DONE = "groundglass: explained"


def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type, and what it is annotated with."""
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    kind, *notes = get_args(annotation)
    return kind, tuple(notes)


def _docstrings(command: type) -> dict[str, str]:
    """Of each field the string that stands after it, in one line."""
    body = ast.parse(textwrap.dedent(inspect.getsource(command))).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(after.value.value.split())
        for field, after in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str)
    }


def _metavar(name: str, kind: Any, notes: tuple[Any, ...]) -> str | None:
    """What to give, where tyro's own word for it is no help; None leaves that."""
    if any(getattr(note, "metavar", None) for note in notes):
        return None
    if tyro.conf.Positional in notes:
        return f"{name.removesuffix('s').upper()} ..." if get_origin(kind) is tuple else name.upper()
    if get_origin(kind) not in (Union, UnionType):
        return None
    values = [
        ",".join(map(str, get_args(one))) if get_origin(one) is Literal else _VALUES[one]
        for one in get_args(kind)
        if one is not NoneType
    ]
    return f"{{{values[0]}}}" if values[0] not in _VALUES.values() else "|".join(values)


def _default(text: str, notes: tuple[Any, ...]) -> Callable[[str], str]:
    if tyro.conf.UseAppendAction in notes:
        return lambda label: "(repeatable)"
    return lambda label: "" if label in ("None", "", "sealed") or "Default:" in text else f"(default: {label})"
