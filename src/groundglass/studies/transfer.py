"""The paper's Figure 4, and past it: images made on an attacker's own networks, tried on defended and ordinary ones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from groundglass.attacks import PGD, GaussianKernel, InputDiversity, TransferPGD, paper_eps_to_pixels
from groundglass.core import derive_seed
from groundglass.data import Dataset
from groundglass.studies.attack_cells import AttackCell
from groundglass.studies.audited import audits
from groundglass.studies.cells import Cell, with_inputs
from groundglass.studies.checks import TRANSFER_CHECKS, CheckCell
from groundglass.studies.crafted import CommonCell, CraftCell, TransferCell
from groundglass.studies.networks import NetworkCell, TrainCell
from groundglass.studies.placed import PlaceCell
from groundglass.studies.targets import TargetsConfig, baseline_network, two_stages
from groundglass.training import TrainingConfig
from groundglass.training.classifier import FINE_TUNING


@dataclass(frozen=True, kw_only=True)
class TransferConfig(TargetsConfig):
    """A transfer study, complete. `hybrid` trains the features of the VGG-OPU of higher accuracy.

    Attributes:
        n_images: of the first so many test images, those that every network gets right are attacked.
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
        fit_images: natural training images that a yardstick's fitted surrogate has seen.
    """

    n_images: int
    lower: TrainingConfig
    lower_classifier: TrainingConfig
    baseline_lower: TrainingConfig | None = None
    attacker: TrainingConfig | None = None
    eps_paper: tuple[float, ...] = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1)
    stronger_eps_paper: tuple[float, ...] = (0.02, 0.04, 0.06, 0.1)
    steps: int = 50
    step_paper: float = 0.01
    stronger_steps: int = 20
    fit_images: int = 10_000

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise ValueError(f"n_images (={self.n_images}) must be at least 1")
        if any(not 0 < e <= 2 for e in self.eps_paper):
            raise ValueError(f"eps_paper {self.eps_paper} must be in (0, 2]: units of the normalised images, as .05")
        if extra := sorted(set(self.stronger_eps_paper) - set(self.eps_paper)):
            raise ValueError(f"stronger_eps_paper has {extra}, which eps_paper has not: nothing to compare with")


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
    crafted = [*_paper(config, dataset, common, networks), *_stronger(config, dataset, common, networks)]
    tried = [TransferCell(made, target) for made in crafted for target in networks.targets]
    yardsticks = list(_yardsticks(config, dataset, common, networks))
    checks = [CheckCell(check=name, attacks=(*crafted, *tried, *yardsticks)) for name in TRANSFER_CHECKS]
    return with_inputs([*networks.all, *audits(config, dataset, networks.targets), *tried, *yardsticks, *checks])


def attackers_vgg(config: TargetsConfig, dataset: Dataset) -> TrainCell:
    """A VGG-16 that the attacker trains: the defender's recipe, other weights, another order of images."""
    return replace(baseline_network(config, dataset), name="VGG-16 source", seed=derive_seed(config.seed, "attacker"))


def _networks(config: TransferConfig, dataset: Dataset) -> _Networks:
    classifier = config.classifier or FINE_TUNING
    higher = two_stages(
        config, dataset, "VGG-OPU higher", features="VGG-DFA", hybrid=config.hybrid, classifier=classifier
    )
    lower = two_stages(
        config,
        dataset,
        "VGG-OPU lower",
        features="VGG-DFA lower",
        hybrid=config.lower,
        classifier=config.lower_classifier,
    )
    source, own = attackers_vgg(config, dataset), None
    if config.attacker is not None:
        own = two_stages(
            config,
            dataset,
            "VGG-OPU source",
            features="VGG-DFA source",
            hybrid=config.attacker,
            classifier=classifier,
            owner="attacker",
            seed=source.seed,
        )
    baseline = baseline_network(config, dataset)
    if config.baseline_lower is None:
        return _Networks((baseline, higher, lower), source, own)
    control = replace(baseline, name="VGG-16 lower", training=config.baseline_lower)
    return _Networks((baseline, control, higher.features, higher, lower.features, lower), source, own)


def _paper(config: TransferConfig, dataset: Dataset, common: CommonCell, networks: _Networks) -> Iterator[CraftCell]:
    """Figure 4's attack: PGD on a VGG-16."""
    attack = TransferPGD(
        steps=config.steps, step_size=_widest(config.step_paper, dataset), random_start=False, keep="last"
    )
    for eps_paper in config.eps_paper:
        yield _craft(config, dataset, "PGD", common, ((networks.source, "bp"),), attack, eps_paper)


def _stronger(config: TransferConfig, dataset: Dataset, common: CommonCell, networks: _Networks) -> Iterator[CraftCell]:
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
    for eps_paper in config.stronger_eps_paper:
        size = 2.5 * _widest(eps_paper, dataset) / config.stronger_steps
        for label, sources, attack in lines:
            attack = replace(attack, steps=config.stronger_steps, step_size=size)
            yield _craft(config, dataset, label, common, sources, attack, eps_paper)


def _craft(
    config: TargetsConfig,
    dataset: Dataset,
    label: str,
    common: CommonCell,
    sources: tuple[tuple[NetworkCell, str], ...],
    attack: TransferPGD,
    eps_paper: float,
) -> CraftCell:
    """Adversarial images at a radius of the paper's axis."""
    return CraftCell(
        label=label,
        common=common,
        sources=sources,
        attack=attack,
        eps=paper_eps_to_pixels(eps_paper, dataset.std),
        eps_paper=eps_paper,
        seed=config.seed,
        purpose="transfer",
    )


def _yardsticks(
    config: TransferConfig, dataset: Dataset, common: CommonCell, networks: _Networks
) -> Iterator[AttackCell]:
    """What an attacker leaves who holds the target's weights, at the same radii, on the same images."""
    attack = PGD(steps=config.steps, step_size=_widest(config.step_paper, dataset))
    for eps_paper in config.stronger_eps_paper:
        for target in networks.targets:
            for rule in ("bpda-fit-linear", "exact") if isinstance(target, PlaceCell) else ("bp",):
                yield AttackCell(
                    target=target,
                    rule=rule,
                    attack=attack,
                    norm="linf",
                    eps=paper_eps_to_pixels(eps_paper, dataset.std),
                    eps_paper=eps_paper,
                    n_images=config.n_images,
                    fit_images=config.fit_images,
                    gallery=0,
                    seed=config.seed,
                    common=common,
                    purpose="transfer",
                )


def _widest(eps_paper: float, dataset: Dataset) -> float:
    """A length on the paper's axis in pixel units, in the channel where it is longest."""
    eps = paper_eps_to_pixels(eps_paper, dataset.std)
    return max(eps) if isinstance(eps, tuple) else eps
