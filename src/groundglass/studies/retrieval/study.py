"""The price of the secret: what retrieving U takes, and what the retrieved U is worth to an attacker."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from groundglass.attacks import PGD
from groundglass.attacks.gradient_attack import LinfStepSize
from groundglass.core.settings import Count, In, NotNegative, Positive, Share, Tally
from groundglass.data import Dataset
from groundglass.optics.retrieval import FixedExposure, Multilateration, SparseInputs, frames_needed
from groundglass.results import Record
from groundglass.results.kinds import ATTACK, RETRIEVE
from groundglass.results.kinds.retrieve import RetrieveResult
from groundglass.studies import kit
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.check import Check, check_cells, entries
from groundglass.studies.cells.network import DeviceCell, NetworkCell
from groundglass.studies.cells.retrieve import RetrieveCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.training import Precision

# Attackers who have not retrieved anything, from the weakest; the last knows the secret.
_WITHOUT = ("bpda-drawn", "bpda-fit-linear", "dfa", "exact")
# Frames an input in the sweeps of one thing, and of the three methods: multilateration's own number is about 15.
_SWEEP, _METHODS = 12, 15


_Blur = Annotated[float, In("(0, 1.41422)", "a relative error, of which sqrt(2) is chance")]
_Bits = Annotated[int, In("[1, 8]")]


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig(kit.TargetsConfig):
    """A study of the retrieval of U, complete.

    Attributes:
        queries: frames that retrieve the network's own U, as multiples of N; also the sweep over frames.
        blurs: relative errors, up to sqrt(2), of a U between the true one and one drawn at random: how good must a retrieval be?
        periods: seconds between redraws.
        frame_rate: frames a second of the device.
        sizes: N of devices on which errors are swept over frames.
        noises, bits, saturations: of cameras, one varied at a time on a device of `sweep_in` inputs.
        sweep_in, sweep_rows: N and M of the devices of all other sweeps; M of all.
    """

    n_images: Count
    eps_paper: tuple[kit.PaperRadius, ...]
    steps: Count = 50
    step_size: LinfStepSize = 0.005
    fit_images: Tally = 10_000
    queries: tuple[Positive, ...] = (4.5, 5, 6, 8, 12, 24)
    blurs: tuple[_Blur, ...] = (
        0.1,
        0.3,
        0.6,
        0.9,
        1.1,
        1.25,
        1.35,
    )
    periods: tuple[Positive, ...]
    frame_rate: Positive = 2000.0
    sizes: tuple[Count, ...] = (256, 512, 1024)
    noises: tuple[NotNegative, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    bits: tuple[_Bits, ...] = (6, 5, 4, 3)
    saturations: tuple[Share, ...] = (0.0001, 0.001, 0.1, 0.3)
    sweep_in: Count = 256
    sweep_rows: Count = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        least = frames_needed(FixedExposure(), self.device_in) / self.device_in
        if not self.queries or min(self.queries) < least:
            raise ValueError(f"queries {self.queries} must be at least {least:.2f} N each: fewer retrieve nothing")


def cells(config: RetrievalConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first: the network's own U before any sweep."""
    baseline, defended = kit.targets(config, dataset)
    own = next(cell for cell in defended.inputs if isinstance(cell, DeviceCell))
    priced = [_retrieve(config, own, per_input, kept=True, purpose="price") for per_input in config.queries]
    priced += _between_redraws(config, own)
    attacks = list(_attacks(config, dataset, baseline, defended, priced))
    sweeps = [*_over_frames(config), *_over_cameras(config), *_over_methods(config)]
    checks = check_cells(CHECKS, (*priced, *sweeps, *attacks))
    audited = kit.audits(config, dataset, (baseline, defended))
    return with_inputs([*defended.inputs, baseline, defended, *audited, *priced, *attacks, *sweeps, *checks])


def _retrieve(config: RetrievalConfig, device: DeviceCell, per_input: float, **changes: Any) -> RetrieveCell:
    settings: dict[str, Any] = {"frame_rate": config.frame_rate, "seed": config.seed, **changes}
    return RetrieveCell(device=device, frames=round(per_input * device.in_features), **settings)


def _between_redraws(config: RetrievalConfig, own: DeviceCell) -> Iterator[RetrieveCell]:
    """What an attacker gets before the matrix changes. A period with too few frames has no cell: nothing can be retrieved."""
    for period in config.periods:
        frames = round(period * config.frame_rate)
        if frames >= frames_needed(FixedExposure(), own.in_features):
            per_input = frames / own.in_features
            yield _retrieve(config, own, per_input, kept=True, purpose="period", period=period)


def _attacks(
    config: RetrievalConfig,
    dataset: Dataset,
    baseline: NetworkCell,
    defended: NetworkCell,
    retrieved: list[RetrieveCell],
) -> Iterator[AttackCell]:
    attack = PGD(steps=config.steps, step_size=config.step_size)
    for ball in kit.on_paper_axis(dataset, *config.eps_paper):
        shared: dict[str, Any] = {**ball, "purpose": "retrieval"}
        yield kit.attack_cell(config, baseline, "bp", attack, **shared)
        for rule in _WITHOUT:
            yield kit.attack_cell(config, defended, rule, attack, **shared)
        for cell in retrieved:
            yield kit.attack_cell(config, defended, "bpda-retrieved", attack, retrieved=cell, **shared)
        for error in config.blurs:
            yield kit.attack_cell(config, defended, "exact-blurred", attack, matrix_error=error, **shared)


