"""The paper's Figure 4, and past it: images made on an attacker's own networks, tried on defended and ordinary ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from groundglass.attacks import PGD, GaussianKernel, InputDiversity, TransferPGD, paper_eps_to_pixels
from groundglass.core import derive_seed
from groundglass.core.settings import Count, Tally
from groundglass.core.statistics import Difference, Family, differs
from groundglass.data import Dataset
from groundglass.results import Record
from groundglass.results.kinds import ATTACK, CRAFT, TRANSFER, Entry
from groundglass.results.kinds.craft import TransferConfig as TriedConfig
from groundglass.results.kinds.craft import TransferResult
from groundglass.studies import kit
from groundglass.studies.cells.attack import AttackCell, widest
from groundglass.studies.cells.check import Check, Found, check_cells, entries, kept
from groundglass.studies.cells.craft import CommonCell, CraftCell, TransferCell
from groundglass.studies.cells.network import NetworkCell, PlaceCell, TrainCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import AS_GOOD, CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.studies.workstation import lower, networks
from groundglass.training import Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING


@dataclass(frozen=True, kw_only=True)
class TransferConfig(kit.TargetsConfig):
    """A transfer study, complete. `hybrid` trains the features of the VGG-OPU of higher accuracy.

    Attributes:
        lower: how the features of the VGG-OPU of lower accuracy are trained.
        lower_classifier: fits its classifier.
        baseline_lower: how a VGG-16 of lower accuracy is trained, a control of that network: what a short training buys
            without any layer. With it the features of both VGG-OPUs are targets too, under the linear head that they were
            trained under: what they withstand the layer did not bring. None leaves the three out.
        attacker: how the attacker trains the features of a VGG-OPU of their own, with another U; None leaves out
            the attacks that have it as a source.
        eps_paper: L-inf radii on the paper's axis, for the paper's attack.
        stronger_eps_paper: for the stronger ones and for the white-box yardsticks; some of `eps_paper`.
        steps, step_paper: of the paper's PGD; the step on the paper's axis.
        stronger_steps: of the stronger attacks, each of 2.5 times radius / steps.
    """

    n_images: Count
    lower: TrainingConfig
    lower_classifier: TrainingConfig
    baseline_lower: TrainingConfig | None = None
    attacker: TrainingConfig | None = None
    eps_paper: tuple[kit.PaperRadius, ...] = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)
    stronger_eps_paper: tuple[kit.PaperRadius, ...] = (0.02, 0.04, 0.06, 0.1)
    steps: Count = 50
    step_paper: kit.PaperRadius = 0.01
    stronger_steps: Count = 20
    fit_images: Tally = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if extra := sorted(set(self.stronger_eps_paper) - set(self.eps_paper)):
            raise ValueError(
                f"stronger_eps_paper has {extra}, which eps_paper does not have: there is nothing to compare with"
            )


@dataclass(frozen=True)
class _Networks:
    """Who attacks whom."""

    targets: tuple[NetworkCell, ...]
    source: TrainCell
    own: PlaceCell | None

    @property
    def all(self) -> tuple[NetworkCell, ...]:
        return (*self.targets, self.source, *((self.own, self.own.features) if self.own else ()))


def cells(config: TransferConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first: the paper's figure before the rest."""
    networks = _networks(config, dataset)
    common = CommonCell(networks.all, config.n_images)
    shared: dict[str, Any] = {"common": common, "seed": config.seed, "purpose": "transfer"}
    crafted = [*_paper(config, dataset, shared, networks), *_stronger(config, dataset, shared, networks)]
    tried = [TransferCell(made, target) for made in crafted for target in networks.targets]
    yardsticks = list(_yardsticks(config, dataset, shared, networks))
    checks = check_cells(CHECKS, (*crafted, *tried, *yardsticks))
    return with_inputs([*networks.all, *kit.audits(config, dataset, networks.targets), *tried, *yardsticks, *checks])


def attackers_vgg(config: kit.TargetsConfig, dataset: Dataset) -> TrainCell:
    """A VGG-16 that the attacker trains: the defender's recipe or one of their own, other weights, another order of images."""
    seed, baseline = derive_seed(config.seed, "attacker"), kit.baseline_network(config, dataset)
    return replace(baseline, name="VGG-16 source", training=config.source or config.baseline, seed=seed)


def defended(config: Any, dataset: Dataset) -> tuple[PlaceCell, PlaceCell]:
    """The VGG-OPUs of higher and of lower accuracy, of a config with `lower` and `lower_classifier`."""
    device = kit.device_cell(config)
    higher = kit.placed_network(config, "VGG-OPU higher", kit.hybrid_network(config, dataset, "VGG-DFA"), device)
    below = kit.hybrid_network(config, dataset, "VGG-DFA lower", training=config.lower)
    return higher, kit.placed_network(config, "VGG-OPU lower", below, device, training=config.lower_classifier)


