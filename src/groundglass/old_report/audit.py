"""Whether the figures on the page can be believed: the verdict of each network's audit, before anything else."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.old_report.audit_figures import audit_rows, audits_figure
from groundglass.old_report.audit_reading import Audited, Found, Looked, read_audits
from groundglass.old_report.audit_words import (
    because,
    claims_words,
    figures_words,
    lead_words,
    role_words,
    skipped_words,
    verdict_words,
)
from groundglass.old_report.dot_rows import told
from groundglass.old_report.drawing import Drawing
from groundglass.old_report.hardened_reading import NAMES
from groundglass.old_report.sections import Rendered
from groundglass.old_report.study import Study
from groundglass.old_report.verdict import listed

# With more than these the words go into the table, and the rest is folded.
_FEW = 4
# With more than these, as all studies together have, only those of the networks that most of the page is about are shown.
_MOST = 12


@dataclass(frozen=True)
class Told:
    """An audit as the template shows it.

    Attributes:
        title: network and radius; unlike any other's.
        key: of the network's record where another network has its name; else an empty string.
        figures, verdict, because: make a sentence.
        failed: the checks that failed.
    """

    audit: Audited
    title: str
    key: str
    figures: str
    verdict: str
    because: str
    failed: tuple[Looked, ...]

    @property
    def found(self) -> Found | None:
        return self.audit.found


class AuditSection:
    """The verdict on each network, in words; without audits that too is said."""

    def render(self, study: Study) -> Rendered | None:
        audits = read_audits(study)
        progress = study.progress("audit")
        alone = study.manifest["study"] == "audit"
        rows = _told(audits)
        first = [row for row in rows if row.audit.model in NAMES]
        balls = list(dict.fromkeys(one.ball for one in audits))
        context = {
            "lead": lead_words(audits, alone=alone),
            "notice": _notice(study, alone=alone),
            "rows": rows,
            "many": len(rows) > _FEW,
            "first": first,
            "rest": [row for row in rows if row not in first] if len(rows) > _MOST and first else [],
            "ball": balls[0] if len(balls) == 1 else "",
            "claims": claims_words(audits),
            "skipped": skipped_words(audits),
            "drawing": _drawing(study, audits),
            "role_words": role_words,
        }
        return Rendered("audit", "Can these figures be believed?", "audit.html.j2", context, progress)


def _notice(study: Study, *, alone: bool) -> str:
    """What was not audited, and what that means; an empty string when all was."""
    progress, audits = study.progress("audit"), study.of_kind("audit")
    below = "the figures on this page" if alone else "the figures below"
    if progress is not None and progress.missing:
        names = [name.removeprefix("audit of ") for name in progress.missing]
        which = below if not audits else f"{below} about them" if len(names) > 1 else f"{below} about it"
        return f"Not audited yet: {'; '.join(names)}. Do not believe {which}."
    if not audits:
        return f"No audit was planned for this folder: nothing here says whether {below} can be believed."
    audited = {key for record in audits for key in record.inputs}
    attacked = study.networks_of(cell.record for cell in study.attacks)
    names = list(dict.fromkeys(record.name for record in attacked if record.key not in audited))
    if names:
        them = "them" if len(names) > 1 else "it"
        return (
            f"No audit was planned for {listed(names)}: nothing here says whether {below} about {them} can be believed."
        )
    return ""


def _told(audits: Sequence[Audited]) -> list[Told]:
    networks: dict[str, set[str]] = {}
    for one in audits:
        networks.setdefault(one.model, set()).add(one.network)
    made = []
    for one in audits:
        key = one.network if len(networks[one.model]) > 1 else ""
        title = f"{one.model}, {one.ball}" + (f", network {key}" if key else "")
        made.append(
            Told(
                audit=one,
                title=title,
                key=key,
                figures=figures_words(one),
                verdict=verdict_words(one),
                because=because(one),
                failed=one.found.of_status("failed") if one.found else (),
            )
        )
    return made


def _drawing(study: Study, audits: Sequence[Audited]) -> Drawing | None:
    rows = audit_rows(audits)
    if not rows:
        return None
    return study.drawings.save(
        "audits",
        audits_figure(audits),
        alt="Right untouched, as claimed, and in the worst case. " + told(rows, ("",)),
        caption="Each audited network: right untouched, under the claim's attacks, and under every attack here, image by "
        "image. Lines are 95% Wilson intervals.",
    )
