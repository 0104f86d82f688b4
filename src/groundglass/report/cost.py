"""Where the time went: the seconds of each result, by study and by kind of work. Pauses are in none."""

from groundglass.core.text import duration, size
from groundglass.report.table import Amount, Row, Table
from groundglass.results import Run
from groundglass.studies.registry import STUDIES

_WORK = {
    **dict.fromkeys(("train", "redraw", "randomise"), "training"),
    **dict.fromkeys(("attack", "query", "choice", "craft", "transfer", "retrieve", "rows"), "attacks"),
    "audit": "audits",
}
WORK = ("training", "attacks", "audits", "rest")
#: Networks and devices of several studies, their audits and checks.
SHARED = "shared by several"


def tables(run: Run) -> list[Table]:
    """The work of each study, and the most memory that its process held."""
    names = list(dict.fromkeys(name for record in run.records for name in sorted(run.studies(record.key))))
    order = [name for name in _page_order() if name in names] + sorted(set(names) - set(_page_order())) + [SHARED]
    part = {
        record.key: next(iter(own)) if len(own := run.studies(record.key)) == 1 else SHARED for record in run.records
    }
    groups = [(name, [r for r in run.records if part[r.key] == name]) for name in order]
    groups = [(name, records) for name, records in groups if records]
    if not groups:
        return []
    if len(groups) > 1:
        groups.append(("together", list(run.records)))
    known = any(record.memory is not None for record in run.records)
    rows = []
    for name, records in groups:
        spent = [sum(r.seconds for r in records if _WORK.get(r.kind, "rest") == work) for work in WORK]
        most = max((r.memory for r in records if r.memory is not None), default=None)
        memory = [Amount(most, size) if most is not None else None] if known else []
        rows.append(Row(name, (*(Amount(s, duration) if s else None for s in (*spent, sum(spent))), *memory)))
    columns = (*WORK, "work", *(("peak memory",) if known else ()))
    note = (
        "Work is the wall time of each cell, added up. What was taken over from another folder counts as it did there."
    )
    return [Table("", "part", columns, tuple(rows), note)]


def _page_order() -> list[str]:
    return [study.name for study in STUDIES]
