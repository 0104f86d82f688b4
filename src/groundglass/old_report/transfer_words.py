"""The transferred attacks in sentences.

None claims more than a paired test of the same images does, or, beside a white-box attack, intervals that are apart.
"""

from collections.abc import Sequence

from groundglass.core.statistics import Proportion
from groundglass.old_report.cells import BASELINE, data_name
from groundglass.old_report.query_words import spoken
from groundglass.old_report.transfer_trials import Gain, Trial, Yardstick
from groundglass.old_report.transfers import CONTROL, FEATURES, HIGHER, LOWER, PAPER, Crafted, Transferred
from groundglass.old_report.verdict import listed, percent

# Points of accuracy that the paper reports the layer to gain (its section 3.2.2).
PAPER_GAIN = {"cifar10": "+15 to +45", "cifar100": "+3 to +10"}
# An attack with the gradient of its own source should fool the source on all images, and surely on this share.
NEARLY_ALL = 0.9
_KNOWS = {
    "bp": "the true gradient",
    "dfa": "DFA's gradient",
    "exact": "the true matrix U",
    "bpda-fit-linear": "a linear fit to the device",
}


def set_words(trial: Trial) -> list[str]:
    """Which images these are, and where the attacks come from."""
    said = []
    if trial.common:
        common = trial.common
        said.append(
            f"Every attack starts from the {common.share.count:,} of the first {common.share.total:,} test images that "
            f"{listed(common.models)} all get right: untouched, each network is at 100% there, and whatever is lost the "
            "attack has taken."
        )
    sources = tuple(dict.fromkeys(name for one in trial.crafted for name in one.sources))
    if sources:
        said.append(
            f"The adversarial images were made on {listed(sources)}, which the attacker trained and knows whole, and "
            "then shown to networks whose weights no attack has used."
        )
    return said


def gain_words(trial: Trial, data: str) -> list[str]:
    """The paper's own comparison: each defended target beside VGG-16 under PGD, at each radius."""
    said = []
    for target in trial.defended:
        gains = trial.gains(target)
        if not gains:
            continue
        first, *others = gains
        at = [f"{signed(first.points)} points at {trial.written(first.eps)}"]
        at += [f"{signed(gain.points)} at {trial.written(gain.eps)}" for gain in others]
        said.append(f"Under the paper's PGD {target} differs from {BASELINE} by {listed(at)}{_chance(trial, gains)}.")
    if said and data in PAPER_GAIN:
        said.append(f"The paper reports {PAPER_GAIN[data]} points on {data_name(data)}.")
    return said


def _chance(trial: Trial, gains: Sequence[Gain]) -> str:
    unclear = [gain for gain in gains if not gain.is_clear]
    if not unclear:
        return ", more than chance explains" if len(gains) == 1 else ", each more than chance explains"
    total = min(gain.after.correct.total for gain in unclear)
    if len(unclear) == len(gains):
        return f", which {total:,} images cannot tell from nothing"
    return f"; at {listed([trial.written(gain.eps) for gain in unclear])}, {total:,} images cannot tell it from nothing"


def trade_words(trial: Trial, clean: dict[str, Proportion]) -> list[str]:
    """Whether the network with the lower clean accuracy withstands more, as the paper finds."""
    pairs = [
        (one, other)
        for eps in trial.radii
        if (one := trial.at(HIGHER, PAPER, eps)) is not None and (other := trial.at(LOWER, PAPER, eps)) is not None
    ]
    if not pairs:
        return []
    bought = [(a, b) for a, b in pairs if a.clearly_below(b)]
    lost = [(a, b) for a, b in pairs if b.clearly_below(a)]
    both = HIGHER in clean and LOWER in clean
    known = f" ({percent(clean[LOWER].share)} and {percent(clean[HIGHER].share)} right untouched)" if both else ""
    if not bought and not lost:
        total = min(a.correct.total for a, _ in pairs)
        return [
            f"The paper's trade of clean accuracy for robustness cannot be seen: {total:,} images do not tell {LOWER} "
            f"from {HIGHER}{known} under its PGD at any radius."
        ]
    said = []
    if bought:
        said.append(f"{LOWER} withstands more of that PGD than {HIGHER}{known} at {_radii(bought)}: " + _price(clean))
    if lost:
        again = "But it" if bought else LOWER
        said.append(
            f"{again} withstands less than {HIGHER}{'' if bought else known} at {_radii(lost)}: "
            "the opposite of the paper's trade of clean accuracy for robustness."
        )
    return said


