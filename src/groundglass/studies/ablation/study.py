"""The defence taken apart, as in the paper's code and past it: which part brings which robustness?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from groundglass.attacks import PGD, Bandits, InputDiversity, Square, TransferPGD, paper_eps_to_pixels
from groundglass.attacks.search import QueryAttack
from groundglass.data import Dataset
from groundglass.optics import Encoding
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.audit import audits
from groundglass.studies.cells.craft import CommonCell, CraftCell, TransferCell
from groundglass.studies.cells.network import DeviceCell, NetworkCell, TrainCell
from groundglass.studies.cells.place import PlaceCell
from groundglass.studies.cells.query import QueryCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_EXPECT, Recipe
from groundglass.studies.targets import (
    QUICK_RADII,
    TargetsConfig,
    baseline_network,
    baseline_spec,
    device_cell,
    laptop_networks,
    paper_hybrid,
    paper_networks,
    quick_networks,
)
from groundglass.studies.transfer.study import attackers_vgg
from groundglass.training import Precision
from groundglass.training.classifier import FINE_TUNING


@dataclass(frozen=True, kw_only=True)
class AblationConfig(TargetsConfig):
    """An ablation, complete.

    The four networks of the paper's code: DFA (linear head, no binarisation), BIN (bits, linear), RP (random projection
    of the features as they are), OPU (both). With `classifier` they share the features of DFA, and only their
    classifiers are fitted; without, each is trained whole. The variants share OPU's features, or DFA's, but for N.

    Attributes:
        features: name of the network that is the part DFA. Weights hang on names: "VGG-DFA" is trained once for other
            studies too, where their sizes agree.
        n_images: of the first so many test images: attacked with gradients, and, those that all get right, by transfer.
        inputs: other values of N.
        outputs: other values of M.
        eps_paper: L-inf radii on the paper's axis, for white-box attacks and for transfer.
        steps: of PGD and of the transferred attacks, each of 2.5 times radius / steps.
        fit_images: natural training images that a fitted surrogate has seen.
        query_images, query_eps, budget: of the attacks by queries; pixel units.
    """

    features: str = "DFA"
    n_images: int
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    eps_paper: tuple[float, ...] = (0.005, 0.01, 0.02, 0.04)
    steps: int = 20
    fit_images: int = 10_000
    query_images: int
    query_eps: float = 8 / 256
    budget: int = 500

    def __post_init__(self) -> None:
        if self.n_images < 1 or self.query_images < 1:
            raise ValueError(f"n_images (={self.n_images}) and query_images (={self.query_images}) must be at least 1")
        if any(not 0 < e <= 2 for e in self.eps_paper):
            raise ValueError(f"eps_paper {self.eps_paper} must be in (0, 2]: units of the normalised images, as .05")


@dataclass(frozen=True)
class _Part:
    """A network, and the gradient rules that attack it: the training signal's, and the best there is."""

    network: NetworkCell
    rules: tuple[str, ...]


_DEVICE_RULES = ("dfa", "bpda-fit-linear", "exact")