def _networks(config: TransferConfig, dataset: Dataset) -> _Networks:
    higher, lower = defended(config, dataset)
    source, own = attackers_vgg(config, dataset), None
    if config.attacker is not None:
        theirs = kit.device_cell(config, owner="attacker")
        below = kit.hybrid_network(config, dataset, "VGG-DFA source", training=config.attacker, seed=source.seed)
        own = kit.placed_network(config, "VGG-OPU source", below, theirs, seed=source.seed)
    baseline = kit.baseline_network(config, dataset)
    if config.baseline_lower is None:
        return _Networks((baseline, higher, lower), source, own)
    control = replace(baseline, name="VGG-16 lower", training=config.baseline_lower)
    return _Networks((baseline, control, higher.features, higher, lower.features, lower), source, own)


def _paper(
    config: TransferConfig, dataset: Dataset, shared: dict[str, Any], networks: _Networks
) -> Iterator[CraftCell]:
    """Figure 4's attack: PGD on a VGG-16."""
    step = widest(paper_eps_to_pixels(config.step_paper, dataset.std))
    attack = TransferPGD(steps=config.steps, step_size=step, random_start=False, keep="last")
    for ball in kit.on_paper_axis(dataset, *config.eps_paper):
        yield CraftCell(label="PGD", sources=((networks.source, "bp"),), attack=attack, **ball, **shared)


def _stronger(
    config: TransferConfig, dataset: Dataset, shared: dict[str, Any], networks: _Networks
) -> Iterator[CraftCell]:
    """Attacks that are known to transfer better, and better sources: a weak attack proves little."""
    views, smooth = InputDiversity(), GaussianKernel()
    vgg: tuple[NetworkCell, str] = (networks.source, "bp")
    lines: list[tuple[str, tuple[tuple[NetworkCell, str], ...], TransferPGD]] = [
        ("MI-FGSM", (vgg,), TransferPGD(momentum=1.0)),
        ("MI-DI", (vgg,), TransferPGD(momentum=1.0, diversity=views)),
        ("MI-DI-TI", (vgg,), TransferPGD(momentum=1.0, diversity=views, smoothing=smooth)),
    ]
    if networks.own is not None:
        # Of the attacker's own network everything is known, its U too; under its linear head nothing is binarised.
        opu, features = (networks.own, "exact"), (networks.own.features, "bp")
        attack = TransferPGD(momentum=1.0, diversity=views)
        lines += [
            ("Own VGG-OPU", (opu,), attack),
            ("Own VGG-DFA", (features,), attack),
            ("Ensemble", (vgg, opu, features), attack),
        ]
    for ball in kit.on_paper_axis(dataset, *config.stronger_eps_paper):
        size = 2.5 * widest(ball["eps"]) / config.stronger_steps
        for label, sources, attack in lines:
            attack = replace(attack, steps=config.stronger_steps, step_size=size)
            yield CraftCell(label=label, sources=sources, attack=attack, **ball, **shared)


def _yardsticks(
    config: TransferConfig, dataset: Dataset, shared: dict[str, Any], networks: _Networks
) -> Iterator[AttackCell]:
    """What an attacker leaves who holds the target's weights, at the same radii, on the same images."""
    attack = PGD(steps=config.steps, step_size=widest(paper_eps_to_pixels(config.step_paper, dataset.std)))
    for ball in kit.on_paper_axis(dataset, *config.stronger_eps_paper):
        for target in networks.targets:
            for rule in ("bpda-fit-linear", "exact") if isinstance(target, PlaceCell) else ("bp",):
                yield kit.attack_cell(config, target, rule, attack, **ball, **shared)


# Of the images, at the largest radius: fewer, and the attack is too weak on its own network to say anything of others.
_FOOLED = 0.9


def _sources_fooled(records: Sequence[Record]) -> Found:
    largest = {one.config.label: one for one in sorted(entries(records, CRAFT), key=lambda one: one.config.eps)}
    found = {label: one.result.success for label, one in largest.items()}
    enough = all(fooled.interval[1] >= _FOOLED for fooled in found.values())
    return Found(enough, {label: round(fooled.share, 4) for label, fooled in found.items()})


def _rising(records: Sequence[Record]) -> dict[str, float]:
    curves: dict[str, list[Entry[TriedConfig, TransferResult]]] = {}
    for one in sorted(entries(records, TRANSFER), key=lambda one: one.config.eps):
        curves.setdefault(f"{one.config.label} -> {one.config.target}", []).append(one)
    pairs = [(who, *two) for who, curve in sorted(curves.items()) for two in pairwise(curve)]
    tests = {
        (who, larger.config.eps): differs(kept(larger, larger.result.robust), kept(smaller, smaller.result.robust))
        for who, smaller, larger in pairs
    }
    family = Family("A larger ball beside the next smaller", tests)
    return {key[0]: round(one.points / 100, 4) for key, one in tests.items() if one and family.above(key)}


