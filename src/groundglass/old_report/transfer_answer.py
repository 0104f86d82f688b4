"""The transferred attacks at the head of the page."""

from groundglass.old_report.bars import Bar, Chart
from groundglass.old_report.study import Study
from groundglass.old_report.style import transfer_style
from groundglass.old_report.transfer_tables import untouched
from groundglass.old_report.transfer_trials import Trial, trials
from groundglass.old_report.transfer_words import (
    control_words,
    feature_words,
    gain_words,
    strongest_words,
    yardstick_words,
)
from groundglass.old_report.verdict import Verdict, listed


def transfer_answer(study: Study, verdict: Verdict) -> tuple[list[str], Chart | None]:
    """Sentences and bars of the first norm that was tried; nothing while there is none.

    What the verdict gives as its reasons is not said twice.
    """
    found = trials(study)
    if not found or not found[0].curves:
        return [], None
    trial = found[0]
    said = [
        *gain_words(trial, study.manifest["data"]),
        *control_words(trial, {network.name: network.clean for network in untouched(study, trial)}),
        *feature_words(trial),
        *strongest_words(trial),
        *yardstick_words(trial, trial.defended),
    ]
    return [sentence for sentence in said if sentence not in verdict.reasons], _chart(trial)


def _chart(trial: Trial) -> Chart | None:
    eps = trial.headline
    if eps is None:
        return None
    bars = []
    for target in trial.targets:
        bars += [
            Bar(f"{target} ← {cell.label}", transfer_style(cell.label), cell.correct, f"made on {listed(cell.sources)}")
            for cell in trial.tried(target, eps)
        ]
        there = [one for one in trial.yardsticks if (one.target, one.eps) == (target, eps)]
        bars += [Bar(f"{target} ← {one.label}", one.rule, one.left, "white-box") for one in there]
    return Chart(
        title=f"What each transferred attack leaves, {trial.ball(eps)}",
        bars=tuple(bars),
        note=(
            "Share of the images that every network gets right untouched; white-box attacks on those of them that they "
            "were tried on. The thin line is the 95% Wilson interval."
        ),
    )
