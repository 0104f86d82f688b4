"""What devices cost as they grow, how that grows, and whether a medium is what it stands for."""

from dataclasses import dataclass
from statistics import median

from groundglass.core.schema import named
from groundglass.core.text import duration
from groundglass.results.kinds.base import Kind, column, derives


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    """One device that is timed: `block` outputs are measured, the rest is projected."""

    device_kind: str = column("dense, procedural or structured", "simulation")
    in_features: int = column("N, input bits", "inputs")
    out_features: int = column("M, readings", "outputs")
    sweep: str = column("square: N = M; outputs: M grows; inputs: N grows")
    block: int = column("outputs that were measured")
    batch: int = column("inputs of a batch")
    repeats: int


@dataclass(frozen=True, kw_only=True)
class CostResult:
    """Seconds of each turn (`one`, `batch`), their medians (`one_seconds`, `each_seconds`), and bytes above the bare process."""

    make_seconds: float = column("drawing U and setting the exposure")
    one: tuple[float, ...]
    batch: tuple[float, ...]
    held_bytes: int = column("between measurements")
    peak_bytes: int | None = column("at most")
    threads: int = column("of the measurement")
    projected: bool = column("only a block of outputs was measured")
    one_seconds: float = column("one measurement, median")
    each_seconds: float = column("each of a batch, median")

    @derives("the fastest turn, projected as the median is")
    def one_seconds_low(self) -> float:
        return min(self.one) * self.one_seconds / median(self.one)

    @derives("the slowest turn")
    def one_seconds_high(self) -> float:
        return max(self.one) * self.one_seconds / median(self.one)


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

    @derives("how many")
    def power_laws(self) -> int:
        return len(self.fits)


@dataclass(frozen=True, kw_only=True)
class FidelityConfig:
    """A medium held against the laws of an i.i.d. complex Gaussian matrix."""

    medium: str = column("a kind of device, or a stand-in")
    standin: bool = column("known to be no such matrix")
    in_features: int = column("N, input bits", "inputs")
    out_features: int = column("M, readings", "outputs")
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
    holding: int = column("laws that hold")
    of: int = column("laws that were tested")


#: What one device costs: `CostConfig`, `CostResult`.
COST = Kind(
    "cost",
    CostConfig,
    CostResult,
    "costs",
    lambda r: f"{duration(r.one_seconds)} a measurement",
    holds={"every measured time is above 0": lambda r: min((*r.batch, r.one_seconds, *(r.one or (0,)))) > 0},
)
#: Power laws through such costs: `FitConfig`, `FitResult`.
FIT = Kind("fit", FitConfig, FitResult, "fits")
#: Media held against the laws of speckle: `FidelityConfig`, `FidelityResult`.
FIDELITY = Kind(
    "fidelity",
    FidelityConfig,
    FidelityResult,
    "laws",
    lambda r: f"{r.holding} of {r.of} laws hold",
    holds={
        "the number of laws that hold is right": lambda r: (
            (r.holding, r.of) == (sum(law.holds for law in r.laws), len(r.laws))
        )
    },
)
