"""What the records say about the claim: no sign of masking, likely gradient masking, or not decided."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.old_report.cells import DEFENDED, UNLAYERED, AttackCell, norm_name
from groundglass.old_report.threat_models import ATTACKERS, attacker
from groundglass.results.records import Record

MASKING = "likely gradient masking"
CLEAR = "no sign of masking"
IDLE = "no sign of masking, and no gain by the layer"
OPEN = "not decided"

# Without these nobody has tried to break the defence on its own terms.
_NEEDED = ("bpda-fit-linear", "bpda-fit-network", "exact")


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    text: MASKING, CLEAR, IDLE or OPEN.
    reasons: a sentence each.
    skipped: attackers and checks that a complete judgement needs and that the records lack.
    """

    text: str
    reasons: tuple[str, ...]
    skipped: tuple[str, ...]


def judge(cells: Sequence[AttackCell], checks: Sequence[Record], *, retrieved: bool = False) -> Verdict:
    """Judge the defended network's robustness from its records.

    Masking is likely when a check failed, or when an adaptive attacker's 95% interval lies below that of DFA, the
    paper's attacker, at any radius: then DFA's number was the weakness of its gradient, not the network's strength.
    A layer whose features keep as much without it has gained nothing, masking or none.
    `retrieved`: another part of the study attacked with a matrix retrieved from the device.
    """
    reasons = [
        f"The check “{check.name}” failed: {check.result.get('note') or check.result.get('expected')}."
        for check in checks
        if not check.result["passed"]
    ]
    reasons += _broken(cells)
    used = {cell.rule for cell in cells if cell.model == DEFENDED}
    skipped = [a.label for a in ATTACKERS if a.adaptive and a.rule not in used]
    if not checks:
        skipped.append("the sanity checks")
    if not retrieved and "retrieved" not in used:
        skipped.append("a matrix retrieved from the device (exact U is its best case)")
    if reasons:
        return Verdict(MASKING, tuple(reasons), tuple(skipped))
    absent = [rule for rule in ("dfa", *_NEEDED) if rule not in used]
    if absent or not checks:
        lacking = [attacker(rule).label for rule in absent] + ([] if checks else ["the sanity checks"])
        return Verdict(OPEN, (f"The records do not have {listed(lacking)} yet.",), tuple(skipped))
    passed = "Every check passed, and no adaptive attacker got further than DFA by more than chance allows."
    if _is_idle(cells):
        alone = (
            f"{UNLAYERED} has the features of {DEFENDED} and no layer: backpropagation leaves it as much as the strongest "
            f"attacker leaves {DEFENDED}, or more, as far as these images can tell, at every radius where both were attacked."
        )
        return Verdict(IDLE, (passed, alone), tuple(skipped))
    return Verdict(CLEAR, (passed,), tuple(skipped))


def _is_idle(cells: Sequence[AttackCell]) -> bool:
    """Whether the features without the layer keep as much wherever both were attacked; False where they were not."""
    shown = [cell for cell in cells if not cell.is_control]
    alone = {(cell.norm, cell.eps): cell for cell in shown if (cell.model, cell.rule) == (UNLAYERED, "bp")}
    judging = [c for c in shown if c.model == DEFENDED and (c.rule == "dfa" or attacker(c.rule).adaptive)]
    worst = {
        place: min((c for c in judging if (c.norm, c.eps) == place), key=lambda c: c.robust.share, default=None)
        for place in alone
    }
    both = [(alone[place], found) for place, found in worst.items() if found is not None]
    return bool(both) and not any(one.robust.clearly_below(found.robust) for one, found in both)


def _broken(cells: Sequence[AttackCell]) -> list[str]:
    """For each adaptive attacker that breaks what DFA does not: where it does so most."""
    cells = [cell for cell in cells if cell.model == DEFENDED and not cell.is_control]
    paper = {(cell.norm, cell.eps): cell for cell in cells if cell.rule == "dfa"}
    widest: dict[str, tuple[float, AttackCell, AttackCell]] = {}
    for cell in cells:
        reference = paper.get((cell.norm, cell.eps))
        if reference is None or not attacker(cell.rule).adaptive:
            continue
        if cell.robust.clearly_below(reference.robust):
            gap = reference.robust.share - cell.robust.share
            if cell.rule not in widest or gap > widest[cell.rule][0]:
                widest[cell.rule] = (gap, cell, reference)
    return [
        f"{attacker(rule).label} leaves {percent(cell.robust.share)} where DFA leaves "
        f"{percent(reference.robust.share)} ({norm_name(cell.norm)}, ε = {cell.radius})."
        for rule, (_, cell, reference) in widest.items()
    ]


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"; one or more names."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