def _weaker_than_transfer(records: Sequence[Record]) -> dict[str, list[float]]:
    """An attacker who holds the target's weights should fool more than one who guesses at them."""
    tests: dict[str, Difference | None] = {}
    for model, eps in sorted({(one.config.model, one.config.eps) for one in entries(records, ATTACK)}):
        left = min(entries(records, ATTACK, model=model, eps=eps), key=lambda one: one.result.robust.share)
        moved = entries(records, TRANSFER, target=model, eps=eps)
        if moved:
            best = min(moved, key=lambda one: one.result.robust.share)
            test = differs(kept(left, left.result.robust), kept(best, best.result.robust))
            tests[f"{model}, {eps * 255:.3g}/255"] = test
    family = Family("The weights beside transfer", tests)
    return {
        name: [round(one.first.share, 4), round(one.second.share, 4)]
        for name, one in tests.items()
        if one and family.above(name)
    }


#: Signs that a figure of transferred attacks is not what it seems.
CHECKS = (
    Check(
        "transferred images fool their source",
        f"at the largest radius at least {_FOOLED:.0%} of the images fool the network that they were made on",
        _sources_fooled,
    ),
    Check("transfer does not weaken with the radius", "a larger ball leaves no more images right", _rising),
    Check(
        "white-box at least as strong as transfer",
        "an attacker with the target's weights leaves no more images right than one without",
        _weaker_than_transfer,
    ),
)


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> TransferConfig:
    """Three networks attacked from a fourth."""
    shared = kit.quick_networks(data, seed, precision)
    return TransferConfig(
        **shared,
        lower=replace(shared["hybrid"], epochs=3),
        lower_classifier=replace(FINE_TUNING, epochs=2),
        n_images=200,
        eps_paper=kit.QUICK_RADII,
        stronger_eps_paper=kit.QUICK_RADII[-1:],
        steps=20,
        step_paper=0.004,
        fit_images=2000,
    )


@recipe(
    CIFAR,
    "about 30 minutes on two cores, most of them training; CIFAR-100 some 40",
    "Figure 4 at a quarter of the width, and stronger transfer",
)
def laptop(data: str, seed: int, precision: Precision) -> TransferConfig:
    """With stronger attacks, and with controls."""
    shared = {**kit.laptop_networks(data, seed, precision), "device_in": 1024, "classifier": FINE_TUNING}
    long = data == "cifar100"
    return TransferConfig(
        **shared,
        lower=replace(shared["hybrid"], epochs=6 if long else 3),
        lower_classifier=replace(FINE_TUNING, epochs=4 if long else 2),
        # As short as the network that it is the control of.
        baseline_lower=replace(shared["baseline"], epochs=6 if long else 3),
        attacker=shared["hybrid"],
        # At least 1,000 that all nine networks get right.
        n_images=5000 if long else 1700,
    )


@recipe(
    CIFAR, "1.0 core-hours by estimate; CIFAR-100 6.4, most of them training", f"Figure 4, {AS_GOOD}, with controls"
)
def workstation(data: str, seed: int, precision: Precision) -> TransferConfig:
    """Without the attacker's own VGG-OPU, whose training is as long as the others."""
    shared = {**networks(data, seed, precision), "device_in": 1024, "classifier": FINE_TUNING}
    return TransferConfig(
        **shared,
        lower=lower(shared["hybrid"], data),
        lower_classifier=replace(FINE_TUNING, epochs=4),
        baseline_lower=lower(shared["baseline"], data),
        # About 1,000 that all seven networks get right.
        n_images=2500 if data == "cifar100" else 1500,
    )


@recipe(CIFAR, FOR_A_GPU, "Figure 4 at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> TransferConfig:
    """With the controls and the stronger attacks of the laptop recipe."""
    long = data == "cifar100"
    shared = {**kit.paper_networks(data, seed, precision), "device_in": 1024}
    higher = shared["hybrid"] if long else kit.paper_training(20, 0.035, precision)
    classifier, lower = kit.paper_training(5, 0.01, precision), 79 if long else 17
    return TransferConfig(
        **{**shared, "hybrid": higher, "classifier": classifier},
        lower=replace(higher, epochs=lower),
        lower_classifier=replace(classifier, epochs=4 if long else 2),
        # As short as the network that it is the control of.
        baseline_lower=replace(shared["baseline"], epochs=lower),
        attacker=higher,
        n_images=10_000,
        fit_images=50_000,
    )


RECIPES = (quick, laptop, workstation, paper)
