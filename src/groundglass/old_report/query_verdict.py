"""What the query attacks say about the claim, and which verdicts a study needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.old_report.cells import BASELINE, DEFENDED
from groundglass.old_report.contests import Contest, beats, contests, rate
from groundglass.old_report.query_attackers import QUERY_ATTACKERS
from groundglass.old_report.query_words import is_budget, is_masked, layer_words, reference_words
from groundglass.old_report.retrieval_reading import has_retrieved, retrieval_checks
from groundglass.old_report.study import Study
from groundglass.old_report.transfer_trials import trials
from groundglass.old_report.transfer_verdict import TRANSFER_TONES, judge_transfers, transfer_checks
from groundglass.old_report.verdict import CLEAR, MASKING, OPEN, Verdict, judge, listed
from groundglass.results.records import Record

BROKEN = "broken by asking alone"
UNSOUND = "not to be relied on yet"
BUDGET = "a query budget, not robustness"
HARDER = "query attacks are harder, as far as they were tried"
EASIER = "the layer makes query attacks easier"

# Of the images that the defended network gets right, surely fooled: at least this share, by the 95% interval.
_NEARLY_ALL = 0.9
# Without these no success counts; what else may fail makes an attack look weaker than it is.
_COUNTING = ("queries within budget", "query successes confirmed")

_TONES = {
    BROKEN: "bad",
    MASKING: "bad",
    CLEAR: "good",
    UNSOUND: "bad",
    BUDGET: "bad",
    HARDER: "good",
    EASIER: "bad",
} | TRANSFER_TONES


@dataclass(frozen=True)
class Judged:
    """A verdict and the part of the study that it is about."""

    part: str
    verdict: Verdict

    @property
    def tone(self) -> str:
        """Of its box: "good", "bad" or "open"."""
        return _TONES.get(self.verdict.text, "open")


def has_white_box(study: Study) -> bool:
    return bool(study.attacks) or study.manifest["study"] not in (
        "black-box",
        "transfer",
        "redraw",
        "retrieval",
        "ablation",
        "adversarial-training",
        "scale",
    )


def has_black_box(study: Study) -> bool:
    return bool(study.queries) or study.manifest["study"] == "black-box"


def has_transfer(study: Study) -> bool:
    return bool(trials(study)) or study.manifest["study"] == "transfer"


def verdicts(study: Study) -> list[Judged]:
    """One for each part that the study has, of those that make a claim: a redraw and an ablation only compare."""
    made = []
    ours, transferred = query_checks(study), transfer_checks(study)
    if has_white_box(study):
        others = (*ours, *transferred, *retrieval_checks(study))
        theirs = [check for check in study.of_kind("check") if check not in others]
        made.append(Judged("white-box", judge(study.attacks, theirs, retrieved=has_retrieved(study))))
    if has_black_box(study):
        made.append(Judged("black-box", judge_queries(contests(study), ours)))
    if has_transfer(study):
        made.append(Judged("transfer", judge_transfers(trials(study), transferred)))
    return made


def query_checks(study: Study) -> list[Record]:
    """The checks of the black-box part: those that looked at its records, or all where there is nothing else."""
    checks = study.of_kind("check")
    if not has_white_box(study) and not has_transfer(study):
        return checks
    keys = {cell.record.key for cell in study.queries} | {cell.record.key for cell in study.references}
    return [check for check in checks if keys & set(check.inputs)]


def judge_queries(found: Sequence[Contest], checks: Sequence[Record]) -> Verdict:
    """Judge from the query attacks.

    In this order: nearly all images fooled is the end of the claim, whatever other attacks failed at; a failed check
    spoils the rest; asking that beats a gradient means that the gradient was masked; a
    gradient that beats all asking means that the budget is what holds. Only then do the two networks compare.
    """
    skipped = _skipped(found, checks)
    failed = [
        f"The check “{check.name}” failed: {check.result.get('note') or check.result.get('expected')}."
        for check in checks
        if not check.result["passed"]
    ]
    if not any(check.name in _COUNTING and not check.result["passed"] for check in checks):
        broken = [sentence for contest in found if (sentence := _broken(contest)) is not None]
        if broken:
            return Verdict(BROKEN, (*broken, *failed), skipped)
    if failed:
        return Verdict(UNSOUND, tuple(failed), skipped)
    beside = [(contest, reference) for contest in found for reference in contest.references.get(DEFENDED, ())]
    signs = [pair for pair in beside if is_masked(*pair)] + [pair for pair in beside if is_budget(*pair)]
    if signs:
        reasons = [_reason(contest, reference.rule) for contest, reference in signs]
        return Verdict(MASKING if is_masked(*signs[0]) else BUDGET, tuple(reasons), skipped)
    lacking = _lacking(found, checks)
    if lacking:
        return Verdict(OPEN, (f"The records do not have {listed(lacking)} yet.",), skipped)
    contest = found[0]
    before, after = contest.strongest(BASELINE), contest.strongest(DEFENDED)
    assert before is not None
    assert after is not None
    words = (layer_words(contest) or "",)
    if beats(rate(before), rate(after)):
        return Verdict(HARDER, words, skipped)
    return Verdict(EASIER if beats(rate(after), rate(before)) else OPEN, words, skipped)


def _broken(contest: Contest) -> str | None:
    best = contest.strongest(DEFENDED)
    if best is None or rate(best).interval[0] < _NEARLY_ALL:
        return None
    told = {"labels": "the predicted class alone", "scores": "logits"}.get(best.access, best.access)
    low, high = (100 * bound for bound in rate(best).interval)
    return (
        f"{best.attack} sees {told} and fools {100 * rate(best).share:.1f}% ({low:.1f}–{high:.1f}) of the "
        f"{best.attacked:,} images that {DEFENDED} gets right, {contest.ball}, within {best.budget:,} queries an image."
    )


def _reason(contest: Contest, rule: str) -> str:
    rules = [reference.rule for reference in contest.references[DEFENDED]]
    return reference_words(contest, DEFENDED)[rules.index(rule)]


def _lacking(found: Sequence[Contest], checks: Sequence[Record]) -> list[str]:
    """What must be there before the two networks are compared."""
    contest = found[0] if found else None
    absent = [
        f"a query attack on images that {model} gets right"
        for model in (BASELINE, DEFENDED)
        if contest is None or contest.strongest(model) is None
    ]
    if contest is None or contest.reference(DEFENDED, "exact") is None:
        absent.append("white-box PGD with the true U at the same radius")
    return absent + ([] if checks else ["the sanity checks"])


def _skipped(found: Sequence[Contest], checks: Sequence[Record]) -> tuple[str, ...]:
    met = {cell.attack for contest in found for cell in contest.cells if cell.model == DEFENDED}
    rules = {x.rule for contest in found for x in contest.references.get(DEFENDED, ())}
    names = [a.name for a in QUERY_ATTACKERS if a.name not in met]
    names += [
        f"white-box PGD by {words}" for rule, words in (("dfa", "DFA"), ("exact", "exact U")) if rule not in rules
    ]
    return (*names, *(() if checks else ("the sanity checks",)))
