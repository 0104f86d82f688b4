"""The defence taken apart, as in the paper's code and past it: which part brings which robustness?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from groundglass.attacks import PGD, Bandits, InputDiversity, Square, TransferPGD
from groundglass.core.settings import Count, Positive, Tally
from groundglass.data import Dataset
from groundglass.studies import kit
from groundglass.studies.cells.attack import widest
from groundglass.studies.cells.craft import CommonCell, CraftCell, TransferCell
from groundglass.studies.cells.network import DeviceCell, NetworkCell
from groundglass.studies.cells.query import QueryCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import AS_GOOD, CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.studies.transfer.study import attackers_vgg
from groundglass.studies.workstation import networks
from groundglass.training import Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING


@dataclass(frozen=True, kw_only=True)
class AblationConfig(kit.TargetsConfig):
    """An ablation, complete.

    The four networks of the paper's code: DFA (linear head, no binarisation), BIN (bits, linear), RP (random projection
    of the features as they are), OPU (both). With `classifier` they share the features of DFA, and only their
    classifiers are fitted; without, each is trained whole. The variants share OPU's features, or DFA's, but for N.

    Attributes:
        each: how DFA, BIN, RP and OPU are trained whole, where not all by `hybrid`; for none with `classifier`.
        features: name of the network that is the part DFA. Weights depend on names: "VGG-DFA" is trained once for other
            studies too, where their sizes agree.
        n_images: of the first so many test images: attacked with gradients, and, those that all get right, by transfer.
        inputs: other values of N.
        outputs: other values of M.
        eps_paper: L-inf radii on the paper's axis, for white-box attacks and for transfer.
        steps: of PGD and of the transferred attacks, each of 2.5 times radius / steps.
        query_images, query_eps, budget: of the attacks by queries; pixel units.
        fd_etas: lengths of bandits' probe; the best is kept for each network, as a probe that flips no bit finds nothing.
        choice_images: on which it is chosen: so many test images, the next after `query_images`.
    """

    each: tuple[TrainingConfig, ...] = ()
    features: str = "DFA"
    n_images: Count
    inputs: tuple[Count, ...] = ()
    outputs: tuple[Count, ...] = ()
    eps_paper: tuple[kit.PaperRadius, ...] = (0.005, 0.01, 0.02, 0.04)
    steps: Count = 20
    fit_images: Tally = 10_000
    query_images: Count
    query_eps: Positive = 8 / 256
    budget: Count = 500
    fd_etas: tuple[Positive, ...] = (0.1, 0.5, 1.0)
    choice_images: Count = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fd_etas:
            raise ValueError("`fd_etas` is empty: bandits needs one at least")
        if self.each and (len(self.each) != 4 or self.classifier is not None):
            raise ValueError(
                f"`each` has {len(self.each)} trainings: it needs four, of DFA, BIN, RP and OPU, and no `classifier`"
            )


# A network, and the gradient rules that attack it: the training signal's, and the best there is.
_Part = tuple[NetworkCell, tuple[str, ...]]
_DEVICE_RULES = ("dfa", "bpda-fit-linear", "exact")


def cells(config: AblationConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first: the paper's four networks before the variants."""
    baseline, source = kit.baseline_network(config, dataset), attackers_vgg(config, dataset)
    parts = [(baseline, ("bp",)), *_parts(config, dataset)]
    networks = [network for network, _ in parts]
    white = [
        kit.attack_cell(config, network, rule, PGD(steps=config.steps, step_size=step), **ball, purpose="ablation")
        for network, rules in parts
        for rule in rules
        for ball, step in _balls(config, dataset)
    ]
    shared: dict[str, Any] = {"seed": config.seed, "purpose": "ablation"}
    asked = [cell for network in networks for cell in _asked(config, network, **shared)]
    common = CommonCell((*networks, source), config.n_images)
    tried = [
        TransferCell(made, network)
        for made in _crafted(config, dataset, source, common=common, **shared)
        for network in networks
    ]
    return with_inputs([*networks, source, *kit.audits(config, dataset, networks), *white, *asked, *tried])


def _asked(config: AblationConfig, network: NetworkCell, **shared: Any) -> Iterator[QueryCell]:
    settings = {"eps": config.query_eps, "budget": config.budget, "n_images": config.query_images, **shared}
    yield QueryCell(target=network, attack=Square(), **settings)
    bandits = QueryCell(target=network, attack=Bandits(step_size=kit.PAPER_QUERY_STEP), **settings)
    choice = bandits.swept("fd_eta", config.fd_etas, first=config.query_images, n_images=config.choice_images)
    yield replace(bandits, choice=choice)


