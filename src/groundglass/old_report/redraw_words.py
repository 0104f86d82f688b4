"""The redraw study in sentences. Each claims no more than intervals that are apart allow."""

from collections.abc import Sequence

from groundglass.core.statistics import Proportion
from groundglass.old_report.query_words import spoken
from groundglass.old_report.redraw_reading import Redraw, Survival
from groundglass.old_report.verdict import listed, percent


def tuning_words(redraws: Sequence[Redraw]) -> list[str]:
    """What a redraw does to the accuracy, whether tuning brings it back, and how long all of that takes."""
    before = _span([one.before for one in redraws])
    falls = all(one.untuned.clearly_below(one.before) for one in redraws)
    said = [
        f"With a new U and the old classifier, {redraws[0].model} {'falls' if falls else 'goes'} from {before} to "
        f"{_span([one.untuned for one in redraws])} of the {redraws[0].before.total:,} test images."
    ]
    restored = [one for one in redraws if one.is_restored]
    short = [one for one in redraws if not one.is_restored]
    if not short:
        after = f"each of the {len(redraws)} redraws" if len(redraws) > 1 else "the redraw"
        said.append(
            f"Tuning restores the accuracy to within 1 point after {after}: {_span([r.tuned for r in redraws])}, "
            f"in {_seconds([one.tune_seconds for one in redraws])}."
        )
    else:
        if restored:
            said.append(
                f"Tuning restores the accuracy to within 1 point after {len(restored)} of {len(redraws)} redraws, in "
                f"{_seconds([one.tune_seconds for one in restored])}."
            )
        missing = listed([f"{one.name} ({one.lost:.1f} points lost)" for one in short])
        said.append(f"Tuning does not restore the accuracy to within 1 point for {missing}.")
    said.append(f"Drawing the new U takes {_seconds([one.draw_seconds for one in redraws])}.")
    first = [one for one in redraws if not one.features_cached]
    if first:
        said.append(
            f"The features of the images, which no redraw changes, are computed once: "
            f"{_seconds([one.feature_seconds for one in first])}."
        )
    return said


def undone_words(survivals: Sequence[Survival]) -> list[str]:
    """Which attacks a redraw shakes off and which not, and why."""
    judged = [(one, pooled) for one in survivals if (pooled := one.pooled) is not None]
    if not judged:
        return []
    why = (
        "A redraw leaves the convolutions as they are: what moves the features far enough can still fool whatever "
        "classifier is fitted to them."
    )
    return [*group_words(survivals), why, *_border_words(judged)]


def group_words(survivals: Sequence[Survival]) -> list[str]:
    """Which attacks a redraw shakes off and which not, by intervals against one half."""
    judged = [(one, pooled) for one in survivals if (pooled := one.pooled) is not None]
    groups: dict[str, list[str]] = {"survive": [], "undone": [], "open": []}
    for one, pooled in judged:
        low, high = pooled.interval
        verdict = "survive" if low > 0.5 else "undone" if high < 0.5 else "open"
        groups[verdict].append(f"{_name(one, survivals)} ({percent(pooled.share)})")
    said = []
    if groups["survive"]:
        said.append(
            "A redraw does not undo these, since clearly more than half of their images that fooled the old network still "
            f"fool the new one: {listed(groups['survive'])}."
        )
    if groups["undone"]:
        said.append(f"A redraw undoes these, since clearly fewer than half still fool: {listed(groups['undone'])}.")
    if groups["open"]:
        said.append(f"Too close to one half to be told at this sample size: {listed(groups['open'])}.")
    return said


def afresh_words(survivals: Sequence[Survival]) -> list[str]:
    """A redraw undoes an attack until the attacker runs it again: what it leaves then."""
    made = [(one, again) for one in survivals if (again := one.pooled_afresh) is not None]
    if not any(one.made_on_old for one in survivals):
        return []
    if not made:
        return [
            "No attack was made afresh on a redrawn network, so these records cannot say what a redraw is worth against "
            "an attacker who comes back: it undoes an attack only until that attack is run again."
        ]
    works = [(one, again) for one, again in made if again.robust.clearly_below(again.clean)]
    idle = [(one, again) for one, again in made if not again.robust.clearly_below(again.clean)]
    said = []
    if works:
        left = listed([f"{_name(one, survivals)} leaves {spoken(again.robust)}" for one, again in works])
        said.append(f"And the attacker can run it again: made afresh on the redrawn network, {left}.")
    if idle:
        left = listed([f"{_name(one, survivals)} ({percent(again.robust.share)} left)" for one, again in idle])
        said.append(
            f"Made afresh, not clearly stronger than no attack: {left}. That is a weak attack, not a merit of the redraw."
        )
    return said


def _border_words(judged: Sequence[tuple[Survival, Proportion]]) -> list[str]:
    asked = [(one, pooled) for one, pooled in judged if one.by_queries]
    if not asked:
        return []
    names = listed(list(dict.fromkeys(one.label for one, _ in asked)))
    stops = f"By queries ({names}) an attack stops as soon as it fools, so its images lie at the border of the old network's"
    if all(pooled.interval[0] > 0.5 for _, pooled in asked):
        return [f"{stops} decision; that most still fool the new network is all the more telling."]
    return [f"{stops} decision, and a redraw shakes them off for that reason too, not only because U is another."]


def _name(one: Survival, among: Sequence[Survival]) -> str:
    """The label; with its radius where it was made at several."""
    return f"{one.label}, {one.ball}," if sum(s.label == one.label for s in among) > 1 else one.label


def _span(shares: Sequence[Proportion]) -> str:
    low, high = (percent(value) for value in (min(p.share for p in shares), max(p.share for p in shares)))
    return low if low == high else f"{low[:-1]}–{high}"


def _seconds(values: Sequence[float]) -> str:
    low, high = (f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in (min(values), max(values)))
    return f"{low} s" if low == high else f"{low} to {high} s"
