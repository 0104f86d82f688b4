"""What the transferred attacks say about the claim."""

from collections.abc import Sequence

from groundglass.old_report.cells import BASELINE
from groundglass.old_report.study import Study
from groundglass.old_report.transfer_trials import PURPOSE, Trial
from groundglass.old_report.transfer_words import is_weak, masking_words, remaining, yardstick_words
from groundglass.old_report.transfers import PAPER
from groundglass.old_report.verdict import MASKING, OPEN, Verdict, listed, percent
from groundglass.results.records import Record

THROUGH = "attacks transfer through: the layer buys nothing sure"
HARDER = "harder to transfer to, as far as it was tried"
EASIER = "the layer makes transfer easier"
UNSOUND = "not to be relied on yet"

TRANSFER_TONES = {THROUGH: "bad", HARDER: "good", EASIER: "bad", UNSOUND: "bad", MASKING: "bad", OPEN: "open"}


def transfer_checks(study: Study) -> list[Record]:
    """The checks of the transfer part: those that looked at its records, or all in a study of nothing else."""
    checks = study.of_kind("check")
    if study.manifest["study"] == "transfer":
        return checks
    records = [record for kind in ("craft", "transfer") for record in study.of_kind(kind)]
    keys = {record.key for record in records if record.config.get("purpose") == PURPOSE}
    return [check for check in checks if keys & set(check.inputs)]


def judge_transfers(found: Sequence[Trial], checks: Sequence[Record]) -> Verdict:
    """Judge from the transferred attacks, in the first norm that was tried, at its headline radius.

    In this order: a failed check spoils all; a transferred attack that gets further than one with the weights means
    that the latter's gradient was masked; then each defended network under the strongest attack on it stands beside
    its peer, the undefended network that is most like it (`Trial.peer`), under the strongest on that. "Harder" needs every
    one of: attacks beyond the paper's PGD, the same attacks on both, one that fools its own source, a white-box yardstick, and
    checks. "Through" needs the same attacks alone.
    """
    trial = next(iter(found), None)
    eps = trial.headline if trial else None
    skipped = _skipped(trial, eps, checks)
    failed = tuple(
        f"The check “{check.name}” failed: {check.result.get('note') or check.result.get('expected')}."
        for check in checks
        if not check.result["passed"]
    )
    if failed:
        return Verdict(UNSOUND, failed, skipped)
    if trial is None or eps is None:
        lacking = f"the paper's PGD on both {BASELINE} and a defended network"
        return Verdict(OPEN, (f"The records do not have {lacking} yet.",), skipped)
    masked = _masked(trial)
    if masked:
        return Verdict(MASKING, masked, skipped)
    uneven = _uneven(trial, eps)
    gains = [
        gain for target in trial.defended if (gain := trial.gain(target, eps, label=None, beside=trial.peer(target)))
    ]
    helps = any(gain.is_clear and gain.points > 0 for gain in gains)
    lacking_here = [*uneven, *(_lacking(trial, eps, checks) if helps else [])]
    if lacking_here:
        return Verdict(OPEN, (f"The records do not have {listed(lacking_here)} yet.",), skipped)
    words = tuple(said for target in trial.defended if (said := remaining(trial, target, eps)) is not None)
    if helps:
        return Verdict(HARDER, (*words, *yardstick_words(trial, trial.defended)), skipped)
    hurts = any(gain.is_clear for gain in gains)
    return Verdict(EASIER if hurts else THROUGH, (*words, *_smaller(trial, eps)), skipped)


def _masked(trial: Trial) -> tuple[str, ...]:
    """A sentence a defended network: where a transferred attack most clearly beats every white-box attack."""
    said = []
    for target in trial.defended:
        signs = [
            (yardstick.left.share - best.correct.share, best, yardstick)
            for eps in trial.radii
            if (best := trial.strongest(target, eps)) is not None
            and (yardstick := trial.yardstick(target, eps)) is not None
            and best.correct.clearly_below(yardstick.left)
        ]
        if signs:
            _, best, yardstick = max(signs, key=lambda sign: sign[0])
            said.append(masking_words(trial, best, yardstick))
    return tuple(said)


def _smaller(trial: Trial, eps: float) -> list[str]:
    """The smaller radii at which something sure is left of the gain, although nothing is at the largest."""
    said = []
    for target in trial.defended:
        gains = trial.gains(target, label=None, beside=trial.peer(target))
        clear = [gain for gain in gains if gain.eps < eps and gain.is_clear and gain.points > 0]
        # Where only the paper's PGD was tried its gain says nothing about stronger attacks.
        clear = [gain for gain in clear if len(trial.tried(target, gain.eps)) > 1]
        if clear:
            at = listed([f"{gain.points:.0f} points at {trial.written(gain.eps)}" for gain in clear])
            said.append(f"At smaller radii {target} keeps a gain: {at}.")
    return said


def _uneven(trial: Trial, eps: float) -> list[str]:
    """Attacks that met one of two networks alone, so that their strongest attacks do not compare."""
    peers = map(trial.peer, trial.defended)
    networks = dict.fromkeys((BASELINE, *peers, *trial.defended))
    tried = {target: {cell.label for cell in trial.tried(target, eps)} for target in networks}
    every = sorted(set().union(*tried.values()))
    return [
        f"{listed([label for label in every if label not in labels])} on {target} at {trial.written(eps)}"
        for target, labels in tried.items()
        if labels != set(every)
    ]


def _lacking(trial: Trial, eps: float, checks: Sequence[Record]) -> list[str]:
    """What must be there before a network is called harder to transfer to."""
    radius = trial.written(eps)
    labels = {cell.label for target in trial.defended for cell in trial.tried(target, eps)}
    crafted = [one for label in sorted(labels) if (one := trial.craft(label, eps)) is not None]
    absent = [] if labels - {PAPER} else [f"an attack beyond the paper's PGD at {radius}"]
    if not crafted or all(is_weak(one) for one in crafted):
        best = max((one.fooled.share for one in crafted), default=None)
        told = "" if best is None else f" (the best fools {percent(best)} of them)"
        absent.append(f"an attack that fools its own source on nearly all images at {radius}{told}")
    absent += [
        f"a white-box attack on {target} at {radius}"
        for target in trial.defended
        if trial.yardstick(target, eps) is None
    ]
    return absent + ([] if checks else ["the sanity checks"])


def _skipped(trial: Trial | None, eps: float | None, checks: Sequence[Record]) -> tuple[str, ...]:
    """What a complete judgement needs and the records lack."""
    tried = [cell for target in trial.defended for cell in trial.tried(target, eps)] if trial and eps else []
    names = [] if any(cell.label != PAPER for cell in tried) else ["attacks beyond the paper's PGD"]
    own = any(rule == "exact" for cell in tried for rule in cell.rules)
    names += [] if own else ["an attack made on a defended network of the attacker's own"]
    names += [] if trial and trial.yardsticks else ["white-box attacks on the same images"]
    return (*names, *(() if checks else ("the sanity checks",)))
