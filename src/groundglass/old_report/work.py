"""Where the time went: the seconds of each result, by part of the study and by kind of work. Pauses are in none."""

from collections.abc import Iterable
from dataclasses import dataclass

from groundglass.old_report.hardened_reading import BASELINE_AT, DEFENDED_AT
from groundglass.old_report.study import Study
from groundglass.results.records import Record

TRAINING, ATTACKS, AUDITS, REST = "training", "attacks", "audits", "rest"
WORK = (TRAINING, ATTACKS, AUDITS, REST)
#: What no part has for itself: networks and devices of several, their audits and checks.
SHARED = "shared by several"

_PARTS = (
    "white-box",
    "black-box",
    "transfer",
    "redraw",
    "retrieval",
    "ablation",
    "adversarial-training",
    "scale",
    "audit",
)
_WORK = {
    **dict.fromkeys(("train", "redraw", "randomise"), TRAINING),
    **dict.fromkeys(("attack", "query", "choice", "craft", "transfer", "retrieve", "rows"), ATTACKS),
    "audit": AUDITS,
}
_BY_PURPOSE = {
    "figure": "white-box",
    "control": "white-box",
    "reference": "black-box",
    **{part: part for part in ("transfer", "redraw", "retrieval", "ablation", "scale")},
}
_BY_KIND = {
    **dict.fromkeys(("query", "choice"), "black-box"),
    **dict.fromkeys(("redraw", "randomise"), "redraw"),
    "retrieve": "retrieval",
    **dict.fromkeys(("cost", "fidelity", "rows", "fit"), "scale"),
}


@dataclass(frozen=True)
class Share:
    """The work of one part.

    Attributes:
        part: its name, or `SHARED`.
        seconds: by kind of work, in the order of `WORK`.
        memory: the most bytes that its process held at work on it; None where no record tells.
    """

    part: str
    seconds: tuple[float, ...]
    memory: int | None

    @property
    def total(self) -> float:
        return sum(self.seconds)


def shares(study: Study) -> list[Share]:
    """A share a part, in the order of the page, what several parts have in common last."""
    part = parts(study)
    names = [*_PARTS, *sorted({*part.values()} - {*_PARTS, SHARED}), SHARED]
    groups = [(name, [record for record in study.store.records if part[record.key] == name]) for name in names]
    return [_share(name, records) for name, records in groups if records]


def total(study: Study) -> Share:
    """All of it together."""
    return _share("together", study.store.records)


def parts(study: Study) -> dict[str, str]:
    """The part that each record belongs to, by key.

    A folder of one study is of that part. In a folder of all of them attacks tell their purpose; a network or device
    is of the part that uses it, an audit or a check of that of its network, and of `SHARED` where there are several.
    """
    records = study.store.records
    if study.manifest["study"] != "all":
        return {record.key: str(study.manifest["study"]) for record in records}
    own = {record.key: part for record in records if (part := _own(record))}
    users: dict[str, set[str]] = {}
    # What uses a record comes after it, as does what uses that.
    for record in reversed(_inputs_first(records)):
        here = {own[record.key]} if record.key in own else users.get(record.key, set())
        for key in record.inputs:
            users.setdefault(key, set()).update(here)
    found = dict(own)
    for record in records:
        if record.key not in found:
            of = users.get(record.key) or {
                p for key in record.inputs for p in users.get(key, set()) | _single(own, key)
            }
            found[record.key] = next(iter(of)) if len(of) == 1 else SHARED
    return found


def _own(record: Record) -> str | None:
    """The part that a record tells itself."""
    if record.name in (BASELINE_AT, DEFENDED_AT):
        return "adversarial-training"
    purpose = record.config.get("purpose")
    if record.kind in ("attack", "craft", "transfer") or (record.kind == "query" and purpose == "ablation"):
        return _BY_PURPOSE.get(str(purpose or "figure"))
    return _BY_KIND.get(record.kind)


def _single(own: dict[str, str], key: str) -> set[str]:
    return {own[key]} if key in own else set()


def _inputs_first(records: Iterable[Record]) -> list[Record]:
    """Every record after those that it was made from."""
    by_key = {record.key: record for record in records}
    found: dict[str, Record] = {}

    def visit(record: Record) -> None:
        if record.key not in found:
            for key in record.inputs:
                if key in by_key:
                    visit(by_key[key])
            found[record.key] = record

    for record in by_key.values():
        visit(record)
    return list(found.values())


def _share(name: str, records: Iterable[Record]) -> Share:
    records = list(records)
    seconds = tuple(sum(r.seconds for r in records if _WORK.get(r.kind, REST) == work) for work in WORK)
    known = [memory for record in records if (memory := getattr(record, "memory", None)) is not None]
    return Share(name, seconds, max(known, default=None))
