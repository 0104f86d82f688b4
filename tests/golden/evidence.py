"""Figures of sentences that no table has: tests of pairs of networks, and extremes over radii.

They are computed from the committed records by the package's own statistics. Runs are folders of docs/results, radii are in L-inf
and in pixels of 255, p is exact McNemar's.
"""

from collections.abc import Iterable
from functools import cache

from groundglass.adaptive.attackers import attacker
from groundglass.core.statistics import Difference, Outcomes, differs, gain, holm
from groundglass.report.words import clean_accuracies
from groundglass.results.kinds import QUERY
from groundglass.results.kinds.query import QueryResult
from groundglass.studies.layer import report as layers
from groundglass.studies.secret import report as secret
from groundglass.studies.transfer.report import Trial
from groundglass.studies.white_box.ladder import Ladder
from tests.golden.prose import Figure
from tests.runs import committed

#: VGG-OPUs of the transfer study, and what their features were trained in.
FEATURES = (("VGG-OPU higher", "VGG-DFA"), ("VGG-OPU lower", "VGG-DFA lower"))


def p(value: float) -> Figure:
    """As tables write it: "< .001" below that."""
    return Figure(max(value, 0.001))


def _left(run: str, network: str, eps: float) -> dict[str, Outcomes]:
    """By each rule of the white-box figure, which images PGD with it leaves of a network at this radius."""
    found = committed(run).attacks
    near = (found["radius"] - eps / 255).abs() < 0.01 * eps / 255
    own = (
        (found["network"] == network)
        & (found["norm"] == "linf")
        & (found["attack"] == "PGD")
        & (found["purpose"] == "figure")
    )
    return {str(rule): committed(run).right_under(list(some.index)) for rule, some in found[near & own].groupby("rule")}


def kept(run: str, network: str, rule: str, eps: float) -> Outcomes:
    """Which images an attack of the white-box figure leaves."""
    return _left(run, network, eps)[rule]


def all_together(run: str, eps: float) -> Outcomes:
    """Which images of VGG-OPU all attackers without U leave."""
    each = [left for rule, left in _left(run, "VGG-OPU", eps).items() if attacker(rule).possible]
    return {image: all(one[image] for one in each) for image in each[0]}


def compared(first: Outcomes, second: Outcomes) -> Difference:
    """By how many points the first keeps more; its p is not corrected."""
    found = differs(first, second)
    assert found is not None
    return found


@cache
def seed_p(run: str) -> list[float]:
    """What attackers with the lower weights leave of VGG-OPU beside VGG-16 under backpropagation: p of own-head and bit-flip at
    three radii each, corrected for the six."""
    pairs = [
        (kept(run, "VGG-OPU", rule, eps), kept(run, "VGG-16", "bp", eps))
        for rule in ("own-head", "bit-flip")
        for eps in (1.275, 2.55, 6.375)
    ]
    return holm([compared(*pair).p for pair in pairs])


@cache
def rungs_p(run: str, eps: float) -> dict[str, float]:
    """The corrected p of each rung of the access ladder, beside backpropagation against VGG-16."""
    ladder = Ladder(committed(run).of("white-box"))
    return ladder.gains(min(ladder.radii, key=lambda radius: abs(radius - eps / 255))).corrected


@cache
def _trial(run: str) -> Trial:
    return Trial(committed(run).of("transfer"))


def transferred(run: str, first: str, second: str) -> list[Figure]:
    """Points that the first network keeps more than the second under the paper's attack, at every radius of its figure."""
    trial = _trial(run)
    return [Figure(found[0]) for eps in trial.met if (found := trial.gain((first, second), eps, "PGD"))]


def features_differ(run: str) -> tuple[int, list[tuple[float, float]]]:
    """How many comparisons there are of a VGG-OPU with its features, and points and corrected p of those that stand."""
    family = _trial(run).families[FEATURES[0]]
    own = {key: found for key, found in family.found.items() if found and key[:2] in FEATURES}
    return len(own), [(found.points, family.corrected[key]) for key, found in own.items() if family.stands(key)]


def secret_p(of: str, eps: float) -> tuple[float, float]:
    """The p of what all of U, or of B, takes beyond an own head, and the same corrected."""
    family = secret.gains(committed("secret/cifar10").of("secret"))
    key = min((key for key in family.found if key[0] == of), key=lambda key: abs(key[1] - eps / 255))
    found = family.found[key]
    assert found is not None
    return found.p, family.corrected[key]


def clean_p(run: str, pairs: Iterable[tuple[str, str]]) -> float:
    """The largest p of pairs of clean accuracies."""
    clean = clean_accuracies(committed(run))
    found = [differs(clean[first], clean[second]) for first, second in pairs]
    return max(one.p for one in found if one)


def layer_reach(run: str) -> float:
    """The upper end of the highest 95% interval of what a layer gains, points."""
    found = [gain(*left) for layer in layers.layers(committed(run).of("layer")) for left in layer.left.values()]
    return max(100 * one.interval[1] for one in found if one)


def asked(run: str, network: str, attack: str, **settings: object) -> QueryResult:
    """What one setting of an attack by queries came to, also of those that no table shows."""
    entries = committed(run).entries(QUERY)
    (found,) = (
        one.result
        for one in entries
        if (one.config.model, one.config.attack, one.config.purpose) == (network, attack, "figure")
        and settings.items() <= one.config.settings.items()
    )
    return found
