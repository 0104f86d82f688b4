"""The figure of the study of adversarial training. Nothing here knows about files or pages."""

from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.old_report.audit_reading import Found
from groundglass.old_report.dot_rows import DotRow, Series, dot_rows
from groundglass.old_report.hardened_reading import BASELINE_AT, Hardened, Network
from groundglass.old_report.style import FAINT, INK

# No attacker is meant here, so that none of their colours is used.
CLEAN = Series("untouched", FAINT, "s")
CLAIMED = Series("paper's attacks", INK, "o", hollow=True)
WORST = Series("worst case", INK, "o")

Dots = tuple[tuple[str, Proportion], ...]


def hardened_titles(found: Hardened) -> list[str]:
    return ["untouched", *(ball.name.partition(" (")[0] for ball in found.balls)]


def hardened_rows(found: Hardened) -> list[DotRow]:
    """A row a network: untouched, then at each radius what the paper's attacks claim, and the worst case."""
    return [
        DotRow(network.name, _panels(network, found), rule_above=network.name == BASELINE_AT)
        for network in found.networks
        if network.clean is not None or network.audits
    ]


def hardened_figure(found: Hardened) -> Any:
    """Clean accuracy beside what is left at each radius."""
    rows = hardened_rows(found)
    drawn = {name for row in rows for dots in row.panels for name, _ in dots}
    series = [one for one in (CLEAN, CLAIMED, WORST) if one.name in drawn]
    return dot_rows(rows, series, titles=hardened_titles(found), label="of the test images, right (%)")


def _panels(network: Network, found: Hardened) -> tuple[Dots, ...]:
    first: Dots = () if network.clean is None else ((CLEAN.name, network.clean),)
    return (first, *(_dots(network.at(ball)) for ball in found.balls))


def _dots(audit: Found | None) -> Dots:
    if audit is None:
        return ()
    claimed: Dots = ((CLAIMED.name, audit.claimed),) if audit.by_paper else ()
    return (*claimed, (WORST.name, audit.worst))
