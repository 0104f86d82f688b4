"""A kind of result: its Config, its Result, and the columns of the frame that holds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from groundglass.core.schema import read
from groundglass.core.statistics import Proportion
from groundglass.results.records import Record

C = TypeVar("C")
R = TypeVar("R")


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
class Column(Generic[C, R]):
    """A column of a frame: what it holds, units included, and how it is read."""

    says: str
    read: Callable[[Entry[C, R]], Any]


@dataclass(frozen=True)
class Kind(Generic[C, R]):
    """A kind of cell.

    Attributes:
        name: of the kind, in records.
        config, result: its schema.
        frame: the frame that has a row for each record of the kind: "attacks".
        columns: of that frame, by name. Units are in the names; radii are of images in [0, 1] unless the name says otherwise.
        line: a result in a few words, for a terminal.
    """

    name: str
    config: type[C]
    result: type[R]
    frame: str
    columns: Mapping[str, Column[C, R]]
    line: Callable[[R], str] = lambda result: ""

    def config_of(self, record: Record) -> C:
        """The Config of a record of this kind."""
        return read(self.config, record.config, f"the config of {record.key} ({record.name})")

    def result_of(self, record: Record) -> R:
        """The Result of a record of this kind."""
        return read(self.result, record.result, f"the result of {record.key} ({record.name})")


def share_columns(
    name: str, says: str, share: Callable[[Entry[Any, Any]], Proportion | None]
) -> dict[str, Column[Any, Any]]:
    """A share of images with its 95% Wilson interval: NAME, NAME_low and NAME_high."""

    def part(take: Callable[[Proportion], float]) -> Callable[[Entry[Any, Any]], float | None]:
        def one(entry: Entry[Any, Any]) -> float | None:
            found = share(entry)
            return None if found is None else take(found)

        return one

    return {
        name: Column(says, part(lambda p: p.share)),
        f"{name}_low": Column(f"lower end of the 95% Wilson interval of `{name}`", part(lambda p: p.interval[0])),
        f"{name}_high": Column(f"upper end of the 95% Wilson interval of `{name}`", part(lambda p: p.interval[1])),
    }
