"""To be built."""

from groundglass.report.drawing import Folder
from groundglass.report.section import Section
from groundglass.report.table import Table
from groundglass.results import Run


def tables(run: Run) -> list[Table]:
    return []


def section(run: Run, drawings: Folder) -> Section | None:
    return None
