"""Cells that look for signs of a claim that is not true, in the records of a study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from groundglass.results import Record
from groundglass.results.kinds import Entry, Kind
from groundglass.results.kinds.audit import CheckResult
from groundglass.studies.engine.cell import BaseCell, Cell, Outcome
from groundglass.studies.engine.context import Context

C = TypeVar("C")
R = TypeVar("R")


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
        found = self.check.find(inputs)
        if not isinstance(found, Found):
            found = Found(not found, found)
        return Outcome(CheckResult(passed=found.passed, value=found.value, expected=self.check.expected))


def check_cells(checks: Sequence[Check], attacks: Sequence[Cell]) -> list[CheckCell]:
    """Every check over the same attacks."""
    return [CheckCell(check, tuple(attacks)) for check in checks]


def entries(records: Sequence[Record], kind: Kind[C, R], **chosen: Any) -> list[Entry[C, R]]:
    """The records of a kind, typed, whose Config has these values. They have no arrays."""
    found = [Entry(record, kind, lambda _: {}) for record in records if record.kind == kind.name]
    return [one for one in found if all(getattr(one.config, name) == value for name, value in chosen.items())]