def cells(config: AblationConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first: the paper's four networks before the variants."""
    baseline, source = baseline_network(config, dataset), attackers_vgg(config, dataset)
    parts = [_Part(baseline, ("bp",)), *_parts(config, dataset)]
    networks = [part.network for part in parts]
    white = [
        _gradient(config, dataset, part.network, rule, eps)
        for part in parts
        for rule in part.rules
        for eps in config.eps_paper
    ]
    asked = [_query(config, network, attack) for network in networks for attack in (Square(), Bandits())]
    common = CommonCell((*networks, source), config.n_images)
    tried = [TransferCell(made, network) for made in _crafted(config, dataset, common, source) for network in networks]
    return with_inputs([*networks, source, *audits(config, dataset, networks), *white, *asked, *tried])


def _parts(config: AblationConfig, dataset: Dataset) -> list[_Part]:
    n = config.device_in
    device = device_cell(config)
    dfa = below = _trained(config, dataset, config.features, n)
    bits: NetworkCell
    floats: NetworkCell
    opu: NetworkCell
    found = [_Part(dfa, ("dfa", "bp"))]
    if config.classifier is None:
        bits = _trained(config, dataset, "BIN", n, encoding="bits")
        floats = _trained(config, dataset, "RP", n, device=device, encoding="float")
        opu = below = _trained(config, dataset, "OPU", n, device=device)
        # Beside the variants, whose classifiers are fitted on its features, it needs one that is fitted too.
        fitted = [_Part(_placed(config, below, "OPU refitted", device), _DEVICE_RULES)]
    else:
        bits = _placed(config, below, "BIN", None)
        floats = _placed(config, below, "RP", device, "float")
        opu, fitted = _placed(config, below, "OPU", device), []
    found += [_Part(bits, ("dfa", "ste", "bpda-fit-linear")), _Part(floats, _DEVICE_RULES), _Part(opu, _DEVICE_RULES)]
    float_camera = replace(config.camera, bits=None)
    variants = [
        _placed(config, below, "OPU batch threshold", device, "bits-batch"),
        _placed(config, below, "OPU float output", replace(device, camera=float_camera)),
        _placed(config, below, "OPU real U", replace(device, matrix="real")),
        *(_placed(config, below, f"OPU M={k}", replace(device, out_features=k)) for k in config.outputs),
        *(_of_inputs(config, dataset, device, k) for k in config.inputs),
    ]
    return found + fitted + [_Part(network, _DEVICE_RULES) for network in variants]


def _trained(
    config: AblationConfig,
    dataset: Dataset,
    name: str,
    n: int,
    *,
    device: DeviceCell | None = None,
    encoding: Encoding | None = None,
) -> TrainCell:
    spec = replace(baseline_spec(config, dataset), dropout=config.hybrid_dropout, encoding=encoding)
    sizes = {"linear_hidden": n} if device is None else {"device_in": n, "device_out": device.out_features}
    return TrainCell(
        name=name,
        spec=replace(spec, **sizes),  # type: ignore[arg-type]
        training=config.hybrid,
        credit="hybrid-dfa",
        device=device,
        data=config.data,
        seed=config.seed,
    )


def _placed(
    config: AblationConfig, below: TrainCell, name: str, device: DeviceCell | None, encoding: Encoding = "bits"
) -> PlaceCell:
    return PlaceCell(
        name=name,
        features=below,
        device=device,
        encoding=encoding,
        training=config.classifier or FINE_TUNING,
        data=config.data,
        seed=config.seed,
    )


def _of_inputs(config: AblationConfig, dataset: Dataset, device: DeviceCell, n: int) -> NetworkCell:
    """Another N needs features of its own."""
    device = replace(device, in_features=n)
    if config.classifier is None:
        return _trained(config, dataset, f"OPU N={n}", n, device=device)
    return _placed(config, _trained(config, dataset, f"DFA N={n}", n), f"OPU N={n}", device)


def _gradient(config: AblationConfig, dataset: Dataset, target: NetworkCell, rule: str, eps_paper: float) -> AttackCell:
    eps = paper_eps_to_pixels(eps_paper, dataset.std)
    return AttackCell(
        target=target,
        rule=rule,
        attack=PGD(steps=config.steps, step_size=_step(config, eps)),
        norm="linf",
        eps=eps,
        eps_paper=eps_paper,
        n_images=config.n_images,
        fit_images=config.fit_images,
        gallery=0,
        seed=config.seed,
        purpose="ablation",
    )


def _query(config: AblationConfig, target: NetworkCell, attack: QueryAttack) -> QueryCell:
    return QueryCell(
        target=target,
        attack=attack,
        norm="linf",
        eps=config.query_eps,
        budget=config.budget,
        n_images=config.query_images,
        seed=config.seed,
        purpose="ablation",
    )


def _crafted(config: AblationConfig, dataset: Dataset, common: CommonCell, source: NetworkCell) -> Iterator[CraftCell]:
    better: dict[str, Any] = {"momentum": 1.0, "diversity": InputDiversity()}
    for eps_paper in config.eps_paper:
        eps = paper_eps_to_pixels(eps_paper, dataset.std)
        for label, settings in (("PGD", {}), ("MI-DI", better)):
            yield CraftCell(
                label=label,
                common=common,
                sources=((source, "bp"),),
                attack=TransferPGD(steps=config.steps, step_size=_step(config, eps), **settings),
                eps=eps,
                eps_paper=eps_paper,
                seed=config.seed,
                purpose="ablation",
            )


def _step(config: AblationConfig, eps: float | tuple[float, ...]) -> float:
    """2.5 radii in all, in the widest channel."""
    return 2.5 * (max(eps) if isinstance(eps, tuple) else eps) / config.steps


def paper(data: str, seed: int, precision: Precision) -> AblationConfig:
    """N = 1024, M = 8000; the paper's weight decays are about .03."""
    shared = {**paper_networks(data, seed, precision), "device_in": 1024}
    if data != "cifar100":
        shared["hybrid"] = paper_hybrid(20, 0.03, precision)
    return AblationConfig(
        **shared,
        n_images=10_000,
        inputs=(256, 4096),
        outputs=(1000, 32_000),
        fit_images=50_000,
        query_images=1000,
        budget=15_000,
    )


def laptop(data: str, seed: int, precision: Precision) -> AblationConfig:
    """The defence in parts, at a quarter of the width. VGG-16s and the features of DFA are the transfer recipe's."""
    shared = {**laptop_networks(data, seed, precision), "device_in": 1024, "classifier": FINE_TUNING}
    return replace(
        paper(data, seed, precision),
        **shared,
        features="VGG-DFA",
        n_images=500,
        inputs=(64, 512),
        outputs=(500, 2000),
        fit_images=10_000,
        query_images=100,
        budget=500,
    )


def quick(data: str, seed: int, precision: Precision) -> AblationConfig:
    """The four networks of the paper's code, and variants of one."""
    shared = quick_networks(data, seed, precision)
    short = replace(shared["hybrid"], epochs=3)
    return replace(
        paper(data, seed, precision),
        **{**shared, "baseline": short, "hybrid": short, "device_in": 128, "device_out": 500},
        n_images=100,
        inputs=(32,),
        outputs=(100,),
        eps_paper=QUICK_RADII,
        steps=10,
        fit_images=2000,
        query_images=24,
        query_eps=4 / 255,
        budget=200,
    )


RECIPES = (
    Recipe("quick", quick, ("shapes",), "about 6 minutes on two cores", QUICK_EXPECT, in_all=False),
    Recipe(
        "laptop",
        laptop,
        CIFAR,
        "about 35 minutes on two cores; CIFAR-100 some 50",
        "which part brings what, at a quarter of the width",
    ),
    Recipe("paper", paper, CIFAR, FOR_A_GPU, "the same at the paper's sizes"),
)
