"""The audits of a run: a table, a figure, and what the head of the page says of the network that it is about."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from groundglass.audit.findings import Attempt, Check, Claim, Finding
from groundglass.core.text import duration
from groundglass.report.drawing import Drawing, Folder
from groundglass.report.figure import DotRow, Series, save_dots
from groundglass.report.section import FEWEST
from groundglass.report.style import DEFENDED, OPEN, PLAIN, QUIET
from groundglass.report.table import Amount, Row, Table, Value, amount
from groundglass.report.words import norm_name, radius
from groundglass.results import Run
from groundglass.results.kinds import AUDIT, Entry
from groundglass.results.kinds.audit import AuditedConfig, AuditResult

# A figure of more rows is a wall.
_MOST = 12
_ROLES = {
    "claim": "a claim's own attack",
    "base": "on every network of its kind",
    "control": "control: no claim should be weaker",
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
    """Each claim and its verdict."""
    return one.result.judged


def tables(run: Run) -> list[Table]:
    """A row for each claim of an audit: clean accuracy, as claimed, what the network keeps, and the verdict on the claim."""
    columns: dict[str, Callable[[tuple[Audited, Claim | None]], Value]] = {
        "clean accuracy": lambda one: one[0].result.clean,
        "claim": lambda one: one[1].name if one[1] else None,
        "claimed": lambda one: (one[1].figure or amount(one[1].share, _share)) if one[1] else None,
        "worst case": lambda one: one[0].result.worst,
        "verdict on the claim": lambda one: one[1].told if one[1] else one[0].result.judged,
        "time": lambda one: Amount(one[0].record.seconds, duration),
    }
    rows = [
        (f"{one.config.model}, {where(one)}", (one, claim))
        for one in run.entries(AUDIT)
        for claim in one.result.each or (None,)
    ]
    older = any(one.result.older for one in run.entries(AUDIT))
    same = (
        "in records of earlier versions the attacks began with those of the one claim"
        if older
        else ("the attacks do not depend on the claim")
    )
    note = (
        f"Claimed: under the claim's own attacks. Worst case: right whatever was tried, image by image; {same}, and a stronger "
        "one may leave less."
    )
    if any(one.result.perhaps_seen for one in run.entries(AUDIT)):
        note += (
            " Nothing says whether the network was trained on these images, which have no test split: if it was, the figures "
            "are those of training images."
        )
    return [Table.of("", "network", columns, rows, note)] if rows else []


def _share(value: float) -> str:
    return f"{value:.1%}"


_MARKS = {"passed": "✓ passed", "failed": "✗ failed", "skipped": "– skipped"}


def _checks(title: str, checks: Sequence[Check]) -> Table:
    rows = [Row(c.name, (_MARKS[c.status], c.measured, c.threshold, c.source, c.advice or None)) for c in checks]
    return Table(title, "check", ("", "measured", "expected", "source", "advice"), tuple(rows))


def evidence(one: Audited) -> list[Table]:
    """The checks of the network, those of each claim, and the attacks."""
    found = one.result
    name = f"{one.config.model}, {where(one)}"
    checks = [_checks(f"Checks of {name}, whatever is claimed", found.of_network)]
    checks += [_checks(f"Checks of the claim {c.name} ({c.by}) of {name}", c.checks) for c in found.each]
    took = found.timing.attempts if found.timing else (0.0,) * len(found.attempts)
    attacks = tuple(_attack(tried, seconds) for tried, seconds in zip(found.attempts, took, strict=True))
    columns = ("role", "tried on", "fooled", "broke", "gradients", "forward passes", "time")
    note = "Broke: of the images that stood before. An image that is fooled is attacked again by the first gradients alone."
    return [
        *(table for table in checks if table.rows),
        Table(f"Attacks on {name}, each on what the others left", "attack", columns, attacks, note),
    ]


def _attack(tried: Attempt, seconds: float) -> Row:
    fitted = f" (fitted on {tried.fit['n_images']:,} natural images)" if tried.fit and "n_images" in tried.fit else ""
    fooled = tried.broke if tried.fooled is None else tried.fooled
    counts = (Amount(n) for n in (tried.tried, fooled, tried.broke, tried.gradients, tried.forwards))
    time = Amount(seconds, duration) if tried.tried else "no image was left"
    role = _ROLES.get(tried.role, tried.role)
    return Row(tried.name + fitted, (f"INVALID: {tried.invalid}" if tried.invalid else role, *counts, time))


def figure(run: Run, drawings: Folder) -> Drawing | None:
    """Clean accuracy, the first claim and the worst case, a row an audit; of many the first."""
    found = [one for one in audits(run) if one.result.worst is not None][:_MOST]
    if not found:
        return None
    several = len({one.config.eps for one in found}) > 1
    series = (Series("clean", QUIET), Series("claimed", OPEN), Series("worst case", PLAIN))
    rows = []
    for one in found:
        claimed = one.result.first.figure if one.result.first else None
        shares = (one.result.clean, claimed, one.result.worst)
        name = f"{one.config.model}, {radius(one.config.norm, one.config.eps)}" if several else one.config.model
        rows.append(DotRow(name, (tuple((s.name, p) for s, p in zip(series, shares, strict=True) if p),)))
    x = "right of the audited images (%)"
    caption = "Clean accuracy, accuracy under the first claim's attacks, and the worst case, with 95% Wilson intervals."
    return save_dots(drawings, "audits", rows, series, x=x, caption=caption)


@dataclass(frozen=True)
class Headline:
    """What the head of the page says.

    Attributes:
        finding: of the claims, contradicted if one of them is, "few" (images to judge it by) or "none" (no audit).
        one: the audit that it is about.
    """

    finding: str = "none"
    one: Audited | None = None

    @property
    def network(self) -> str:
        return self.one.config.model if self.one else ""


def headline(run: Run) -> Headline:
    """The audit of the defended network, at the paper's radius where there is one; else the first audit."""
    known = [one for one in audits(run) if one.result.first is not None]
    if not known:
        return Headline()
    one = next((x for x in known if x.config.model.startswith(DEFENDED)), known[0])
    claim, worst = one.result.first, one.result.worst
    assert claim is not None
    assert worst is not None
    bad = Finding.CONTRADICTED in [each.verdict for each in one.result.each]
    finding = Finding.CONTRADICTED if bad else claim.verdict
    return Headline("few" if worst.total < FEWEST else finding.value, one)