def _device(config: RetrievalConfig, in_features: int, **camera: Any) -> DeviceCell:
    """A device to be measured, not defended with: only its rows' number differs from a real one."""
    seen = replace(config.camera, **camera)
    sizes = {"in_features": in_features, "out_features": config.sweep_rows}
    return kit.device_cell(config, owner="retrieval", camera=seen, **sizes)


def _over_frames(config: RetrievalConfig) -> Iterator[RetrieveCell]:
    for size in config.sizes:
        for per_input in config.queries:
            if round(per_input * size) >= frames_needed(FixedExposure(), size):
                yield _retrieve(config, _device(config, size), per_input, purpose="queries")


def _over_cameras(config: RetrievalConfig) -> Iterator[RetrieveCell]:
    """One thing varied at a time; each sweep has the camera as it is, too."""
    n, camera = config.sweep_in, config.camera
    for noise in dict.fromkeys((camera.read_noise, *config.noises)):
        yield _retrieve(config, _device(config, n, read_noise=noise), _SWEEP, purpose="noise")
    for bits in dict.fromkeys((camera.bits, *config.bits)):
        yield _retrieve(config, _device(config, n, bits=bits), _SWEEP, purpose="bits")
    for saturation in dict.fromkeys((camera.saturation, *config.saturations)):
        yield _retrieve(config, _device(config, n, saturation=saturation), _SWEEP, purpose="exposure")


def _over_methods(config: RetrievalConfig) -> Iterator[RetrieveCell]:
    device = _device(config, config.sweep_in)
    for method in (FixedExposure(), Multilateration(), SparseInputs()):
        yield _retrieve(config, device, _METHODS, method=method, purpose="method")
    fewest = frames_needed(SparseInputs(), config.sweep_in) / config.sweep_in
    yield _retrieve(config, device, fewest, method=SparseInputs(), purpose="method")


# Between what the attacker can tell from held-out readings and the truth: a row at the border counts here or there.
_TOLD = 0.05


def _misjudged(records: Sequence[Record]) -> dict[str, float]:
    # Those that attacks use. Noise hides small errors from every reading, and the other methods err most along the field that
    # all inputs share, which spoils predictions beyond what it adds to the error.
    own = [one for one in entries(records, RETRIEVE) if one.config.purpose in ("price", "period")]
    known = [(one.name, one.result.told_share, one.result.failed_share) for one in own]
    gaps = {name: round(told - failed, 4) for name, told, failed in known if failed is not None}
    return {name: gap for name, gap in gaps.items() if abs(gap) > _TOLD}


def _wrong(result: RetrieveResult) -> float:
    """The share of wrong rows; as far as the attacker can tell, where the true U is not here to compare with."""
    return result.told_share if result.failed_share is None else result.failed_share


def _weaker_than_drawn(records: Sequence[Record]) -> dict[str, float]:
    """A good retrieval must be worth no less than a matrix of one's own, or the attack does not use it."""
    good = {one.key for one in entries(records, RETRIEVE) if _wrong(one.result) < 0.01}
    weaker: dict[str, float] = {}
    for drawn in entries(records, ATTACK, rule="bpda-drawn"):
        for one in entries(records, ATTACK, rule="bpda-retrieved", eps=drawn.config.eps):
            gap = one.result.robust_accuracy - drawn.result.robust_accuracy
            if good & set(one.inputs) and gap > max(0.01, 2 / one.result.n_images):
                weaker[one.name] = round(gap, 4)
    return weaker


#: Signs that a study of the retrieval of U fools itself.
CHECKS = (
    Check(
        "held-out readings tell the truth",
        f"held-out readings tell the share of failed rows to {_TOLD:.0%}",
        _misjudged,
    ),
    Check(
        "a retrieved U beats a drawn one",
        "a retrieved U leaves no more right than one drawn at random",
        _weaker_than_drawn,
    ),
)


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> RetrievalConfig:
    """The white-box study's device read out, and what that is worth."""
    return RetrievalConfig(
        **kit.quick_networks(data, seed, precision),
        n_images=64,
        eps_paper=kit.QUICK_RADII[1:2],
        steps=20,
        step_size=0.002,
        fit_images=2000,
        queries=(6, 12),
        blurs=(0.6, 1.25),
        periods=(0.5, 1.5),
        sizes=(128,),
        noises=(2.0,),
        bits=(4,),
        saturations=(0.1,),
        sweep_in=128,
        sweep_rows=64,
    )


@recipe(
    CIFAR,
    "about 15 minutes on two cores, most of them training; CIFAR-100 some 40",
    "what U costs an attacker, and what it is worth",
)
def laptop(data: str, seed: int, precision: Precision) -> RetrievalConfig:
    return RetrievalConfig(
        **kit.laptop_networks(data, seed, precision),
        n_images=256,
        eps_paper=(0.01, 0.02),
        step_size=kit.PAPER_STEP[data],
        fit_images=20_000,
        periods=(1, 1.5, 2, 3, 5, 10, 20),
    )


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> RetrievalConfig:
    return RetrievalConfig(
        **kit.paper_networks(data, seed, precision),
        n_images=1000,
        eps_paper=(0.01, 0.02, 0.03),
        step_size=kit.PAPER_STEP[data],
        fit_images=20_000,
        periods=(1, 2, 4, 6, 12, 24, 60),
        sizes=(256, 1024, 2048, 4096),
        sweep_in=1024,
    )


RECIPES = (quick, laptop, paper)
