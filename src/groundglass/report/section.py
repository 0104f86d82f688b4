"""A section of the page: what a study says, as a fact, with its figures and tables.

The sentence is in the study's template `page.html.j2`. No program composes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from groundglass.report.drawing import Drawing
from groundglass.report.table import Table

#: Fewer images than this are too few to judge, and never make a headline.
FEWEST = 50


class Finding(Enum):
    """What becomes of a claim."""

    HOLDS = "holds"  # nothing that was tried takes anything clear off it
    PART = "part"  # some of it is left
    FALLS = "falls"  # nothing clear is left of it
    NOTHING = "nothing"  # there was nothing to explain: the claim itself is no gain
    OPEN = "open"  # what would decide it was not tried
    FEW = "few"  # fewer than FEWEST images


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    finding: what becomes of the claim.
    reasons: numbers and names, for the template.
    untried: attackers that would have a say and were not tried.
    n_images: that it rests on; below `FEWEST` the finding is FEW, whatever was given.
    """

    finding: Finding
    reasons: Mapping[str, Any] = field(default_factory=dict)
    untried: tuple[str, ...] = ()
    n_images: int = 0

    def __post_init__(self) -> None:
        if self.n_images < FEWEST and self.finding is not Finding.OPEN:
            object.__setattr__(self, "finding", Finding.FEW)

    @property
    def tone(self) -> str:
        """How it is coloured."""
        return {Finding.HOLDS: "good", Finding.FALLS: "bad", Finding.PART: "mixed"}.get(self.finding, "open")


@dataclass(frozen=True)
class Section:
    """What a study's `section(run, drawings)` gives its template.

    Attributes:
        title: its heading.
        verdict: its takeaway.
        figures, tables: None and empty ones are dropped. The first of each, or as many as `open_figures` and
            `open_tables` say, are open, the rest is folded.
        facts: what else the template needs.
    """

    title: str
    verdict: Verdict
    figures: Sequence[Drawing | None] = ()
    tables: Sequence[Table] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    open_figures: int = 1
    open_tables: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", tuple(one for one in self.figures if one))
        object.__setattr__(self, "tables", tuple(one for one in self.tables if one.rows))
