"""A camera that is noisy, a matrix that drifts: what they cost the defender, and what they cost an attacker."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from groundglass.attacks import PGD, Square
from groundglass.attacks.gradient_attack import LinfStepSize
from groundglass.core.settings import Count, NotNegative, Positive, Settings, Tally
from groundglass.data import Dataset
from groundglass.optics.retrieval import FixedExposure, frames_needed
from groundglass.studies import kit
from groundglass.studies.cells.check import check_cells
from groundglass.studies.cells.craft import CommonCell, CraftCell, TransferCell
from groundglass.studies.cells.distil import DistilCell
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.cells.noise import DriftCell, NoisyCell
from groundglass.studies.cells.query import QueryCell
from groundglass.studies.cells.retrieve import RetrieveCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.extraction.study import FOOLS_ITS_SOURCE, mi_di
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.studies.transfer import study as transfer
from groundglass.training import OneCycle, Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING


@dataclass(frozen=True, kw_only=True)
class SurrogateConfig(Settings):
    """An attacker who asks the network about natural images, goes on training a network of their own on its scores, and tries
    there what fools that. Beginning untrained they would learn too little, see the study of extraction.

    Attributes:
        queries: images asked about, each once.
        training: on the answers; its epochs are over these images.
        n_images: of the first so many test images, those that the attacker's own network and the attacked ones get right.
        eps_paper: L-inf radius on the paper's axis.
        steps: of MI-DI.
    """

    queries: Count = 20_000
    training: TrainingConfig
    n_images: Count = 700
    eps_paper: kit.PaperRadius = 0.04
    steps: Count = 20


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(kit.TargetsConfig):
    """A study of read noise and of drift, complete.

    Attributes:
        noises: read noise of cameras, grey levels.
        attacked: those of them under which the network is attacked.
        query_images, eps, budget: of Square, in L-inf, pixel units; all answers count.
        answers: that the attacker takes the mean of, for one question.
        rechecks: answers by which the attacker confirms a success before the attack ends, each a query; beside an attacker who
            stops at the first success, chance or not.
        moving: correlation times of U while such an attack runs, in units of all frames that it may take. It takes about a fifth,
            as images that fall take few.
        confirmations: measurements of each image that fools; more than half of them must say so.
        blurs: relative errors of a U, up to sqrt(2): what would a retrieval be worth that is as far off?
        drifts: correlation times of U, in units of the frames of a retrieval.
        ages: of a classifier, in correlation times; beside those at which it is as old as a retrieval takes.
        refit_images: frames to which the classifier is fitted while U drifts.
        refit: how.
        per_input: frames an input, of retrievals under noise; the first is that of retrievals under drift.
        sweep_in, sweep_rows: N and M of the devices that are retrieved.
        fine_tuning: of the classifier before a noisy camera.
        extraction: from surrogates of the network without noise and under each noise that is attacked; None leaves it out.
    """

    noises: tuple[Positive, ...] = (4.0, 8.0, 16.0, 32.0, 64.0)
    attacked: tuple[Positive, ...] = (4.0, 16.0, 64.0)
    query_images: Count = 100
    eps: Positive = 8 / 255
    budget: Count = 1000
    answers: tuple[Count, ...] = (1, 4, 16)
    rechecks: Count = 5
    moving: tuple[Positive, ...] = (0.2, 2.0)
    confirmations: Count = 9
    n_images: Count
    eps_paper: tuple[kit.PaperRadius, ...] = (0.01,)
    steps: Count = 50
    step_size: LinfStepSize = 0.005
    rules: tuple[str, ...] = ("dfa", "bpda-fit-linear")
    fit_images: Tally = 10_000
    blurs: tuple[Positive, ...] = (0.3, 0.6, 0.9, 1.2)
    drifts: tuple[Positive, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    ages: tuple[NotNegative, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    refit_images: Count = 500
    refit: TrainingConfig = replace(FINE_TUNING, epochs=40)
    per_input: tuple[Positive, ...] = (12.0, 6.0, 24.0, 48.0)
    frame_rate: Positive = 2000.0
    sweep_in: Count = 256
    sweep_rows: Count = 256
    fine_tuning: TrainingConfig = FINE_TUNING
    extraction: SurrogateConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        least = frames_needed(FixedExposure(), self.sweep_in) / self.sweep_in
        if not self.per_input or min(self.per_input) < least:
            raise ValueError(
                f"per_input {self.per_input} must be at least {least:.2f} each: fewer frames retrieve nothing"
            )
        if set(self.attacked) - set(self.noises):
            raise ValueError(f"attacked {self.attacked} must be among the noises {self.noises}")

    @property
    def longest(self) -> tuple[float, ...]:
        """Ages of a classifier, rising: those that were asked for, and that of one which was fitted a retrieval ago."""
        return tuple(sorted({*self.ages, *(1 / times for times in self.drifts)}))


def cells(config: NoiseConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    network = kit.targets(config, dataset)[1]
    noisy = [
        NoisyCell(network=network, read_noise=noise, training=config.fine_tuning, seed=config.seed)
        for noise in config.noises
    ]
    attacked = [one for one in noisy if one.read_noise in config.attacked]
    extracted = with_inputs(_extraction(config, dataset, network, attacked))
    crafted = [cell for cell in extracted if cell.kind == "craft"]
    return with_inputs(
        [
            network,
            *noisy,
            *_drifts(config, network),
            *_retrievals(config),
            *kit.audits(config, dataset, (network,)),
            *_queries(config, network, attacked),
            *_gradients(config, dataset, network, attacked),
            *extracted,
            *(check_cells(CHECKS, crafted) if crafted else ()),
        ]
    )


def _queries(config: NoiseConfig, network: NetworkCell, noisy: list[NoisyCell]) -> Iterator[QueryCell]:
    margin, entropy = Square(loss="margin"), Square(loss="ce")
    shared: dict[str, Any] = {
        "eps": config.eps,
        "budget": config.budget,
        "n_images": config.query_images,
        "seed": config.seed,
        "purpose": "noise",
    }
    for attack in (margin, entropy):
        yield QueryCell(target=network, attack=attack, **shared)
    for target in noisy:
        voted: dict[str, Any] = {"target": target, "confirmations": config.confirmations, **shared}
        yield QueryCell(attack=margin, **voted)
        for attack, answers in ((entropy, 1), *((margin, k) for k in config.answers)):
            yield QueryCell(attack=attack, answers=answers, rechecks=config.rechecks, **voted)
    for times in config.moving if config.device_kind == "dense" else ():
        frames = config.query_images * config.budget
        yield QueryCell(target=network, attack=margin, correlation=times * frames, **shared)


def _gradients(config: NoiseConfig, dataset: Dataset, network: NetworkCell, noisy: list[NoisyCell]) -> Iterator[Cell]:
    attack = PGD(steps=config.steps, step_size=config.step_size)
    for ball in kit.on_paper_axis(dataset, *config.eps_paper):
        shared: dict[str, Any] = {**ball, "purpose": "noise"}
        for rule in (*config.rules, "exact"):
            yield kit.attack_cell(config, network, rule, attack, **shared)
        for error in config.blurs:
            yield kit.attack_cell(config, network, "exact-blurred", attack, matrix_error=error, **shared)
        for target in noisy:
            for rule in config.rules:
                yield kit.attack_cell(config, target, rule, attack, confirmations=config.confirmations, **shared)


def _extraction(
    config: NoiseConfig, dataset: Dataset, network: NetworkCell, noisy: list[NoisyCell]
) -> Iterator[TransferCell]:
    """Each network is attacked from the attacker's own network, and from what that became by this network's answers."""
    chosen = config.extraction
    if chosen is None:
        return
    own = transfer.attackers_vgg(config, dataset)
    common = CommonCell((own, network, *noisy), chosen.n_images, config.confirmations)
    (ball,) = kit.on_paper_axis(dataset, chosen.eps_paper)
    for target in (network, *noisy):
        surrogate = DistilCell(
            target=target,
            answers="scores",
            queries=chosen.queries,
            temperature=1.0,
            spec=own.spec,
            training=chosen.training,
            data=config.data,
            seed=config.seed,
            begin=own,
        )
        for source in (own, surrogate):
            shared: dict[str, Any] = {"common": common, "seed": config.seed, "purpose": "noise", **ball}
            attack = mi_di(ball, chosen.steps)
            made = CraftCell(label="MI-DI", sources=((source, "bp"),), attack=attack, **shared)
            yield TransferCell(made, target, config.confirmations if target in noisy else 1)


#: Signs that a figure of extraction is not what it seems.
CHECKS = (FOOLS_ITS_SOURCE,)


def _drifts(config: NoiseConfig, network: NetworkCell) -> Iterator[DriftCell]:
    """The classifier left alone: only its age in correlation times counts. And fitted anew while U drifts."""
    if config.device_kind != "dense":
        return  # no other can drift
    frames = round(config.per_input[0] * config.device_in)
    shared: dict[str, Any] = {"network": network, "frames": frames, "seed": config.seed}
    yield DriftCell(correlation=frames * max(config.drifts), ages=config.longest, **shared)
    for times in config.drifts:
        fitted: dict[str, Any] = {"fit_images": config.refit_images, "training": config.refit}
        yield DriftCell(correlation=frames * times, ages=(0.0, 0.5), **fitted, **shared)


def _retrievals(config: NoiseConfig) -> Iterator[RetrieveCell]:
    sizes = {"in_features": config.sweep_in, "out_features": config.sweep_rows}

    def retrieve(per_input: float, *, read_noise: float = 0.0, **more: Any) -> RetrieveCell:
        camera = replace(config.camera, read_noise=read_noise)
        device = kit.device_cell(config, owner="retrieval", camera=camera, **sizes)
        frames = round(per_input * config.sweep_in)
        return RetrieveCell(device=device, frames=frames, frame_rate=config.frame_rate, seed=config.seed, **more)

    for per_input in config.per_input:
        for noise in (0.0, *config.noises):
            yield retrieve(per_input, read_noise=noise, purpose="noise")
    for times in config.drifts if config.device_kind == "dense" else ():
        correlation = times * round(config.per_input[0] * config.sweep_in)
        yield retrieve(config.per_input[0], correlation=correlation, purpose="drift")


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> NoiseConfig:
    """The white-box study's network under one noise, and two drifts."""
    networks = kit.quick_networks(data, seed, precision)
    return NoiseConfig(
        **networks,
        noises=(16.0,),
        attacked=(16.0,),
        query_images=32,
        budget=80,
        eps=4 / 255,
        answers=(1, 4),
        rechecks=3,
        moving=(1.0,),
        confirmations=5,
        n_images=48,
        eps_paper=kit.QUICK_RADII[1:2],
        steps=10,
        step_size=0.002,
        rules=("dfa",),
        fit_images=2000,
        blurs=(0.6,),
        drifts=(1.0, 30.0),
        ages=(0.0, 0.5),
        refit=replace(FINE_TUNING, epochs=10),
        per_input=(12.0,),
        sweep_in=64,
        sweep_rows=64,
        extraction=SurrogateConfig(
            queries=200,
            training=replace(networks["baseline"], epochs=1, batch_size=25, learning_rate=0.02),
            n_images=100,
            eps_paper=2 * kit.QUICK_RADII[-1],
            steps=10,
        ),
    )


