"""A device that is watched: how soon a guard sees a retrieval, how often it is wrong, and what an attacker pays to stay
unseen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from groundglass.attacks import PGD
from groundglass.attacks.gradient_attack import LinfStepSize
from groundglass.core.settings import Count, In, Positive
from groundglass.data import Dataset
from groundglass.optics.retrieval import FixedExposure, frames_needed
from groundglass.results import Record
from groundglass.results.kinds import WATCH
from groundglass.studies import kit
from groundglass.studies.cells.check import Check, check_cells, entries
from groundglass.studies.cells.guard import HONEST, RETRIEVALS, EvadingCell, GuardCell, WatchCell
from groundglass.studies.cells.network import DeviceCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, recipe
from groundglass.training import Precision

_Blur = Annotated[float, In("(0, 1.41422)", "a relative error, of which sqrt(2) is chance")]
_Mixed = Annotated[float, In("(0, 1)", "a share of the rows")]
#: Of these streams the guard may be wrong by chance in a few.
_CHANCE = 3


@dataclass(frozen=True, kw_only=True)
class ServiceConfig(kit.TargetsConfig):
    """A study of a watched device, complete.

    Attributes:
        streams, frames: that come to the guard of each kind; each stream begins anew, and has so many frames at the most.
        limits: frames between two false alarms that the guard is held to, rising.
        mixed: shares of the rows that are of a retrieval, the others natural.
        per_input: frames an input, of retrievals with inputs that look natural or are.
        others: the same, with inputs that match shares, or pairs.
        rows: of U that these retrieve.
        periods: seconds between redraws.
        frame_rate: frames a second of the device.
        blurs: relative errors of a U with which the network is attacked: what is a retrieval of that error worth?
    """

    n_images: Count
    eps_paper: tuple[kit.PaperRadius, ...]
    steps: Count = 50
    step_size: LinfStepSize = 0.005
    streams: Count = 20
    frames: Count = 20_000
    limits: tuple[Positive, ...] = (1e4, 1e6, 1e8)
    mixed: tuple[_Mixed, ...] = (0.1, 0.01, 0.001)
    per_input: tuple[Positive, ...] = (5, 6, 8, 12, 24)
    others: tuple[Positive, ...] = (12,)
    rows: Count = 64
    periods: tuple[Positive, ...] = (1, 1.5, 2, 3, 5, 10)
    frame_rate: Positive = 2000.0
    blurs: tuple[_Blur, ...] = (0.1, 0.6)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.limits or list(self.limits) != sorted(set(self.limits)):
            raise ValueError(f"limits {self.limits} must rise, and there must be one")
        least = frames_needed(FixedExposure(), self.device_in) / self.device_in
        if not self.per_input or min((*self.per_input, *self.others)) < least:
            raise ValueError(
                f"per_input {self.per_input} and others {self.others} must be at least {least:.2f} each: fewer retrieve nothing"
            )


def cells(config: ServiceConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first."""
    network = kit.targets(config, dataset)[1]
    own = next(cell for cell in network.inputs if isinstance(cell, DeviceCell))
    shared: dict[str, Any] = {"streams": config.streams, "frames": config.frames, "limits": config.limits}
    watches = []
    for by_class in (False, True):
        guard = GuardCell(network=network, by_class=by_class)
        each: dict[str, Any] = {"network": network, "guard": guard, "seed": config.seed, **shared}
        watches += [WatchCell(traffic=traffic, **each) for traffic in (*HONEST, *RETRIEVALS)]  # type: ignore[arg-type]
        watches += [WatchCell(traffic="fixed-exposure", share=share, **each) for share in config.mixed]
    evading = list(_evading(config, network, own))
    checks = check_cells(CHECKS, watches)
    return with_inputs(
        [
            network,
            *watches,
            *evading,
            *_worth(config, dataset, network),
            *kit.audits(config, dataset, (network,)),
            *checks,
        ]
    )


def _evading(config: ServiceConfig, network: Any, own: DeviceCell) -> Iterator[EvadingCell]:
    for source, counts in (("natural", config.per_input), ("shares", config.others), ("pairs", config.others)):
        for per_input in counts:
            yield EvadingCell(
                device=own,
                network=network,
                inputs_from=source,  # type: ignore[arg-type]
                frames=round(per_input * own.in_features),
                rows=min(config.rows, own.out_features),
                frame_rate=config.frame_rate,
                seed=config.seed,
                purpose="guard",
            )


def _worth(config: ServiceConfig, dataset: Dataset, network: Any) -> Iterator[Cell]:
    """PGD with the exact U, one that is off, and one drawn at random: the same attacks as the study of retrieval makes."""
    attack = PGD(steps=config.steps, step_size=config.step_size)
    for ball in kit.on_paper_axis(dataset, *config.eps_paper):
        shared: dict[str, Any] = {**ball, "purpose": "retrieval"}
        for rule in ("bpda-drawn", "exact"):
            yield kit.attack_cell(config, network, rule, attack, **shared)
        for error in config.blurs:
            yield kit.attack_cell(config, network, "exact-blurred", attack, matrix_error=error, **shared)


def _too_often(records: Sequence[Record]) -> dict[str, float]:
    """More false alarms than the guard says, by more than chance: on new images of the network's own data, in their mixture."""
    wrong: dict[str, float] = {}
    for one in entries(records, WATCH, traffic="images"):
        for noticed in one.result.noticed:
            if noticed.found > noticed.watched / noticed.limit + _CHANCE:
                wrong[f"{one.name}, limit {noticed.limit:g}"] = noticed.found
    return wrong


#: Signs that a study of a guard fools itself.
CHECKS = (
    Check(
        "false alarms are as rare as the guard says",
        f"natural rows raise at most one alarm in as many frames as the limit says, and {_CHANCE} by chance",
        _too_often,
    ),
)


@recipe(SMALL, QUICK_COST, QUICK_EXPECT)
def quick(data: str, seed: int, precision: Precision) -> ServiceConfig:
    """The white-box study's network behind a guard."""
    return ServiceConfig(
        **kit.quick_networks(data, seed, precision),
        n_images=64,
        eps_paper=kit.QUICK_RADII[1:2],
        steps=20,
        step_size=0.002,
        streams=4,
        frames=1000,
        limits=(1e4, 1e6),
        mixed=(0.1,),
        per_input=(12,),
        others=(),
        rows=16,
        periods=(0.5, 1.5),
        blurs=(0.6,),
    )


@recipe(
    CIFAR,
    "about 10 minutes on two cores, beside the training",
    "how soon a guard sees a retrieval, and what unseen inputs retrieve",
)
def laptop(data: str, seed: int, precision: Precision) -> ServiceConfig:
    networks = kit.laptop_networks(data, seed, precision)
    return ServiceConfig(**networks, n_images=256, eps_paper=(0.01, 0.02), step_size=kit.PAPER_STEP[data])


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's sizes")
def paper(data: str, seed: int, precision: Precision) -> ServiceConfig:
    more: dict[str, Any] = {"streams": 100, "rows": 256, "frames": 100_000}
    networks = kit.paper_networks(data, seed, precision)
    return ServiceConfig(
        **networks,
        n_images=1000,
        eps_paper=(0.01, 0.02, 0.03),
        step_size=kit.PAPER_STEP[data],
        **more,
    )


RECIPES = (quick, laptop, paper)