def _price(clean: dict[str, Proportion]) -> str:
    """Whether the lower network is surely the lower on untouched images too, which makes it a trade."""
    if HIGHER not in clean or LOWER not in clean:
        return "what that costs in clean accuracy is not recorded yet."
    if clean[LOWER].clearly_below(clean[HIGHER]):
        return "the paper's trade of clean accuracy for robustness."
    return "but its clean accuracy is not clearly the lower, so that this is no trade of one for the other."


def control_words(trial: Trial, clean: dict[str, Proportion]) -> list[str]:
    """What an undefended network that was trained as short gains, where the defended one of lower accuracy gains most.

    Nothing where that one gains nothing sure.
    """
    found = [
        (gain, control, beside)
        for gain in trial.gains(LOWER)
        if (control := trial.gain(CONTROL, gain.eps)) and (beside := trial.gain(LOWER, gain.eps, beside=CONTROL))
    ]
    if not found:
        return []
    gain, control, beside = max(found, key=lambda three: three[0].points)
    if gain.points <= 0 or not gain.is_clear:
        return []
    both = CONTROL in clean and LOWER in clean
    known = f" ({percent(clean[CONTROL].share)} right untouched, {LOWER} {percent(clean[LOWER].share)})" if both else ""
    if not control.is_clear or control.points <= 0:
        start = f"An ordinary network is not seen to gain like {LOWER} by a short training"
    elif beside.is_clear and beside.points > 0:
        start = f"A part of what {LOWER} gains an ordinary network gains by a short training alone"
    else:
        start = f"All that {LOWER} gains an ordinary network gains by a short training alone, as far as it was tried"
    ahead = both and clean[LOWER].clearly_below(clean[CONTROL])
    unequal = f" {CONTROL} is right clearly more often untouched, which this does not make up for." if ahead else ""
    return [
        f"{start}: at {trial.ball(gain.eps)}, where {LOWER} gains most over {BASELINE}, {signed(gain.points)} points, {CONTROL}"
        f"{known} differs from {BASELINE} by {signed(control.points)}{_chance(trial, [control])}, and {LOWER} from {CONTROL} by "
        f"{signed(beside.points)}{_chance(trial, [beside])}.{unequal}"
    ]


def feature_words(trial: Trial) -> list[str]:
    """What each defended network keeps beside the one that has its features and no layer, under the paper's PGD."""
    said = []
    for target in trial.defended:
        features = FEATURES.get(target, "")
        gains, layer = trial.gains(target), trial.gains(target, beside=features)
        if not gains or not layer:
            continue
        most = max(gains, key=lambda gain: gain.points)
        own = next((gain for gain in layer if gain.eps == most.eps), layer[-1])
        if any(gain.is_clear for gain in layer):
            means = ""
        elif most.is_clear and most.points > 0:
            means = f" What it gains over {BASELINE} is its features', as far as these images can tell, and not the layer's."
        else:
            means = " The layer does nothing here that these images can tell."
        said.append(
            f"{features} has the features of {target} and no layer: at {trial.ball(own.eps)} {target} differs from it by "
            f"{signed(own.points)} points{_chance(trial, [own])}.{means}"
        )
    return said


def _radii(pairs: Sequence[tuple[Transferred, Transferred]]) -> str:
    return listed([f"{a.radius} ({percent(b.correct.share)} against {percent(a.correct.share)})" for a, b in pairs])


def strongest_words(trial: Trial) -> list[str]:
    """At the radius to judge at: who gets furthest on each target, and what that leaves of the gain."""
    eps = trial.headline
    if eps is None or all(len(trial.tried(target, eps)) < 2 for target in trial.targets):
        return []
    best = [cell for target in trial.targets if (cell := trial.strongest(target, eps)) is not None]
    return [
        f"At {trial.ball(eps)} the strongest attack tried leaves {'; '.join(_strongest(trial, cell) for cell in best)}.",
        *(said for target in trial.defended if (said := remaining(trial, target, eps)) is not None),
    ]


def _strongest(trial: Trial, best: Transferred) -> str:
    paper = trial.at(best.target, PAPER, best.eps)
    if best.label == PAPER:
        return f"{best.target} {spoken(best.correct)}, by the paper's PGD itself"
    chance = "" if paper is None or best.clearly_below(paper) else ", which chance may explain"
    beside = f", where the paper's PGD leaves {percent(paper.correct.share)}{chance}" if paper else ""
    return f"{best.target} {spoken(best.correct)}, by {best.label} made on {listed(best.sources)}{beside}"


_ALONE, _STRONGEST = "Under the paper's PGD alone", "Strongest against strongest"


