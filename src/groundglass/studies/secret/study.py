"""What a secret is worth in bits, and how soon an attacker knows what they are up against."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from groundglass.adaptive.signs import Again, Border, Digits, Flat, Jump, Repeat
from groundglass.attacks import PGD
from groundglass.attacks.gradient_attack import LinfStepSize
from groundglass.core.sequential import Error
from groundglass.core.settings import Count, In, Positive, Tally
from groundglass.data import Dataset
from groundglass.optics.retrieval import FixedExposure, frames_needed
from groundglass.results import Record
from groundglass.results.kinds import ATTACK, DETECT
from groundglass.studies import kit
from groundglass.studies.cells.check import Check, check_cells, entries
from groundglass.studies.cells.detect import DetectCell, IdentifyCell
from groundglass.studies.cells.network import DeviceCell, NetworkCell
from groundglass.studies.cells.noise import NoisyCell
from groundglass.studies.cells.retrieve import RetrieveCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.training import Precision, TrainingConfig
from groundglass.training.classifier import FINE_TUNING

Blur = Annotated[float, In("(0, 1.41422)", "a relative error, of which sqrt(2) is chance")]
# Scores of a candidate agree with an answer that is at most half its length away.
_WITHIN = 0.5
#: Who knows nothing of the secret and needs no data, who knows all of U, and who knows all of B.
_NONE, _ALL = ("bpda-drawn", "dfa-fresh", "bit-flip"), ("exact", "dfa")


@dataclass(frozen=True, kw_only=True)
class SecretConfig(kit.TargetsConfig):
    """A study of the worth of a secret, complete.

    Attributes:
        blurs: relative errors, up to sqrt(2), of a U between the true one and one drawn at random.
        feedback_blurs: the same of B.
        frames: that U is retrieved from, as a multiple of N.
        labels: labelled images that an attacker's own head is fitted to.
        natural: images of whose bits and logits a linear fit is made.
        fit_images: of the linear fit that is compared with the others.
        points: of each sequential test: images, or pairs of them; all streams draw from these.
        streams: of each test.
        budget: queries of a stream, at the most.
        alpha: bound of the chance of each wrong answer.
        digits: decimals of scores, where few are shown.
        read_noise: of a camera, grey levels; 0 leaves out who asks a network with noise.
        candidates: devices of which the attacker wants to know which it is; 0 leaves it out.
        candidate_errors: relative, of the U that they have of the true one.
    """

    n_images: Count
    eps_paper: tuple[kit.PaperRadius, ...]
    steps: Count = 50
    step_size: LinfStepSize = 0.005
    blurs: tuple[Blur, ...] = (0.1, 0.3, 0.6, 0.9, 1.1, 1.25, 1.35, 1.4)
    feedback_blurs: tuple[Blur, ...] = (0.3, 0.9, 1.25, 1.35, 1.4)
    frames: Positive = 12
    labels: tuple[Count, ...] = (10, 30, 100, 1000, 10_000)
    natural: tuple[Count, ...] = (100, 300, 1000, 5000)
    fit_images: Tally = 20_000
    points: Count = 300
    streams: Count = 100
    budget: Count = 5000
    alpha: Error = 1e-3
    digits: tuple[Digits, ...] = (3, 2, 1)
    read_noise: Annotated[float, In("[0, inf)")] = 16.0
    candidates: Tally = 10
    candidate_errors: tuple[Annotated[float, In("[0, 1.41422)")], ...] = (0.0, 0.6, 1.1)
    fine_tuning: TrainingConfig = FINE_TUNING

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eps_paper or not self.labels:
            raise ValueError("`eps_paper` and `labels` must have one entry at least")
        if self.candidates == 1:
            raise ValueError("`candidates` must be 0, or two and more: there is nothing to choose among one")
        least = frames_needed(FixedExposure(), self.device_in) / self.device_in
        if self.frames < least:
            raise ValueError(f"`frames` (={self.frames:g}) must be at least {least:.2f} N: fewer retrieve nothing")


def cells(config: SecretConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    baseline, network = kit.targets(config, dataset)
    attacks = list(_attacks(config, dataset, baseline, network))
    tests = list(_tests(config, baseline, network))
    checks = check_cells(CHECKS, (*attacks, *tests))
    audited = kit.audits(config, dataset, (baseline, network))
    return with_inputs([*network.inputs, baseline, network, *attacks, *tests, *audited, *checks])


def _attacks(config: SecretConfig, dataset: Dataset, baseline: NetworkCell, network: NetworkCell) -> Iterator[Cell]:
    """By what the attacker knows. Most of what the study of retrieval attacks with too is the same cell there."""
    attack = PGD(steps=config.steps, step_size=config.step_size)
    device = next(cell for cell in network.inputs if isinstance(cell, DeviceCell))
    frames = round(config.frames * device.in_features)
    retrieved = RetrieveCell(device=device, frames=frames, kept=True, seed=config.seed, purpose="price")
    for ball in kit.on_paper_axis(dataset, *config.eps_paper):
        theirs: dict[str, Any] = {**ball, "purpose": "retrieval"}
        own: dict[str, Any] = {**ball, "purpose": "secret"}
        # The length of a row is no part of what is known: those of retrieval know it.
        wrong: dict[str, Any] = {**own, "error_scale": "law"}
        yield kit.attack_cell(config, baseline, "bp", attack, **theirs)
        for rule in (*_NONE, *_ALL):
            shared = own if rule in ("dfa-fresh", "bit-flip") else theirs
            yield kit.attack_cell(config, network, rule, attack, **shared)
        yield kit.attack_cell(config, network, "bpda-retrieved", attack, retrieved=retrieved, **theirs)
        for error in config.blurs:
            yield kit.attack_cell(config, network, "exact-blurred", attack, matrix_error=error, **wrong)
        for error in config.feedback_blurs:
            yield kit.attack_cell(config, network, "dfa", attack, matrix_error=error, **wrong)
        for labels in config.labels:
            yield kit.attack_cell(config, network, "own-head", attack, labels=labels, **own)
        for images in config.natural:
            yield kit.attack_cell(config, network, "bpda-fit-linear", attack, **{**own, "fit_images": images})
        if config.fit_images:
            yield kit.attack_cell(config, network, "bpda-fit-linear", attack, **theirs)


def _tests(config: SecretConfig, baseline: NetworkCell, network: NetworkCell) -> Iterator[Cell]:
    """Of the network, of an ordinary one, and of two that have its lower weights: one ordinary, one with bits alone."""
    shared: dict[str, Any] = {
        "points": config.points,
        "streams": config.streams,
        "budget": config.budget,
        "alpha": config.alpha,
        "beta": config.alpha,
        "seed": config.seed,
    }
    tried: list[dict[str, Any]] = [
        {"network": network, "there": True},
        {"network": network, "subject": "bits-head", "there": True},
        {"network": network, "subject": "own-head", "there": False},
        {"network": baseline, "there": False},
    ]
    noisy = []
    if config.read_noise:
        # As the study of noise plans it.
        noisy = [
            NoisyCell(network=network, read_noise=config.read_noise, training=config.fine_tuning, seed=config.seed)
        ]
        tried.append({"network": noisy[0], "there": True})
    for one in tried:
        for sign in (Flat(), *(Jump(digits=digits) for digits in config.digits), Border()):
            yield DetectCell(sign=sign, **one, **shared)
    for one in tried[:2]:
        yield DetectCell(sign=Again(), **{**one, "there": one.get("subject") == "bits-head"}, **shared)
    for there, target in ((False, network), *((True, one) for one in noisy)):
        yield DetectCell(sign=Repeat(), network=target, there=there, **shared)
    if config.candidates:
        which: dict[str, Any] = {name: value for name, value in shared.items() if name != "beta"}
        for access, within in (("scores", _WITHIN), ("labels", None)):
            for error in config.candidate_errors:
                chosen: dict[str, Any] = {"candidates": config.candidates, "matrix_error": error, "access": access}
                chosen["within"] = within
                yield IdentifyCell(network=network, **chosen, **which)


# Streams that may be wrong by chance, beside those that the bound allows.
_CHANCE = 2


def _false_alarms(records: Sequence[Record]) -> dict[str, float]:
    """Wrong answers about ordinary networks, and wrong candidates, beyond the bound. Noise and few digits hide a layer: that is
    what the study shows, and no fault of a test."""
    wrong: dict[str, float] = {}
    for one in entries(records, DETECT):
        bounded = not one.config.there or one.config.question == "which"
        if bounded and one.result.wrong > one.config.alpha * one.result.streams + _CHANCE:
            wrong[one.name] = one.result.wrong
    return wrong


def _worth_less_than_nothing(records: Sequence[Record]) -> dict[str, float]:
    """All of U, or of B, must be worth no less than a matrix of one's own, or the attack does not use it."""
    worse: dict[str, float] = {}
    for known, drawn in (("exact", "bpda-drawn"), ("dfa", "dfa-fresh")):
        for one in entries(records, ATTACK, rule=known, matrix_error=None):
            for other in entries(records, ATTACK, rule=drawn, eps=one.config.eps, model=one.config.model):
                gap = one.result.robust_accuracy - other.result.robust_accuracy
                if gap > max(0.01, 2 / one.result.n_images):
                    worse[one.name] = round(gap, 4)
    return worse


