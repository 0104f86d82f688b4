"""The audits of a run: a table, a figure, and what the head of the page says of the network that it is about."""

from collections.abc import Callable
from dataclasses import dataclass

from groundglass.audit.findings import CLEAR, MASKING, NOTHING
from groundglass.core.statistics import Paired
from groundglass.core.text import duration
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import DotRow, Series, save_dots
from groundglass.report.section import FEWEST
from groundglass.report.style import DEFENDED, OPEN, PLAIN, QUIET
from groundglass.report.table import Amount, Row, Table, Value
from groundglass.report.words import norm_name, radius
from groundglass.results import Run
from groundglass.results.kinds import AUDIT, Entry
from groundglass.results.kinds.audit import AuditedConfig, AuditResult

# Of what is left: an undefended network's share.
_NONE = 0.05
# A figure of more rows is a wall.
_MOST = 12
_ROLES = {
    "claim": "the claim's own attack",
    "control": "control: should break nothing more",
    "adaptive": "adaptive: knows the defence",
    "stronger": "same gradient, more effort",
    "queries": "by asking alone, no gradient",
    "transfer": "images made on another model",
    "given": "brought by the user",
}

Audited = Entry[AuditedConfig, AuditResult]


def audits(run: Run) -> list[Audited]:
    """Every audit; those of the defended network first, then in the order of the plan."""
    return sorted(run.entries(AUDIT), key=lambda one: one.config.model != DEFENDED)


def where(one: Audited) -> str:
    """ "L∞ ε = 6.38/255 (the paper's 0.05)"; where channels differ, up to the widest."""
    config = one.config
    of_paper = f" (the paper's {config.eps_paper:g})" if config.eps_paper is not None else ""
    upto = "up to" if config.eps_per_channel is not None else "="
    return f"{norm_name(config.norm)} ε {upto} {radius(config.norm, config.eps)}{of_paper}"


def verdict(one: Audited) -> str:
    """The verdict; where next to nothing is left, that too."""
    found = one.result
    nothing_left = found.judged == CLEAR and found.worst is not None and found.worst.share < _NONE
    return f"{found.judged}, and no robustness" if nothing_left else found.judged


def tables(run: Run) -> list[Table]:
    """Each audit: clean accuracy, as claimed, in the worst case, and the verdict."""
    columns: dict[str, Callable[[Audited], Value]] = {
        "clean accuracy": lambda one: one.result.clean,
        "claimed": lambda one: one.result.claimed,
        "worst case": lambda one: one.result.worst,
        "verdict": verdict,
        "time": lambda one: Amount(one.record.seconds, duration),
    }
    rows = [(f"{one.config.model}, {where(one)}", one) for one in run.entries(AUDIT)]
    note = (
        "Claimed: under the claim's own attacks. Worst case: right whatever was tried, image by image; a stronger attack "
        "may leave less."
    )
    return [Table.of("", "network", columns, rows, note)] if rows else []


def evidence(one: Audited) -> list[Table]:
    """The checks of an audit, and its attacks."""
    found = one.result
    marks = {"passed": "✓ passed", "failed": "✗ failed", "skipped": "– skipped"}
    checks = [Row(c.name, (marks[c.status], c.measured, c.threshold, c.source, c.advice or None)) for c in found.checks]
    took = found.timing.attempts if found.timing else (0.0,) * len(found.attempts)
    attacks = []
    for tried, seconds in zip(found.attempts, took, strict=True):
        fitted = f" (fitted on {tried.fit['n_images']:,} natural images)" if tried.fit else ""
        counts = (Amount(n) for n in (tried.tried, tried.broke, tried.gradients, tried.forwards))
        time = Amount(seconds, duration) if tried.tried else "no image was left"
        attacks.append(Row(tried.name + fitted, (_ROLES.get(tried.role, tried.role), *counts, time)))
    name = f"{one.config.model}, {where(one)}"
    columns = ("role", "tried on", "broke", "gradients", "forward passes", "time")
    return [
        Table(f"Checks of {name}", "check", ("", "measured", "expected", "source", "advice"), tuple(checks)),
        Table(f"Attacks on {name}, each on what the others left", "attack", columns, tuple(attacks)),
    ]


def figure(run: Run, drawings: Folder) -> Drawing | None:
    """Clean accuracy, the claim and the worst case, a row an audit; of many the first."""
    found = [one for one in audits(run) if one.result.claimed is not None][:_MOST]
    if not found:
        return None
    several = len({one.config.eps for one in found}) > 1
    series = (Series("clean", QUIET), Series("claimed", OPEN), Series("worst case", PLAIN))
    rows = []
    for one in found:
        shares = (one.result.clean, one.result.claimed, one.result.worst)
        name = f"{one.config.model}, {radius(one.config.norm, one.config.eps)}" if several else one.config.model
        rows.append(DotRow(name, (tuple((s.name, p) for s, p in zip(series, shares, strict=True) if p),)))
    x = "right of the audited images (%)"
    caption = "Clean accuracy, accuracy under the claim's attacks, and the worst case, with 95% Wilson intervals."
    return save_dots(drawings, "audits", rows, series, x=x, caption=caption)


@dataclass(frozen=True)
class Headline:
    """What the head of the page says.

    Attributes:
        finding: "masking", "clear", "nothing" (claimed), "few" (images) or "none" (no audit).
        one: the audit that it is about.
        lost: whether the worst case is below the claim by more than chance, on the same images.
    """

    finding: str = "none"
    one: Audited | None = None
    lost: bool = False

    @property
    def network(self) -> str:
        return self.one.config.model if self.one else ""


def headline(run: Run) -> Headline:
    """The audit of the defended network, at the paper's radius where there is one; else the first audit."""
    known = [one for one in audits(run) if one.result.claimed is not None]
    if not known:
        return Headline()
    one = next((x for x in known if x.config.model.startswith(DEFENDED)), known[0])
    claimed, worst = one.result.claimed, one.result.worst
    assert claimed is not None
    assert worst is not None
    finding = {MASKING: "masking", CLEAR: "clear", NOTHING: "nothing"}[one.result.judged]
    # Paired: the worst case has every image that the claim's attacks left, or fewer.
    fell = Paired(claimed.count - worst.count, 0, claimed.total)
    return Headline("few" if claimed.total < FEWEST else finding, one, fell.p < 0.05)