def remaining(trial: Trial, target: str, eps: float) -> str | None:
    """What the strongest attack on each leaves of the gain over its peer; None where one of the two was not tried."""
    peer = trial.peer(target)
    gain, paper = trial.gain(target, eps, label=None, beside=peer), trial.gain(target, eps, beside=peer)
    if gain is None:
        return None
    alone = {gain.before.label, gain.after.label} == {PAPER}
    start = f"{_ALONE if alone else _STRONGEST}, at {trial.written(eps)}"
    was = "" if alone or paper is None else f" ({signed(paper.points)} under the paper's PGD)"
    if gain.is_clear:
        side = "above" if gain.points > 0 else "below"
        whole = trial.gain(target, eps, label=None) if peer != BASELINE and gain.points > 0 else None
        beside = f"; above {BASELINE} it is {whole.points:.0f}" if whole and whole.points > 0 else ""
        return f"{start}, {target} is {abs(gain.points):.0f} points {side} {peer}{was}{beside}."
    total = min(gain.before.correct.total, gain.after.correct.total)
    return (
        f"{start}, {total:,} images cannot tell {target} ({percent(gain.after.correct.share)}) from {peer} "
        f"({percent(gain.before.correct.share)}): nothing sure is left of a gain{was}."
    )


def yardstick_words(trial: Trial, targets: Sequence[str]) -> list[str]:
    """What white-box attacks leave of the same images, beside the strongest transferred attack; like with like."""
    alike: dict[tuple[str, float], list[tuple[Transferred, Yardstick]]] = {}
    for target in targets:
        radii = [eps for eps in trial.radii if trial.yardstick(target, eps) and trial.strongest(target, eps)]
        if not radii:
            continue
        eps = trial.headline if trial.headline in radii else radii[-1]
        yardstick, best = trial.yardstick(target, eps), trial.strongest(target, eps)
        assert yardstick is not None
        assert best is not None
        alike.setdefault((_outcome(best, yardstick), eps), []).append((best, yardstick))
    return [_beside(trial, outcome, pairs) for (outcome, _), pairs in alike.items()]


def masking_words(trial: Trial, best: Transferred, yardstick: Yardstick) -> str:
    """That a transferred attack got further than one with the weights."""
    return _beside(trial, _MASKED, [(best, yardstick)])


_WEIGHTS = "what holds against transfer is no robustness against whoever holds the weights"
_MASKED = (
    "an attack that knows less gets further, so the white-box gradient was masked (Athalye et al. 2018) and its figure "
    "is not robustness"
)
_UNTOLD = "this sample cannot tell the two apart"


def _outcome(best: Transferred, yardstick: Yardstick) -> str:
    if yardstick.left.clearly_below(best.correct):
        return _WEIGHTS
    return _MASKED if best.correct.clearly_below(yardstick.left) else _UNTOLD


def _beside(trial: Trial, outcome: str, pairs: Sequence[tuple[Transferred, Yardstick]]) -> str:
    """One sentence of targets that fare alike at one radius."""
    said = [
        f"{best.target} {percent(yardstick.left.share)} with {_KNOWS.get(yardstick.rule, yardstick.label)} "
        f"(transferred, {best.label} leaves {percent(best.correct.share)})"
        for best, yardstick in pairs
    ]
    fewest = min(yardstick.left.total for _, yardstick in pairs)
    images = "the same images" if fewest == pairs[0][0].correct.total else f"{fewest:,} of the same images"
    methods = listed(list(dict.fromkeys(yardstick.cell.attack for _, yardstick in pairs)))
    return (
        f"With the weights in hand, white-box {methods} at {trial.written(pairs[0][0].eps)} leaves {listed(said)}, over "
        f"{images}: {outcome}."
    )


def source_words(trial: Trial) -> list[str]:
    """Attacks that do not fool even the networks they were made on, each at its largest radius."""
    largest: dict[str, Crafted] = {}
    for one in trial.crafted:
        if "none" not in one.rules and (one.label not in largest or one.eps > largest[one.label].eps):
            largest[one.label] = one
    if not largest:
        return []
    short = [one for one in largest.values() if one.fooled.count < one.fooled.total]
    if not short:
        return ["Each attack fools its own source on every image at its largest radius, as it should."]
    said = listed([f"{one.label} {percent(one.fooled.share)} at {one.radius}" for one in short])
    weak = any(is_weak(one) for one in short)
    return [
        f"An attack should fool the network it was made on every time. Not all do: {said}"
        + (", so that what a target withstands is partly the attack's own weakness." if weak else ".")
    ]


def is_weak(one: Crafted) -> bool:
    """Whether an attack surely fails on its own source more often than it may."""
    return one.fooled.interval[1] < NEARLY_ALL


def signed(points: float) -> str:
    """ "+12" or "−3" points, as the paper writes them."""
    return f"{points:+.0f}".replace("-", "−").replace("−0", "0").replace("+0", "0")
