"""The query attacks in sentences. Each claims no more than intervals that are apart allow."""

from collections.abc import Sequence

from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import BASELINE, DEFENDED
from groundglass.old_report.contests import Contest, Reference, beats, rate
from groundglass.old_report.queries import QueryCell
from groundglass.old_report.verdict import listed, percent

# Words for whose gradient a white-box attack on the network follows.
_GRADIENT = {"bp": "the true gradient", "dfa": "DFA's gradient", "exact": "the true U"}
_PAPER_CLAIM = (
    "The paper reports, on CIFAR-10, 5 points fewer successes for NES and 10 fewer for bandits, and 70% instead of 100% "
    "for the parsimonious attack."
)


def strongest_words(contest: Contest) -> list[str]:
    """A sentence a network: which attack fools most, how many, and at what price."""
    said = []
    for model in contest.models:
        best = contest.strongest(model)
        if best is None:
            said.append(f"{model} gets none of the images right, so that there was nothing to attack.")
        elif rate(best).count == 0:
            said.append(
                f"No query attack fools {model} on any of the {best.attacked:,} images that it gets right, within "
                f"{best.budget:,} queries an image."
            )
        else:
            median = f", with a median of {best.median:,.0f} queries" if best.median is not None else ""
            said.append(
                f"On {model} the strongest query attack is {best.attack}: it fools {spoken(rate(best))} of the "
                f"{best.attacked:,} images that the network gets right{median}."
            )
    return said


def difference_words(contest: Contest, data: str) -> list[str]:
    """VGG-OPU beside VGG-16, attack by attack; and the paper's own claim, where it speaks of the same data."""
    pairs = contest.pairs
    if not pairs:
        return []
    lower = [(a, b) for a, b in pairs if beats(rate(a), rate(b))]
    higher = [(a, b) for a, b in pairs if beats(rate(b), rate(a))]
    open_ = [pair for pair in pairs if pair not in lower and pair not in higher]
    said = []
    if lower:
        said.append(
            f"The layer makes it harder for {listed([_against(*pair) for pair in lower])}: {DEFENDED} against {BASELINE}."
        )
    if higher:
        said.append(
            f"The layer makes it easier for {listed([_against(*pair) for pair in higher])}: {DEFENDED} against {BASELINE}."
        )
    if open_:
        points = listed([f"{b.attack} ({100 * (rate(b).share - rate(a).share):+.0f} points)" for a, b in open_])
        total = min(min(a.attacked, b.attacked) for a, b in open_)
        said.append(
            f"For {points.replace('-', '−')} the sample of {total:,} images cannot tell whether the layer helps or hurts."
        )
    if (
        data == "cifar10"
        and contest.norm == "linf"
        and any(b.attack in ("NES", "Bandits", "Parsimonious") for _, b in pairs)
    ):
        said.append(_PAPER_CLAIM)
    return said


def layer_words(contest: Contest) -> str | None:
    """Strongest against strongest: what the layer bought against whoever may only ask."""
    before, after = contest.strongest(BASELINE), contest.strongest(DEFENDED)
    if before is None or after is None:
        return None
    a, b = rate(before), rate(after)
    if beats(a, b) or beats(b, a):
        does, points = "lowers" if beats(a, b) else "raises", 100 * abs(a.share - b.share)
        return f"Strongest against strongest, the layer {does} the success of query attacks by {points:.0f} points."
    return f"Strongest against strongest, {min(a.total, b.total):,} images cannot tell the defended network from the other."


def reference_words(contest: Contest, model: str) -> list[str]:
    """The strongest query attack beside white-box PGD at the same radius, a sentence a gradient."""
    best = contest.strongest(model)
    if best is None:
        return []
    return [_beside(best, reference, contest) for reference in contest.references.get(model, ())]


def is_masked(contest: Contest, reference: Reference) -> bool:
    """Whether asking beats that gradient, which sees more: then the gradient is bad."""
    best = contest.strongest(DEFENDED)
    return best is not None and beats(rate(best), reference.fooled)


def is_budget(contest: Contest, reference: Reference) -> bool:
    """Whether that gradient fools more than any query attack does within its budget."""
    best = contest.strongest(DEFENDED)
    return best is not None and beats(reference.fooled, rate(best))


def _beside(best: QueryCell, reference: Reference, contest: Contest) -> str:
    asked, seen = rate(best), reference.fooled
    gradient = _GRADIENT.get(reference.rule, reference.rule)
    both = (
        f"{best.attack} fools {percent(asked.share)} of {best.model}'s images and white-box PGD with {gradient} "
        f"{percent(seen.share)}"
    )
    if beats(seen, asked):
        if best.model == BASELINE:
            return f"{both}: gradients get further than {best.budget:,} queries."
        return (
            f"{both}: what {best.model} shows under queries is the attackers' budget of {best.budget:,} queries, "
            "not robustness."
        )
    if beats(asked, seen):
        if reference.rule == "dfa":
            return (
                f"{both}, at the same radius: an attack that is given no gradient at all gets further, so what DFA "
                "leaves was gradient masking (Athalye et al. 2018), not robustness."
            )
        if reference.rule == "exact":
            return (
                f"{both}, at the same radius: even the true matrix gives a bad gradient here, since the slope of the "
                "binarisation is a guess, and that is gradient masking too (Athalye et al. 2018)."
            )
        return f"{both}, at the same radius: whoever sees more got less far, so this PGD is too weak a yardstick."
    return f"{both}: this sample cannot tell the two apart."


def flat_words(cells: Sequence[QueryCell]) -> str | None:
    """Gradient estimates that were exactly zero, where there were any."""
    flat = [f"{_share(cell.flat)} of those of {cell.attack} on {cell.model}" for cell in cells if cell.flat]
    if not flat:
        return None
    return (
        f"Gradient estimates that were exactly zero: {listed(flat)}. A loss that does not move when the image does is "
        "gradient masking as a black-box attacker meets it; it says nothing about attacks that estimate no gradient."
    )


def spoken(share: Proportion) -> str:
    """A share with its interval: "70.0% (60.4–78.1)"."""
    low, high = share.interval
    return f"{percent(share.share)} ({100 * low:.1f}–{100 * high:.1f})"


def _against(before: QueryCell, after: QueryCell) -> str:
    return f"{after.attack} ({percent(rate(after).share)} against {percent(rate(before).share)})"


def _share(share: float | None) -> str:
    assert share
    return percent(share) if share >= 0.0005 else "less than 0.1%"
