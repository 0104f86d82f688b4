"""Defences side by side: what each keeps, what it proves, and what it costs."""

from groundglass.report.drawing import Folder
from groundglass.report.section import Section
from groundglass.report.table import Row, Table
from groundglass.report.words import clean_accuracies
from groundglass.results import Run

TITLE = "Defences side by side"


def tables(run: Run) -> list[Table]:
    """The networks with their clean accuracies."""
    clean = clean_accuracies(run)
    if not clean:
        return []
    return [Table("", "network", ("clean accuracy",), tuple(Row(name, (share,)) for name, share in clean.items()))]


def section(run: Run, drawings: Folder) -> Section | None:
    """None yet."""
    return None
