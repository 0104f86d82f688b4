"""Settings are checked when they are made: every field of a configuration is checked against its annotation.

    @dataclass(frozen=True, kw_only=True)
    class PGD(Settings):
        steps: Count = 50
        step_size: Annotated[float, In("(0, 1]", "pixel units, so 2/255, not 2")] | None = None

`PGD(steps=2.5)`, `PGD(steps=True)` and `PGD(steps="3")` are refused. Numbers of other libraries become Python's own
(`np.int64(3)` and `torch.tensor(3)` are 3), so that files hold plain numbers.
"""

import inspect
import json
import math
import numbers
import sys
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from groundglass.core.names import lookup


@dataclass(frozen=True)
class In:
    """Where a number must lie: an interval in mathematical notation, "(0, 1]", and a hint for a value outside it."""

    interval: str
    hint: str = ""

    @cached_property
    def _ends(self) -> tuple[float, float]:
        low, high = self.interval[1:-1].split(",")
        return float(low), float(high)

    def __contains__(self, value: float) -> bool:
        low, high = self._ends
        above = value > low if self.interval[0] == "(" else value >= low
        return above and (value < high if self.interval[-1] == ")" else value <= high)

    def __str__(self) -> str:
        low, high = self._ends
        if high == math.inf and self.interval[0] == "[":
            said = f"at least {low:g}" if low else "0 or more"
        elif high == math.inf:
            said = f"above {low:g}"
        else:
            said = f"in {self.interval}"
        return f"{said}: {self.hint}" if self.hint else said


Count = Annotated[int, In("[1, inf)")]
NotNegative = Annotated[float, In("[0, inf)")]
Positive = Annotated[float, In("(0, inf)")]
Share = Annotated[float, In("[0, 1]")]
#: 0 or more of something.
Tally = Annotated[int, In("[0, inf)")]
Dropout = Annotated[float, In("[0, 1)", "the share of features that is dropped")]


def since(default: Any, *, before: Any) -> Any:
    """A field that a configuration did not always have. Where it has the value of `before`, it is what it was then, and
    `settings_of` names it as it did then: finished work keeps its identity."""
    return field(default=default, metadata={"before": before})


def settings_of(one: Any) -> dict[str, Any]:
    """The settings of a configuration as part of an identity: all of its fields, but for those of `since`."""
    old = {f.name for f in fields(one) if "before" in f.metadata and getattr(one, f.name) == f.metadata["before"]}
    return {name: value for name, value in asdict(one).items() if name not in old}


class Settings:
    """A base of frozen dataclasses: every field is checked against its annotation when one is made.

    Raises:
        TypeError: a value of another kind: text for a number, True for a number, a number for a schedule.
        ValueError: not a whole number, not finite, or outside its interval.
    """

    def __post_init__(self) -> None:
        for name, hint in annotations(type(self)):
            value = getattr(self, name)
            found = fit(hint, value, name)
            if found is not value:
                object.__setattr__(self, name, found)


def fit(hint: Any, value: Any, name: str) -> Any:
    """`value` as `hint` says it should be: `budget = fit(Count, budget, "budget")`. What it does not restrict passes.

    Raises:
        TypeError, ValueError: as `Settings`; names the setting, what it was, and what it must be.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        (mark,) = (one for one in inner if isinstance(one, In))
        try:
            found = fit(inner[0], value, name)
        except ValueError as error:
            raise ValueError(f"{error}, {mark}") from None
        if found not in mark:
            raise ValueError(f"`{name}` (={_said(found)}) must be {mark}")
        return found
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, name)
    if origin is Literal:
        if not any(type(value) is type(one) for one in inner):
            raise TypeError(f"`{name}` must be one of {', '.join(map(repr, inner))}, not {value!r:.60}")
        return lookup(name, value, {one: one for one in inner})
    if origin is tuple:
        return _tuple(inner, value, name)
    if hint in (int, float, bool):
        return _number(hint, value, name)
    if hint is Path and isinstance(value, str):
        return Path(value)
    kind = origin or hint
    if kind is not Any and isinstance(kind, type) and _known(kind) and not isinstance(value, kind):
        raise TypeError(f"`{name}` must be a {kind.__name__}, not {value!r:.60}")
    return value


def plain_number(value: Any) -> int | float | bool | None:
    """The Python number in a scalar of Python, numpy, torch or a similar library; None for anything that is not a number."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) else None


