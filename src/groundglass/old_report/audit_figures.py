"""The figure of the audits. Nothing here knows about files or pages."""

from collections.abc import Sequence
from typing import Any

from groundglass.old_report.audit_reading import Audited
from groundglass.old_report.dot_rows import DotRow, Series, dot_rows
from groundglass.old_report.style import FAINT, INK

# No attacker is meant here, so that none of their colours is used.
UNTOUCHED = Series("untouched", FAINT, "s", hollow=True)
CLAIMED = Series("claimed", INK, "o", hollow=True)
WORST = Series("worst case", INK, "o")


def audit_rows(audits: Sequence[Audited]) -> list[DotRow]:
    """A row an audit, named by its radius too where there are several; those without figures are left out."""
    several = len({one.radius for one in audits}) > 1
    return [
        DotRow(
            f"{one.model}, {one.radius}" if several else one.model,
            (((UNTOUCHED.name, found.clean), (CLAIMED.name, found.claimed), (WORST.name, found.worst)),),
        )
        for one in audits
        if (found := one.found) is not None
    ]


def audits_figure(audits: Sequence[Audited]) -> Any:
    """Right untouched, under the claim's attacks, and in the worst case; at least one audit with figures."""
    return dot_rows(
        audit_rows(audits), (UNTOUCHED, CLAIMED, WORST), titles=("",), label="of the audited images, right (%)"
    )
