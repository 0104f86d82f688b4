"""Size: what devices of each kind cost as N and M grow, whether they are what they stand for, and what size buys a network."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from groundglass.attacks import PGD
from groundglass.attacks.gradient_attack import LinfStepSize
from groundglass.core.settings import Count, Positive, Tally
from groundglass.data import Dataset
from groundglass.optics.fidelity import STANDINS
from groundglass.optics.medium import DeviceKind
from groundglass.optics.retrieval import FixedExposure, frames_needed
from groundglass.studies import kit
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.cost import CostGrid, FitCell, cost_cells
from groundglass.studies.cells.fidelity import FidelityCell
from groundglass.studies.cells.network import DeviceCell, NetworkCell, PlaceCell
from groundglass.studies.cells.retrieve import RowsCell
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_EXPECT, SMALL, recipe
from groundglass.training import Precision

Sizes = tuple[tuple[Count, Count], ...]

_RULES = ("dfa-fresh", "bpda-drawn", "bpda-fit-linear", "dfa", "exact")
# These hold a matrix of the device's size, 8 bytes an entry.
_WITH_MATRIX = ("fa", "bpda-drawn", "exact")


@dataclass(frozen=True, kw_only=True)
class ScaleConfig(kit.TargetsConfig):
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
        matrix_entries: the most N M at which rules that hold a matrix of the device's size attack: 8 bytes an entry.
        rows: of U that are retrieved.
        retrieved: N of further devices, without a network, of which as many rows are retrieved.
        per_input: frames an input bit that this takes.
        frame_rate: frames a second of the device.
    """

    costs: tuple[CostGrid, ...]
    fixed_in: Count = 2**12
    fixed_out: Count = 2**12
    batch: Count = 64
    block: Count = 4096
    repeats: Count = 3
    laws: tuple[Count, Count] = (1024, 1024)
    padded: tuple[Count, Count] = (700, 1500)
    redraws: Count = 40
    networks: Sizes
    structured: Sizes = ()
    shared_in: Count | None = None
    rules: tuple[str, ...] = _RULES
    matrix_entries: Count = 2**27
    n_images: Count
    eps_paper: tuple[kit.PaperRadius, ...] = (0.01,)
    steps: Count = 20
    step_size: LinfStepSize = 0.005
    fit_images: Tally = 10_000
    rows: Count = 64
    retrieved: tuple[Count, ...] = ()
    per_input: Positive = 12.0
    frame_rate: Positive = 2000.0

    def __post_init__(self) -> None:
        super().__post_init__()
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
    sizes = {name: getattr(config, name) for name in ("fixed_in", "fixed_out", "block", "batch", "repeats")}
    costs = cost_cells(config.costs, **sizes)
    networks = _networks(config, dataset)
    rows = _rows(config, networks)
    baseline = kit.baseline_network(config, dataset)
    attacks = list(_attacks(config, dataset, baseline, networks))
    # Audits of all networks would take longer than all else: these are the two that other studies have too.
    audited = kit.audits(config, dataset, (baseline, *networks[:1]))
    fits = FitCell((*costs, *rows))
    return with_inputs([*costs, *_laws(config), *rows, fits, baseline, *networks[:1], *audited, *networks, *attacks])


def _networks(config: ScaleConfig, dataset: Dataset) -> list[PlaceCell]:
    """Behind each device of a kind and a size; features of N bits serve devices of any kind and any M."""
    kinds: list[tuple[int, int, DeviceKind]] = [(n, m, config.device_kind) for n, m in config.networks]
    kinds += [(n, m, "structured") for n, m in config.structured]
    found = []
    for n, m, kind in dict.fromkeys(kinds):
        # Under another study's name for it, a network is trained once for both.
        shared = "VGG-DFA" if n == config.shared_in else f"VGG-DFA N={n}"
        features = kit.hybrid_network(config, dataset, shared, features=n)
        device = kit.device_cell(config, in_features=n, out_features=m, device_kind=kind)
        name = f"VGG-OPU {n}x{m}" + ("" if kind == "dense" else f" {kind}")
        found.append(kit.placed_network(config, name, features, device))
    return found


def _laws(config: ScaleConfig) -> list[FidelityCell]:
    media = [("dense", config.laws), ("structured", config.laws), ("structured", config.padded)]
    media += [(name, config.laws) for name in STANDINS]
    return [
        FidelityCell(medium=name, in_features=n, out_features=m, redraws=config.redraws, seed=config.seed)
        for name, (n, m) in media
    ]