def plain_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What unfinished work must agree with, as JSON reads it back: tuples become lists, numbers of numpy and torch Python's,
    and paths become text.

    Raises:
        TypeError: it holds anything else.
    """

    def settled(value: Any) -> Any:
        found = str(value) if isinstance(value, PurePath) else plain_number(value)
        if found is None:
            raise TypeError(
                f"a setting that is a {type(value).__qualname__} cannot be saved: use numbers, text, tuples, dicts"
            )
        return found

    found: dict[str, Any] = json.loads(json.dumps(dict(identity), default=settled))
    return found


def _number(kind: Any, value: Any, name: str) -> Any:
    found: Any = value if type(value) is kind else plain_number(value)
    if kind is bool:
        if type(found) is bool or found in (0, 1):
            return bool(found)
        raise TypeError(f"`{name}` must be True or False, not {value!r:.60}")
    if found is None or isinstance(found, bool):
        raise TypeError(f"`{name}` must be a {'whole ' if kind is int else ''}number, not {value!r:.60}")
    # A whole number of 400 digits is more than any float.
    if not -sys.float_info.max <= found <= sys.float_info.max:
        raise ValueError(f"`{name}` (={found}) must be a {'whole' if kind is int else 'finite'} number")
    if kind is float:
        return found
    if found != int(found):
        raise ValueError(f"`{name}` (={_said(found)}) must be a whole number")
    return int(found)


def _one_of(kinds: tuple[Any, ...], value: Any, name: str) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    refused: Exception | None = None
    for kind in kinds:
        if kind is not types.NoneType:
            try:
                return fit(kind, value, name)
            except TypeError as error:
                refused = refused or error
            except ValueError as error:  # of the right kind: that says more
                refused = error
    assert refused is not None
    raise refused


def _tuple(inner: tuple[Any, ...], value: Any, name: str) -> tuple[Any, ...]:
    if getattr(value, "ndim", None) == 1:
        value = value.tolist()
    if not isinstance(value, tuple | list):
        raise TypeError(f"`{name}` must be a tuple, not {value!r:.60}")
    if inner[1:] == (...,):
        inner = (inner[0],) * len(value)
    if len(inner) != len(value):
        raise ValueError(f"`{name}` must have {len(inner)} entries, not {len(value)}")
    found = tuple(fit(kind, one, f"{name}[{i}]") for i, (kind, one) in enumerate(zip(inner, value, strict=True)))
    same = isinstance(value, tuple) and all(a is b for a, b in zip(found, value, strict=True))
    return value if same else found  # type: ignore[return-value]


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _known(kind: type) -> bool:
    """Whether `isinstance` works: not for a protocol that only type checkers use, nor for the shapes of tensors."""
    if getattr(kind, "_is_protocol", False):
        return bool(getattr(kind, "_is_runtime_protocol", False))
    return kind.__module__.partition(".")[0] != "jaxtyping"


def annotations(cls: type) -> tuple[tuple[str, Any], ...]:
    """The fields of a dataclass that are given when one is made, with what each may be."""
    kind: Any = cls
    return _annotations(kind)


@cache
def _annotations(cls: Any) -> tuple[tuple[str, Any], ...]:
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        try:
            hints |= inspect.get_annotations(base, eval_str=True)
        except NameError:  # a class whose annotations cannot be resolved: its own fields are not checked
            hints |= dict.fromkeys(inspect.get_annotations(base), Any)
    return tuple((f.name, hints[f.name]) for f in fields(cls) if f.init)
