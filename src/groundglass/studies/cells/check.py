"""Cells that look for signs of a claim that is not true, in the records of a study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from groundglass.core.statistics import Outcomes, Proportion
from groundglass.results import Record
from groundglass.results.kinds import Entry, Kind
from groundglass.results.kinds.audit import CheckResult
from groundglass.results.outcomes import right_after
from groundglass.studies.engine.cell import BaseCell, Cell, Outcome
from groundglass.studies.engine.context import Context

C = TypeVar("C")
R = TypeVar("R")


class Seen(tuple[Record, ...]):
    """Records that a check looks at. `arrays`: what each has for each image; an empty dict where it has nothing."""

    arrays: Callable[[Record], Mapping[str, np.ndarray]]

    @classmethod
    def of(cls, records: Sequence[Record], arrays: Callable[[Record], Mapping[str, np.ndarray]]) -> "Seen":
        """These records, with their arrays."""
        seen = cls(records)
        seen.arrays = arrays
        return seen


@dataclass(frozen=True)
class Found:
    """What a check found where more is to be kept than what is wrong."""

    passed: bool
    value: Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """A sign that is looked for.

    Attributes:
        name: in a few words.
        expected: what a study that can be believed shows.
        find: from the records: what is wrong, by name (nothing: passed), or a `Found`.
    """

    name: str
    expected: str
    find: Callable[[Sequence[Record]], Mapping[str, Any] | Found]


@dataclass(frozen=True)
class CheckCell(BaseCell):
    """One check over the records of some attacks."""

    check: Check
    attacks: tuple[Cell, ...]

    kind = "check"

    @property
    def name(self) -> str:
        return self.check.name

    def described(self) -> dict[str, Any]:
        return {"check": self.name}

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        found = self.check.find(Seen.of(inputs, context.arrays))
        if not isinstance(found, Found):
            found = Found(not found, found)
        return Outcome(CheckResult(passed=found.passed, value=found.value, expected=self.check.expected))


def check_cells(checks: Sequence[Check], attacks: Sequence[Cell]) -> list[CheckCell]:
    """Every check over the same attacks."""
    return [CheckCell(check, tuple(attacks)) for check in checks]


def entries(records: Sequence[Record], kind: Kind[C, R], **chosen: Any) -> list[Entry[C, R]]:
    """The records of a kind, typed, whose Config has these values. They have arrays where the records were `Seen`."""
    arrays: Any = records.arrays if isinstance(records, Seen) else lambda _: {}
    found = [Entry(record, kind, arrays) for record in records if record.kind == kind.name]
    return [one for one in found if all(getattr(one.config, name) == value for name, value in chosen.items())]


def kept(one: Entry[Any, Any], share: Proportion) -> Outcomes | Proportion:
    """Which images stay right under an attack, to be compared image by image; where there are no arrays, `share` of them."""
    arrays = one.arrays()
    return right_after(one.record, arrays) if arrays else share