@recipe(
    CIFAR,
    "about 20 minutes on two cores, beside the training; CIFAR-100 some 25",
    "what noise and drift cost either side",
)
def laptop(data: str, seed: int, precision: Precision) -> NoiseConfig:
    networks = kit.laptop_networks(data, seed, precision)
    # As the study of extraction tunes by most queries; and at least 400 images that all get right.
    tuned = replace(networks["baseline"], epochs=3, batch_size=64, learning_rate=0.01, schedule=OneCycle(warmup=0.1))
    extraction = SurrogateConfig(training=tuned, n_images=2000 if data == "cifar100" else 700)
    return NoiseConfig(**networks, n_images=200, step_size=kit.PAPER_STEP[data], extraction=extraction)


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> NoiseConfig:
    networks = kit.paper_networks(data, seed, precision)
    tuned = TrainingConfig(epochs=10, learning_rate=0.01, schedule=OneCycle(warmup=0.1), precision=precision)
    extraction = SurrogateConfig(queries=50_000, training=tuned, n_images=10_000)
    more: dict[str, Any] = {"sweep_in": 512, "sweep_rows": 1000, "extraction": extraction}
    return NoiseConfig(**networks, n_images=1000, query_images=1000, budget=15_000, **more)


RECIPES = (quick, laptop, paper)
