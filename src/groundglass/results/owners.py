"""Which studies a result belongs to: as the plan says; for a folder of an earlier version, as the records tell."""

from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

from groundglass.results.records import Record

# What earlier versions wrote in a record for the page to sort by.
_BY_PURPOSE = {
    "figure": "white-box",
    "control": "white-box",
    "reference": "black-box",
    **{study: study for study in ("transfer", "redraw", "retrieval", "ablation", "scale")},
}
_BY_KIND = {
    **dict.fromkeys(("query", "choice"), "black-box"),
    **dict.fromkeys(("redraw", "randomise"), "redraw"),
    "retrieve": "retrieval",
    **dict.fromkeys(("cost", "fidelity", "rows", "fit"), "scale"),
}
_HARDENED, _ORDINARY = ("VGG-16 AT", "VGG-OPU AT"), ("VGG-16", "VGG-OPU")


def owners(manifest: Mapping[str, Any], records: Sequence[Record]) -> dict[str, frozenset[str]]:
    """The studies of each record, by key.

    The plan of a study owns its cells. In a folder that a version before 0.2 began as `all`, whose plan does not say, an
    attack tells its study; a network or device is of the studies that use it, an audit or a check of that of its network.
    The ordinary networks that were audited are of the study of adversarial training too, where there is one.
    """
    planned = {cell["key"]: cell["studies"] for cell in manifest.get("cells") or () if "studies" in cell}
    if manifest["study"] != "all":
        return {record.key: frozenset((str(manifest["study"]),)) for record in records}
    if planned:
        return {record.key: frozenset(planned.get(record.key, ())) for record in records}
    own = {record.key: frozenset((study,)) for record in records if (study := _own(record))}
    users: dict[str, frozenset[str]] = {}
    if any(record.name in _HARDENED for record in records):
        # Adversarial training is compared with the ordinary networks, and their audits.
        users = {r.key: frozenset(("adversarial-training",)) for r in records if r.name in _ORDINARY}
    # What uses a record comes after it, as does what uses that.
    for record in reversed(_inputs_first(records)):
        here = own.get(record.key, users.get(record.key, frozenset()))
        for key in record.inputs:
            users[key] = users.get(key, frozenset()) | here
    found = dict(own)
    for record in records:
        if record.key not in found:
            of_inputs = (users.get(key, frozenset()) | own.get(key, frozenset()) for key in record.inputs)
            found[record.key] = users.get(record.key) or frozenset().union(*of_inputs)
    if any(record.name in _HARDENED for record in records):
        for record in records:
            if record.kind == "audit" and record.config.get("model") in _ORDINARY:
                for key in (record.key, *record.inputs):
                    found[key] = found.get(key, frozenset()) | {"adversarial-training"}
    return found


def _own(record: Record) -> str | None:
    """The study that a record tells itself."""
    if record.name in _HARDENED:
        return "adversarial-training"
    purpose = record.config.get("purpose")
    if record.kind in ("attack", "craft", "transfer") or (record.kind == "query" and purpose == "ablation"):
        return _BY_PURPOSE.get(str(purpose or "figure"))
    return _BY_KIND.get(record.kind)


def _inputs_first(records: Sequence[Record]) -> list[Record]:
    """Every record after those that it was made from."""
    by_key = {record.key: record for record in records}
    made_from = {record.key: [key for key in record.inputs if key in by_key] for record in records}
    return [by_key[key] for key in TopologicalSorter(made_from).static_order()]
