"""What devices cost as they grow, how that grows, and whether a medium is what it stands for."""

from dataclasses import dataclass

from groundglass.core.schema import named
from groundglass.results.kinds.base import Column, Kind


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """One device that is timed: `block` outputs are measured, the rest is projected."""

    device_kind: str
    in_features: int
    out_features: int
    sweep: str
    block: int
    batch: int
    repeats: int


@dataclass(frozen=True, kw_only=True)
class CostResult:
    """Seconds of each turn (`one`, `batch`), their medians (`one_seconds`, `each_seconds`), and bytes above the bare process."""

    make_seconds: float
    one: tuple[float, ...]
    batch: tuple[float, ...]
    held_bytes: int
    peak_bytes: int | None
    threads: int
    projected: bool
    one_seconds: float
    each_seconds: float


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Power laws through the largest `points` sizes."""

    points: int


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """quantity = factor x size ** exponent, between two sizes."""

    device_kind: str
    sweep: str
    quantity: str
    exponent: float
    factor: float
    smallest: int = named("from")
    largest: int = named("to")


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """How costs grow."""

    fits: tuple[PowerLaw, ...]


@dataclass(frozen=True, kw_only=True)
class FidelityConfig:
    """A medium held against the laws of an i.i.d. complex Gaussian matrix."""

    medium: str
    standin: bool
    in_features: int
    out_features: int
    redraws: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class LawResult:
    """One law: what an i.i.d. matrix gives, what was measured, and how many standard errors lie between."""

    name: str
    says: str
    measured: float
    expected: float
    standard_error: float
    score: float
    expected_to_differ: bool
    holds: bool


@dataclass(frozen=True, kw_only=True)
class FidelityResult:
    """All laws of one medium, and how many hold."""

    laws: tuple[LawResult, ...]
    holding: int
    of: int


COST: Kind[CostConfig, CostResult] = Kind(
    "cost",
    CostConfig,
    CostResult,
    "costs",
    {
        "simulation": Column("dense, procedural or structured", lambda e: e.config.device_kind),
        "inputs": Column("N, input bits", lambda e: e.config.in_features),
        "outputs": Column("M, readings", lambda e: e.config.out_features),
        "sweep": Column("square: N = M; outputs: M grows; inputs: N grows", lambda e: e.config.sweep),
        "batch": Column("inputs of a batch", lambda e: e.config.batch),
        "block": Column("outputs that were measured", lambda e: e.config.block),
        "projected": Column("only a block of outputs was measured", lambda e: e.result.projected),
        "make_seconds": Column("drawing U and setting the exposure", lambda e: e.result.make_seconds),
        "one_seconds": Column("one measurement, median", lambda e: e.result.one_seconds),
        "one_seconds_low": Column(
            "the fastest turn", lambda e: min(e.result.one) * e.config.out_features / e.config.block
        ),
        "one_seconds_high": Column(
            "the slowest turn", lambda e: max(e.result.one) * e.config.out_features / e.config.block
        ),
        "each_seconds": Column("each of a batch, median", lambda e: e.result.each_seconds),
        "held_bytes": Column("between measurements", lambda e: e.result.held_bytes),
        "peak_bytes": Column("at most", lambda e: e.result.peak_bytes),
        "threads": Column("of the measurement", lambda e: e.result.threads),
    },
)
FIT: Kind[FitConfig, FitResult] = Kind(
    "fit", FitConfig, FitResult, "fits", {"power_laws": Column("how many", lambda e: len(e.result.fits))}
)
FIDELITY: Kind[FidelityConfig, FidelityResult] = Kind(
    "fidelity",
    FidelityConfig,
    FidelityResult,
    "laws",
    {
        "medium": Column("a kind of device, or a stand-in", lambda e: e.config.medium),
        "standin": Column("known to be no such matrix", lambda e: e.config.standin),
        "inputs": Column("N, input bits", lambda e: e.config.in_features),
        "outputs": Column("M, readings", lambda e: e.config.out_features),
        "holding": Column("laws that hold", lambda e: e.result.holding),
        "of": Column("laws that were tested", lambda e: e.result.of),
    },
)