#: Signs that a study of a secret fools itself.
CHECKS = (
    Check(
        "sequential tests are as seldom wrong as they say",
        f"no more streams with a false alarm, or a wrong candidate, than the bound allows, and {_CHANCE} by chance",
        _false_alarms,
    ),
    Check(
        "the whole secret is worth no less than none of it",
        "an attacker with all of U, or of B, leaves no more right than one who drew theirs",
        _worth_less_than_nothing,
    ),
)


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> SecretConfig:
    """The attacks of the study of retrieval, and a few more; short tests."""
    return SecretConfig(
        **kit.quick_networks(data, seed, precision),
        n_images=64,
        eps_paper=kit.QUICK_RADII[1:2],
        steps=20,
        step_size=0.002,
        blurs=(0.6, 1.25),
        feedback_blurs=(1.25,),
        labels=(500,),
        natural=(),
        fit_images=2000,
        points=16,
        streams=10,
        digits=(),
        read_noise=0.0,
        candidates=3,
        candidate_errors=(0.6,),
    )


@recipe(
    CIFAR,
    "about 20 minutes on two cores, beside the training; CIFAR-100 some 30",
    "accuracy under attack against bits of the secret, and queries until an attacker knows",
)
def laptop(data: str, seed: int, precision: Precision) -> SecretConfig:
    networks = kit.laptop_networks(data, seed, precision)
    return SecretConfig(**networks, n_images=256, eps_paper=(0.01, 0.02), step_size=kit.PAPER_STEP[data])


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> SecretConfig:
    networks = kit.paper_networks(data, seed, precision)
    sizes: dict[str, Any] = {"n_images": 1000, "eps_paper": (0.01, 0.02, 0.03), "points": 2000, "streams": 1000}
    return SecretConfig(**networks, step_size=kit.PAPER_STEP[data], **sizes)


RECIPES = (quick, laptop, paper)