def _parts(config: AblationConfig, dataset: Dataset) -> list[_Part]:
    device = kit.device_cell(config)
    of_dfa, of_bin, of_rp, of_opu = config.each or (config.hybrid,) * 4
    dfa = below = kit.hybrid_network(config, dataset, config.features, training=of_dfa)
    bits: NetworkCell
    floats: NetworkCell
    opu: NetworkCell
    found: list[_Part] = [(dfa, ("dfa", "bp"))]
    if config.classifier is None:
        bits = kit.hybrid_network(config, dataset, "BIN", encoding="bits", training=of_bin)
        floats = kit.hybrid_network(config, dataset, "RP", device, encoding="float", training=of_rp)
        opu = below = kit.hybrid_network(config, dataset, "OPU", device, training=of_opu)
        # Beside the variants, whose classifiers are fitted on its features, it needs one that is fitted too.
        fitted: list[_Part] = [(kit.placed_network(config, "OPU refitted", below, device), _DEVICE_RULES)]
    else:
        bits = kit.placed_network(config, "BIN", below, None)
        floats = kit.placed_network(config, "RP", below, device, encoding="float")
        opu, fitted = kit.placed_network(config, "OPU", below, device), []
    found += [(bits, ("dfa", "ste", "bpda-fit-linear")), (floats, _DEVICE_RULES), (opu, _DEVICE_RULES)]
    float_camera = replace(config.camera, bits=None)
    variants = [
        kit.placed_network(config, "OPU batch threshold", below, device, encoding="bits-batch"),
        kit.placed_network(config, "OPU float output", below, replace(device, camera=float_camera)),
        kit.placed_network(config, "OPU real U", below, replace(device, matrix="real")),
        *(kit.placed_network(config, f"OPU M={k}", below, replace(device, out_features=k)) for k in config.outputs),
        *(_of_inputs(config, dataset, replace(device, in_features=k)) for k in config.inputs),
    ]
    return found + fitted + [(network, _DEVICE_RULES) for network in variants]


def _of_inputs(config: AblationConfig, dataset: Dataset, device: DeviceCell) -> NetworkCell:
    """Another N needs features of its own."""
    n = device.in_features
    if config.classifier is None:
        return kit.hybrid_network(config, dataset, f"OPU N={n}", device)
    return kit.placed_network(
        config, f"OPU N={n}", kit.hybrid_network(config, dataset, f"DFA N={n}", features=n), device
    )


def _crafted(config: AblationConfig, dataset: Dataset, source: NetworkCell, **shared: Any) -> Iterator[CraftCell]:
    better: dict[str, Any] = {"momentum": 1.0, "diversity": InputDiversity()}
    for ball, step in _balls(config, dataset):
        for label, settings in (("PGD", {}), ("MI-DI", better)):
            attack = TransferPGD(steps=config.steps, step_size=step, **settings)
            yield CraftCell(label=label, sources=((source, "bp"),), attack=attack, **ball, **shared)


def _balls(config: AblationConfig, dataset: Dataset) -> Iterator[tuple[dict[str, Any], float]]:
    """Each ball, and a step: 2.5 radii in all, in the widest channel."""
    for ball in kit.on_paper_axis(dataset, *config.eps_paper):
        yield ball, 2.5 * widest(ball["eps"]) / config.steps


@recipe(SMALL, QUICK_COST, QUICK_EXPECT, in_all=False)
def quick(data: str, seed: int, precision: Precision) -> AblationConfig:
    """The four networks of the paper's code, and variants of one."""
    shared = kit.quick_networks(data, seed, precision, images=4000)
    short = replace(shared["hybrid"], epochs=3)
    return AblationConfig(
        **{**shared, "baseline": short, "hybrid": short, "device_in": 128, "device_out": 500},
        n_images=100,
        inputs=(32,),
        outputs=(100,),
        eps_paper=kit.QUICK_RADII,
        steps=10,
        fit_images=2000,
        query_images=24,
        query_eps=4 / 255,
        budget=200,
        fd_etas=(0.1, 1.0),
        choice_images=12,
    )


@recipe(
    CIFAR,
    "about 35 minutes on two cores; CIFAR-100 some 50",
    "which part brings what, at a quarter of the width",
)
def laptop(data: str, seed: int, precision: Precision) -> AblationConfig:
    """VGG-16s and the features of DFA are the transfer recipe's."""
    return AblationConfig(
        **{**kit.laptop_networks(data, seed, precision), "device_in": 1024, "classifier": FINE_TUNING},
        features="VGG-DFA",
        n_images=500,
        inputs=(64, 512),
        outputs=(500, 2000),
        query_images=100,
    )


@recipe(CIFAR, "1.1 core-hours by estimate; CIFAR-100 5.7, most of them training", f"which part brings what, {AS_GOOD}")
def workstation(data: str, seed: int, precision: Precision) -> AblationConfig:
    """VGG-16s and the features of DFA are the transfer study's. Other N, whose features are long trainings, are left out."""
    return AblationConfig(
        **{**networks(data, seed, precision), "device_in": 1024, "classifier": FINE_TUNING},
        features="VGG-DFA",
        n_images=500,
        outputs=(2000,),
        query_images=100,
    )


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> AblationConfig:
    """N = 1024, M = 8000. The paper's code has no ablation on CIFAR-100: there the parts share the features of Figure 4."""
    shared = {**kit.paper_networks(data, seed, precision), "device_in": 1024}
    if data == "cifar100":
        shared["features"] = "VGG-DFA"
    else:
        parts = ((19, 0.02), (19, 0.035), (22, 0.03), (19, 0.03))
        shared["each"] = tuple(kit.paper_training(*one, precision) for one in parts)
        # What the paper does not have: other N are trained as OPU is, and of the variants a classifier is fitted.
        shared |= {"hybrid": shared["each"][3], "frozen": "below device"}
    return AblationConfig(
        **shared,
        n_images=10_000,
        inputs=(256, 4096),
        outputs=(1000, 32_000),
        fit_images=50_000,
        query_images=1000,
        budget=15_000,
        choice_images=100,
    )


RECIPES = (quick, laptop, workstation, paper)
