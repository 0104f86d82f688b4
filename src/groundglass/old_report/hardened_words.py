"""The study of adversarial training in sentences. Each claims no more than intervals that are apart allow."""

from collections.abc import Sequence

from groundglass.old_report.cells import BASELINE, DEFENDED
from groundglass.old_report.hardened_reading import Ball, Comparison, Difference, Hardened
from groundglass.old_report.query_words import spoken
from groundglass.old_report.verdict import listed, percent


def hardened_words(found: Hardened) -> list[str]:
    """What the layer buys, what adversarial training buys and costs; an entry a subject, none of what is not there."""
    on_nothing, on_training, without, with_layer = found.comparisons
    said = [
        _bought("On top of nothing the layer", on_nothing, found.balls) + _credited(found),
        _bought("On top of adversarial training the layer", on_training, found.balls),
        _bought("Without the layer adversarial training", without, found.balls),
        _bought("With the layer adversarial training", with_layer, found.balls),
        _cost([without, with_layer]),
    ]
    return [words for words in said if words]


def hardened_answer(found: Hardened) -> str:
    """Layer and adversarial training side by side, in a sentence or two."""
    _, layer, *trainings = found.comparisons
    judged = [one for one in trainings if any(part is not None for part in one.worst)]
    layer_judged = any(part is not None for part in layer.worst)
    if not judged and not layer_judged:
        return (
            "What adversarial training is worth in the worst case, and what the layer adds to it, cannot be said yet: the "
            "audits that it takes are not done."
        )
    said = []
    if judged:
        hardens = any(_direction(one) == "more" for one in judged)
        does = (
            "withstands the strongest attacks here better"
            if hardens
            else "is not seen to withstand more in the worst case"
        )
        said.append(f"What is trained on adversarial images {does}.")
    told = {
        "more": "On top of adversarial training the layer still adds robustness in the worst case.",
        "less": "The layer takes some of what adversarial training gives.",
        "mixed": "On top of adversarial training the layer adds at one radius and takes at another.",
        "none": "On top of adversarial training the layer adds nothing that these images can show.",
    }
    if layer_judged:
        said.append(told[_direction(layer)])
    return " ".join(said)


def _direction(one: Comparison) -> str:
    """ "more", "less", "mixed", or "none" where no interval is apart."""
    signs = {points > 0 for points in one.clear}
    return "none" if not signs else "mixed" if len(signs) > 1 else "more" if signs == {True} else "less"


def _bought(subject: str, one: Comparison, balls: Sequence[Ball]) -> str:
    """What a change does in the worst case, at each radius."""
    made = [(ball, part) for ball, part in zip(balls, one.worst, strict=True) if part is not None]
    if not made:
        return ""
    does = {
        "more": "buys robustness in the worst case",
        "less": "costs robustness in the worst case",
        "mixed": "buys at one radius and costs at another, in the worst case",
        "none": "buys nothing clear in the worst case",
    }[_direction(one)]
    return f"{subject} {does}: {'; '.join(_at(ball, part, one) for ball, part in made)}."


def _at(ball: Ball, part: Difference, one: Comparison) -> str:
    apart = "intervals apart" if part.is_clear else "the intervals overlap"
    return (
        f"at {ball.name} {one.more.name} keeps {spoken(part.more)} right and {one.less.name} {spoken(part.less)}, "
        f"{signed(part.points)} points, {apart}"
    )


def _credited(found: Hardened) -> str:
    """What the paper's attacks would have credited the layer with, where that is more."""
    said = []
    for ball in found.balls:
        defended, baseline = found.named(DEFENDED).at(ball), found.named(BASELINE).at(ball)
        if defended is None or baseline is None or not defended.by_paper:
            continue
        claim = Difference(defended.claimed, baseline.claimed)
        if claim.is_clear and defended.worst.clearly_below(defended.claimed):
            said.append(f"{signed(claim.points)} points at {ball.name}")
    return f" The paper's attacks would have credited it with {listed(said)}." if said else ""


def _cost(pairs: Sequence[Comparison]) -> str:
    """What adversarial training costs in clean accuracy."""
    said = []
    for one in pairs:
        if one.clean is not None:
            kind = "costs" if one.clean.points < 0 else "gains"
            clear = "" if one.clean.is_clear else ", which the intervals cannot tell from none"
            said.append(
                f"{kind} {one.less.name} {abs(one.clean.points):.1f} points of clean accuracy "
                f"({percent(one.clean.less.share)} to {percent(one.clean.more.share)} of {one.clean.more.total:,}{clear})"
            )
    return f"Adversarial training {listed(said)}." if said else ""


def hollow_words(found: Hardened) -> str:
    """Whose claim is by the paper's attacks: shown hollow in the figure."""
    names = [n.name for n in found.networks if any(a.found is not None and a.found.by_paper for a in n.audits)]
    return listed(names) if names else ""


def missing_words(found: Hardened) -> list[str]:
    """Which of the four networks are not trained, and which not audited."""
    untrained = [n.name for n in found.networks if n.clean is None]
    unaudited = [n.name for n in found.networks if not n.audits]
    said = [f"Not trained here yet: {listed(untrained)}."] if untrained else []
    return [*said, f"Not audited yet: {listed(unaudited)}."] if unaudited else said


def signed(points: float) -> str:
    """ "+3.5", "−3.5"; no sign of nothing."""
    return "0.0" if abs(points) < 0.05 else f"{points:+.1f}".replace("-", "−")
