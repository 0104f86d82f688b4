"""A kind of result: its Config, its Result, and the frame that has a row for each record of it.

Every field that is a column of the frame says so where it is defined: to add a column is to add a line.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from groundglass.core.files import DamagedFileError
from groundglass.core.schema import read
from groundglass.core.statistics import Proportion
from groundglass.core.untrusted import damaged
from groundglass.results.record import Record

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
        holds: what must be true of every result, in words -> the test of it.
        files: fields of the result that name a file that was made in the run folder.
        counts: what its arrays must add up to, in words -> how to count it, and the same number in the result.
    """

    name: str
    config: type[C]
    result: type[R]
    frame: str
    line: Callable[[R], str] = lambda result: ""
    named: str = ""
    files: tuple[str, ...] = ()
    holds: Mapping[str, Callable[[R], bool]] = field(default_factory=dict)
    counts: Mapping[str, tuple[Callable[[Mapping[str, np.ndarray]], Any], Callable[[R], Any]]] = field(
        default_factory=dict
    )

    def check(self, record: Record, where: str, again: str) -> None:
        """Refuse a record that is well formed, but contradicts itself.

        Args:
            where: the record's file.
            again: what to do.

        Raises:
            DamagedFileError: says what is wrong, and where.
        """
        config = read(self.config, record.config, f"{where}, the config of {record.key} ({record.name})")
        result = read(self.result, record.result, f"{where}, the result of {record.key} ({record.name})")
        for f in fields(result):  # type: ignore[arg-type]
            value = getattr(result, f.name)
            if type(value) is int and value < 0:
                raise DamagedFileError(
                    f"{where}: {record.key} ({record.name}) has `{f.name}` {value}, below 0: {again}"
                )
        for says, holds in self.holds.items():
            with damaged(where, again):
                if not holds(result):
                    raise DamagedFileError(f"{where}: {record.key} ({record.name}) does not satisfy `{says}`: {again}")
        with damaged(f"{where}: {record.key} ({record.name})", again):
            entry = Entry(record, self, lambda _: {})
            vars(entry).update(config=config, result=result)  # they need not be read again
            self.row(entry)  # what is worked out from settings of any form, as "epochs"

    def check_arrays(self, record: Record, arrays: Mapping[str, np.ndarray], where: str, again: str) -> None:
        """Refuse arrays that disagree with their record; otherwise as `check`."""
        result = self.result_of(record)
        for name, (counted, told) in self.counts.items():
            with damaged(where, again), suppress(KeyError):  # a missing array is reported by the code that needs it
                if (found := counted(arrays)) != told(result):
                    raise DamagedFileError(f"{where} holds {found} {name}, and the record says {told(result)}: {again}")

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


def near(one: float | None, other: float) -> bool:
    """Equal up to rounding; an unknown value is close to everything."""
    return one is None or abs(one - other) < 1e-6


def share(*values: float | None) -> bool:
    """Whether all are in [0, 1] or unknown."""
    return all(value is None or 0 <= value <= 1 for value in values)


def counted_of(name: str) -> Callable[[Mapping[str, np.ndarray]], int]:
    """How many are true in an array."""
    return lambda arrays: int(arrays[name].sum())


def length_of(name: str) -> Callable[[Mapping[str, np.ndarray]], int]:
    """How many entries an array has."""
    return lambda arrays: len(arrays[name])


def _reader(part: str, name: str) -> Callable[[Entry[Any, Any]], Any]:
    return lambda entry: getattr(getattr(entry, part), name)
