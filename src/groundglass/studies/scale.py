"""Size: what devices of each kind cost as N and M grow, whether they are what they stand for, and what size buys a network."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from groundglass.adaptive import check_rules
from groundglass.attacks import PGD, paper_eps_to_pixels
from groundglass.data import Dataset
from groundglass.optics.fidelity import STANDINS
from groundglass.optics.medium import DeviceKind
from groundglass.optics.retrieval import FixedExposure, frames_needed
from groundglass.studies.attack_cells import AttackCell
from groundglass.studies.audited import audits
from groundglass.studies.cells import Cell, with_inputs
from groundglass.studies.networks import DeviceCell, NetworkCell
from groundglass.studies.placed import PlaceCell
from groundglass.studies.scale_cost import CostGrid, FitCell, cost_cells
from groundglass.studies.scale_fidelity import FidelityCell
from groundglass.studies.scale_networks import RowsCell, defended
from groundglass.studies.targets import TargetsConfig, baseline_network, device_cell

Sizes = tuple[tuple[int, int], ...]

_RULES = ("dfa-fresh", "bpda-drawn", "bpda-fit-linear", "dfa", "exact")
# These hold a matrix of the device's size, 8 bytes an entry.
_WITH_MATRIX = ("fa", "bpda-drawn", "exact")


@dataclass(frozen=True, kw_only=True)
class ScaleConfig(TargetsConfig):
    """A study of size, complete.

    Attributes:
        costs: sizes at which each kind of device is measured.
        fixed_in, fixed_out: N while M grows, and M while N grows.
        batch: inputs of the batched measurements.
        block: outputs that are measured of a device that is too large to be measured whole.
        repeats: turns of each measurement.
        laws: N, M of the media that are held against the laws of an i.i.d. matrix.
        padded: N, M of one more structured medium, whose N is no power of two.
        redraws: of each medium, for the laws over redraws.
        networks: (N, M) of the networks; `device_in` and `device_out` are not used. VGG-16 and the first one are audited.
        structured: (N, M) of those that are made once more, with a structured device.
        shared_in: the N of which the features are the other studies' "VGG-DFA", trained once for all; None: of no N.
        rules: what the networks are attacked with.
        matrix_entries: the most N M at which rules that hold a matrix of the device's size attack: 8 bytes an entry.
        n_images: the first so many test images are attacked.
        eps_paper: L-inf radii on the paper's axis.
        steps, step_size: of PGD; in pixel units.
        fit_images: natural training images that a fitted surrogate has seen.
        rows: of U that are retrieved.
        retrieved: N of further devices, without a network, of which as many rows are retrieved.
        per_input: frames an input bit that this takes.
        frame_rate: frames a second of the device.
    """

    costs: tuple[CostGrid, ...]
    fixed_in: int
    fixed_out: int
    batch: int = 64
    block: int = 4096
    repeats: int = 3
    laws: tuple[int, int] = (1024, 1024)
    padded: tuple[int, int] = (700, 1500)
    redraws: int = 40
    networks: Sizes
    structured: Sizes = ()
    shared_in: int | None = None
    rules: tuple[str, ...] = _RULES
    matrix_entries: int = 2**27
    n_images: int
    eps_paper: tuple[float, ...] = (0.01,)
    steps: int = 20
    step_size: float = 0.005
    fit_images: int = 10_000
    rows: int = 64
    retrieved: tuple[int, ...] = ()
    per_input: float = 12.0
    frame_rate: float = 2000.0

    def __post_init__(self) -> None:
        check_rules(self.rules)
        if self.n_images < 1 or self.block < 1 or self.repeats < 1 or self.batch < 1:
            raise ValueError("n_images, block, repeats and batch must be at least 1")
        if any(not 0 < e <= 2 for e in self.eps_paper):
            raise ValueError(f"eps_paper {self.eps_paper} must be in (0, 2]: units of the normalised images, as .05")
        for n, m in (*self.networks, *self.structured, *((n, self.rows) for n in self.retrieved)):
            least = frames_needed(FixedExposure(), n)
            if self.per_input * n < least:
                raise ValueError(
                    f"per_input (={self.per_input}) must be at least {least / n:.2f}: fewer retrieve nothing"
                )
            if m < self.rows:
                raise ValueError(f"rows (={self.rows}) must be at most {m}, the outputs of a device")


def cells(config: ScaleConfig, dataset: Dataset) -> list[Cell]:
    """Every cell of the study, in an order in which inputs come first: costs and laws before any training."""
    costs = cost_cells(
        config.costs,
        fixed_in=config.fixed_in,
        fixed_out=config.fixed_out,
        block=config.block,
        batch=config.batch,
        repeats=config.repeats,
    )
    networks = _networks(config, dataset)
    rows = _rows(config, networks)
    baseline = baseline_network(config, dataset)
    attacks = list(_attacks(config, dataset, baseline, networks))
    # Audits of all networks would take longer than all else: these are the two that other studies have too.
    audited = audits(config, dataset, (baseline, *networks[:1]))
    fits = FitCell((*costs, *rows))
    return with_inputs([*costs, *_laws(config), *rows, fits, baseline, *networks[:1], *audited, *networks, *attacks])


def _networks(config: ScaleConfig, dataset: Dataset) -> list[PlaceCell]:
    kinds: list[tuple[int, int, DeviceKind]] = [(n, m, config.device_kind) for n, m in config.networks]
    kinds += [(n, m, "structured") for n, m in config.structured]
    features = {} if config.shared_in is None else {config.shared_in: "VGG-DFA"}
    return [defended(config, dataset, n, m, kind, features=features.get(n, "")) for n, m, kind in dict.fromkeys(kinds)]


def _laws(config: ScaleConfig) -> list[FidelityCell]:
    media = [("dense", config.laws), ("structured", config.laws), ("structured", config.padded)]
    media += [(name, config.laws) for name in STANDINS]
    return [
        FidelityCell(medium=name, in_features=n, out_features=m, redraws=config.redraws, seed=config.seed)
        for name, (n, m) in media
    ]


def _rows(config: ScaleConfig, networks: list[PlaceCell]) -> list[RowsCell]:
    """One for each kind and N, of the network with the smallest M: what a row takes hangs on neither M nor the other rows."""
    smallest: dict[tuple[int, DeviceKind], DeviceCell] = {}
    for network in networks:
        device = network.device
        assert device is not None
        known = smallest.setdefault((device.in_features, device.device_kind), device)
        if device.out_features < known.out_features:
            smallest[device.in_features, device.device_kind] = device
    for n in config.retrieved:
        alone = device_cell(replace(config, device_in=n, device_out=config.rows), owner="retrieval")
        smallest.setdefault((n, config.device_kind), alone)
    return [
        RowsCell(
            device=device,
            rows=config.rows,
            frames=round(config.per_input * device.in_features),
            frame_rate=config.frame_rate,
            seed=config.seed,
        )
        for device in smallest.values()
    ]


def _attacks(
    config: ScaleConfig, dataset: Dataset, baseline: NetworkCell, networks: list[PlaceCell]
) -> Iterator[AttackCell]:
    for eps_paper in config.eps_paper:
        shared: dict[str, Any] = {
            "attack": PGD(steps=config.steps, step_size=config.step_size),
            "norm": "linf",
            "eps": paper_eps_to_pixels(eps_paper, dataset.std),
            "eps_paper": eps_paper,
            "n_images": config.n_images,
            "fit_images": config.fit_images,
            "gallery": 0,
            "seed": config.seed,
            "purpose": "scale",
        }
        yield AttackCell(target=baseline, rule="bp", **shared)
        for network in networks:
            assert network.device is not None
            entries = network.device.in_features * network.device.out_features
            for rule in config.rules:
                if rule not in _WITH_MATRIX or entries <= config.matrix_entries:
                    yield AttackCell(target=network, rule=rule, **shared)
