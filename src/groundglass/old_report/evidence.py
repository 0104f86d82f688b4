"""The sections beside the numbers: the checks of the claim, the attackers' threat models, where it all came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.old_report.queries import QueryCell
from groundglass.old_report.query_attackers import ANSWERS, QueryAttacker, query_attacker, query_rank
from groundglass.old_report.query_verdict import verdicts
from groundglass.old_report.scale_numbers import size
from groundglass.old_report.sections import Rendered
from groundglass.old_report.study import Study
from groundglass.old_report.threat_models import RETRIEVAL, attacker, rank
from groundglass.old_report.work import WORK, shares, total


class ChecksSection:
    """Signs of a robustness claim that is not true: which were looked for, and what was found."""

    def render(self, study: Study) -> Rendered | None:
        checks = study.of_kind("check")
        if not checks:
            return None
        failed = sum(not check.result["passed"] for check in checks)
        context = {"checks": checks, "failed": failed, "verdicts": verdicts(study)}
        return Rendered("checks", "Were the attacks at work?", "checks.html.j2", context, study.progress("check"))


class ThreatModelsSection:
    """Who the attackers of these records are, a sentence each."""

    def render(self, study: Study) -> Rendered | None:
        rules = sorted({cell.rule for cell in (*study.attacks, *study.references)}, key=rank)
        names = sorted({cell.attack for cell in study.queries}, key=lambda name: (query_rank(name), name))
        if not rules and not names:
            return None
        context = {
            "attackers": [attacker(rule) for rule in rules],
            "query_attackers": [QueryModel.of(name, study.queries) for name in names],
            "retrieval": RETRIEVAL,
        }
        return Rendered("attackers", "Who the attackers are", "threat_models.html.j2", context)


@dataclass(frozen=True)
class QueryModel:
    """The threat model of a query attack in these records: who it is, what it is told, how often it may ask."""

    who: QueryAttacker
    answer: str
    budget: int

    @classmethod
    def of(cls, name: str, cells: Sequence[QueryCell]) -> "QueryModel":
        own = [cell for cell in cells if cell.attack == name]
        access = own[0].access
        return cls(query_attacker(name), ANSWERS.get(access, access), max(cell.budget for cell in own))


class ProvenanceSection:
    """Config, seed, versions, machine, wall time of each cell: all that is needed to do it again."""

    def render(self, study: Study) -> Rendered | None:
        manifest, records = study.manifest, study.store.records
        facts = [(name, manifest[name]) for name in ("study", "recipe", "data", "seed", "started")]
        if records:
            facts.append(("finished", max(record.finished for record in records)))
        context = {
            "facts": facts,
            "versions": flat(manifest["versions"]),
            "machine": flat(manifest["machine"]),
            "continued": manifest.get("continued", []),
            "config": flat(manifest["config"]),
            "records": records,
            "unplanned": len(study.store.unplanned),
            "work": WORK,
            "shares": shares(study),
            "total": total(study),
            "size": size,
        }
        return Rendered("provenance", "Where this comes from", "provenance.html.j2", context)


def flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Nested plain JSON as (path, value) lines; lists of plain values stay on one line."""
    if isinstance(value, Mapping) and value:
        return [line for key, entry in value.items() for line in flat(entry, f"{path}.{key}" if path else key)]
    if isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value):
        return [line for i, entry in enumerate(value) for line in flat(entry, f"{path}[{i}]")]
    if isinstance(value, list):
        return [(path, ", ".join(plain_words(entry) for entry in value))]
    return [(path, plain_words(value))]


def plain_words(value: Any) -> str:
    """A plain value as people read it: no long fractions, yes and no for booleans, the entries of a dict in a row."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {plain_words(entry)}" for name, entry in value.items()) or "none"
    words = {None: "none", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
