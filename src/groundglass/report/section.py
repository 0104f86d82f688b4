"""A section of the page: a verdict, figures, tables. The first figure and the first table are open, the rest is folded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from groundglass.report.drawing import Drawing
from groundglass.report.table import Table
from groundglass.report.verdict import Verdict


@dataclass(frozen=True)
class Section:
    """What a study's `section(run, drawings)` gives its template `page.html.j2`.

    Attributes:
        title: its heading.
        verdict: its takeaway, as a fact.
        figures, tables: the first of each, or as many as `open_figures` and `open_tables` say, are open.
        facts: what else the template needs.
    """

    title: str
    verdict: Verdict
    figures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    open_figures: int = 1
    open_tables: int = 1