def _rows(config: ScaleConfig, networks: list[PlaceCell]) -> list[RowsCell]:
    """One for each kind and N, of the network with the smallest M: the time of a row depends on neither M nor the other rows."""
    smallest: dict[tuple[int, DeviceKind], DeviceCell] = {}
    for network in networks:
        device = network.device
        assert device is not None
        known = smallest.setdefault((device.in_features, device.device_kind), device)
        if device.out_features < known.out_features:
            smallest[device.in_features, device.device_kind] = device
    for n in config.retrieved:
        alone = kit.device_cell(config, owner="retrieval", in_features=n, out_features=config.rows)
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
    attack = PGD(steps=config.steps, step_size=config.step_size)
    for ball in kit.on_paper_axis(dataset, *config.eps_paper):
        yield kit.attack_cell(config, baseline, "bp", attack, **ball, purpose="scale")
        for network in networks:
            assert network.device is not None
            entries = network.device.in_features * network.device.out_features
            for rule in config.rules:
                if rule not in _WITH_MATRIX or entries <= config.matrix_entries:
                    yield kit.attack_cell(config, network, rule, attack, **ball, purpose="scale")


#: Costs up to a million by a million: dense up to 2 GiB, procedural in blocks of outputs past 2^30 entries.
COSTS = (
    CostGrid(
        "dense",
        square=(2**10, 2**12, 2**14, 2**15),
        outputs=(2**12, 2**14, 2**16, 2**18),
        inputs=(2**12, 2**14, 2**16),
    ),
    CostGrid(
        "procedural",
        square=(2**10, 2**12, 2**14, 2**16, 2**18, 2**20),
        outputs=(2**12, 2**14, 2**16, 2**18),
        inputs=(2**12, 2**14, 2**16),
        whole=2**30,
    ),
    CostGrid(
        "structured",
        square=(2**10, 2**12, 2**14, 2**16, 2**18, 2**20),
        outputs=(2**12, 2**14, 2**16, 2**18, 2**20),
        inputs=(2**12, 2**14, 2**16, 2**18, 2**20),
    ),
)


@recipe(SMALL, "about 2 minutes on one core", QUICK_EXPECT, in_all=False)
def quick(data: str, seed: int, precision: Precision) -> ScaleConfig:
    """Devices up to 2^14, three small networks, 32 rows of each U."""
    shared = kit.quick_networks(data, seed, precision)
    short = replace(shared["hybrid"], epochs=3)
    return ScaleConfig(
        **{**shared, "baseline": short, "hybrid": short, "audit_images": 24},
        costs=(
            CostGrid("dense", square=(2**8, 2**10, 2**12)),
            CostGrid("procedural", square=(2**10, 2**14), whole=2**24),
            CostGrid("structured", square=(2**10, 2**12, 2**14)),
        ),
        fixed_in=2**10,
        fixed_out=2**10,
        block=128,
        laws=(256, 512),
        padded=(200, 600),
        redraws=8,
        networks=((64, 500), (256, 500), (64, 2000)),
        structured=((256, 500),),
        n_images=64,
        eps_paper=kit.QUICK_RADII[1:2],
        steps=10,
        fit_images=2000,
        rows=32,
    )


@recipe(
    CIFAR,
    "about 25 minutes on two cores; CIFAR-100 some 35",
    "what devices cost up to a million by a million, and what size buys a network",
)
def laptop(data: str, seed: int, precision: Precision) -> ScaleConfig:
    """At N = 8192 features do not train at this learning rate: a linear readout of so many is too steep for it. Retrieval
    alone goes further. VGG-16 is the white-box recipe's and the features of N = 1024 the transfer recipe's.
    """
    return ScaleConfig(
        **kit.laptop_networks(data, seed, precision),
        costs=COSTS,
        networks=((1024, 8000), (2048, 8000), (1024, 32_000)),
        structured=((2048, 8000),),
        shared_in=1024,
        retrieved=(4096, 8192, 16_384),
        n_images=256,
        step_size=kit.PAPER_STEP[data],
        fit_images=20_000,
    )


@recipe(CIFAR, FOR_A_GPU, "the same at the paper's width")
def paper(data: str, seed: int, precision: Precision) -> ScaleConfig:
    return ScaleConfig(
        **{**kit.paper_networks(data, seed, precision), "classifier": kit.paper_training(5, 0.01, precision)},
        costs=COSTS,
        networks=((512, 8000), (2048, 8000), (8192, 8000), (512, 32_000), (512, 128_000), (8192, 128_000)),
        structured=((2048, 8000), (8192, 128_000)),
        n_images=10_000,
        eps_paper=(0.01, 0.02),
        steps=50,
        step_size=kit.PAPER_STEP[data],
        fit_images=50_000,
    )


RECIPES = (quick, laptop, paper)
