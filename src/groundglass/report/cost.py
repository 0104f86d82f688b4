"""Where the time went: the seconds of each result, by study and by kind of work. Pauses are in none."""

from groundglass.core.text import duration, size
from groundglass.report.table import Amount, Row, Table, amount
from groundglass.results import Record, Run
from groundglass.studies.registry import STUDIES

_WORK = {
    **dict.fromkeys(("train", "redraw", "randomise", "distil"), "training"),
    **dict.fromkeys(("attack", "draws", "query", "choice", "craft", "transfer", "retrieve", "rows"), "attacks"),
    "audit": "audits",
}
WORK = ("training", "attacks", "audits", "rest")
#: Networks and devices of several studies, their audits and checks.
SHARED = "shared by several"


def tables(run: Run) -> list[Table]:
    """The work of each study, and the most memory that its process held."""
    groups: dict[str, list[Record]] = {}
    for record in run.records:
        own = run.studies(record.key)
        groups.setdefault(next(iter(own)) if len(own) == 1 else SHARED, []).append(record)
    known = [*(study.name for study in STUDIES), *sorted(groups.keys() - {SHARED}), SHARED]
    order = [name for name in dict.fromkeys(known) if name in groups]
    if len(groups) > 1:
        groups["together"] = list(run.records)
        order.append("together")
    has_memory = any(record.memory is not None for record in run.records)
    rows = []
    for name in order:
        spent = [sum(r.seconds for r in groups[name] if _WORK.get(r.kind, "rest") == work) for work in WORK]
        most = max((r.memory for r in groups[name] if r.memory is not None), default=None)
        work = (Amount(s, duration) if s else None for s in (*spent, sum(spent)))
        rows.append(Row(name, (*work, *([amount(most, size)] if has_memory else []))))
    columns = (*WORK, "work", *(("peak memory",) if has_memory else ()))
    note = (
        "Work is the wall time of each cell, added up. What was taken over from another folder counts as it did there."
    )
    return [Table("", "part", columns, tuple(rows), note)] if rows else []
