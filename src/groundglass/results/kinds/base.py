"""A kind of result: its Config, its Result, and the frame that has a row for each record of it.

Every field that is a column of the frame says so where it is defined: to add a column is to add a line.
"""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from groundglass.core.schema import read
from groundglass.core.statistics import Proportion
from groundglass.results.records import Record

C = TypeVar("C")
R = TypeVar("R")


def column(says: str, name: str = "", *, default: Any = MISSING, left_out: bool = False) -> Any:
    """A field that is a column.

    Args:
        says: what it holds, units included.
        name: of the column, where the field has another, as in older records.
        default: of records that lack the field.
        left_out: the field is not written while it has its default, see `core.schema.left_out`.
    """
    return field(default=default, metadata={"says": says, "column": name, "left_out": left_out})


class derived(property):
    """A property that is a column; a `Proportion` is three: the share and the ends of its 95% Wilson interval."""

    says = column = ""
    share = False


def derives(says: str, name: str = "") -> Callable[[Callable[[Any], Any]], derived]:
    """Make a method a `derived` property; see `column`."""

    def make(function: Callable[[Any], Any]) -> derived:
        made = derived(function)
        made.says, made.column = says, name
        made.share = "Proportion" in str(function.__annotations__.get("return", ""))
        return made

    return make


def through(path: str, says: str, name: str = "", *, share: bool = False) -> Any:
    """A column that lies deeper, as "camera.bits"; None where a part of the path is.

    Args:
        says, name: see `column`.
        share: it is a `Proportion`.
    """

    def reach(self: Any) -> Any:
        found = self
        for part in path.split("."):
            found = None if found is None else getattr(found, part)
        return found

    made = derives(says, name)(reach)
    made.share = share
    return made


@dataclass(frozen=True)
class Entry(Generic[C, R]):
    """A record, typed. `fetch` reads its arrays from the run folder."""

    record: Record
    kind: "Kind[C, R]"
    fetch: Callable[[Record], dict[str, np.ndarray]]

    @property
    def key(self) -> str:
        return self.record.key

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.record.inputs

    @cached_property
    def config(self) -> C:
        return self.kind.config_of(self.record)

    @cached_property
    def result(self) -> R:
        return self.kind.result_of(self.record)

    def arrays(self) -> dict[str, np.ndarray]:
        """What the result has for each image; see `RecordStore.arrays`."""
        return self.fetch(self.record)


@dataclass(frozen=True)
class Kind(Generic[C, R]):
    """A kind of cell.

    Attributes:
        name: of the kind, in records.
        config, result: its schema.
        frame: the frame that has a row for each record of the kind: "attacks". Units are in the names of its columns; radii
            are of images in [0, 1] unless the name says otherwise.
        line: a result in a few words, for a terminal.
        named: column that has the record's name; none if empty.
    """

    name: str
    config: type[C]
    result: type[R]
    frame: str
    line: Callable[[R], str] = lambda result: ""
    named: str = ""

    def config_of(self, record: Record) -> C:
        """The Config of a record of this kind."""
        return read(self.config, record.config, f"the config of {record.key} ({record.name})")

    def result_of(self, record: Record) -> R:
        """The Result of a record of this kind."""
        return read(self.result, record.result, f"the result of {record.key} ({record.name})")

    @cached_property
    def columns(self) -> dict[str, str]:
        """What each column of the frame holds."""
        found = {self.named: "name of the network"} if self.named else {}
        for name, says, _, share in self._columns:
            found[name] = says
            if share:
                found[f"{name}_low"] = f"lower end of the 95% Wilson interval of `{name}`"
                found[f"{name}_high"] = f"upper end of the 95% Wilson interval of `{name}`"
        return found

    @cached_property
    def _columns(self) -> list[tuple[str, str, Callable[[Entry[C, R]], Any], bool]]:
        """Name, what it holds, how it is read, and whether it is a share of images with its interval."""
        made: list[tuple[str, str, Callable[[Entry[C, R]], Any], bool]] = []
        for part, cls in (("config", self.config), ("result", self.result)):
            for f in fields(cls):  # type: ignore[arg-type]
                if "says" in f.metadata:
                    made.append((f.metadata["column"] or f.name, f.metadata["says"], _reader(part, f.name), False))
            for base in reversed(cls.__mro__):
                for name, one in vars(base).items():
                    if isinstance(one, derived):
                        made.append((one.column or name, one.says, _reader(part, name), one.share))
        return made

    def row(self, entry: Entry[C, R]) -> dict[str, Any]:
        """The values of an entry, by column."""
        found: dict[str, Any] = {self.named: entry.name} if self.named else {}
        for name, _, value_of, share in self._columns:
            value = value_of(entry)
            if isinstance(value, Proportion) or (share and value is None):
                low, high = (None, None) if value is None else value.interval
                found |= {name: value and value.share, f"{name}_low": low, f"{name}_high": high}
            else:
                found[name] = round(value, 9) if name.startswith("radius") and value is not None else value
        return found


def _reader(part: str, name: str) -> Callable[[Entry[Any, Any]], Any]:
    return lambda entry: getattr(getattr(entry, part), name)
