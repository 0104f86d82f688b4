"""Guards of a device, and how long it takes until one speaks."""

from dataclasses import dataclass

from groundglass.core.statistics import Proportion
from groundglass.results.kinds.base import Kind, column, derives


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """A guard that was fitted to the bits of a network's images."""

    model: str = column("the network whose bits are natural", "of_network")
    by_class: bool = column("it allows for clients who send classes in any order and share")


@dataclass(frozen=True, kw_only=True)
class GuardResult:
    """A guard. `guard`: path of its file within the run folder.

    Attributes:
        strong: directions of the clusters.
        beyond_all: upper bound of the share of natural rows beyond every calibration row, by the score for which it is largest.
    """

    guard: str
    in_features: int = column("N, bits of a row", "inputs")
    fitted: int = column("natural rows that it was fitted to")
    calibrated: int = column("natural rows, of new images, that it was calibrated with")
    strong: int
    beyond_all: float = column("at most this share of natural rows is beyond all that it was calibrated with")


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """Rows that come to a guard, in streams."""

    traffic: str = column("where the rows come from: a method of retrieval, or images")
    share: float = column("of the rows that are of that kind; the others are of held-out natural images")
    by_class: bool = column("of the guard")
    streams: int = column("that begin anew, each with a seed of its own")
    frames: int = column("of a stream, at the most")
    limits: tuple[float, ...]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """At one limit. `found`: streams in which the guard spoke.

    Attributes:
        limit: frames between two false alarms, on average and at least.
        watched: frames of all streams, each until the guard spoke or it ended.
        median, low, high: frames until it spoke; the last two hold nine of ten streams in which it did. None where it did in
            none, and the median too where it did in fewer than half.
        name: the score that gave most of them away.
    """

    limit: float
    found: int
    watched: int
    median: float | None
    low: float | None
    high: float | None
    name: str


@dataclass(frozen=True, kw_only=True)
class WatchResult:
    """What a guard noticed, at each limit; rising."""

    streams: int
    noticed: tuple[Noticed, ...]

    @property
    def last(self) -> Noticed:
        """At the highest limit."""
        return self.noticed[-1]

    @derives("streams in which the guard spoke, at its highest limit")
    def found(self) -> Proportion:
        return Proportion(self.last.found, self.streams)

    @derives("frames until it spoke there, median of all streams", "frames_until_seen")
    def until(self) -> float | None:
        return self.last.median


#: Guards of a device: `GuardConfig`, `GuardResult`.
GUARD = Kind(
    "guard",
    GuardConfig,
    GuardResult,
    "guards",
    lambda r: f"fitted to {r.fitted:,} rows, calibrated with {r.calibrated:,}",
    named="guard",
    files=("guard",),
    holds={"beyond_all is a share": lambda r: 0 < r.beyond_all <= 1},
)
#: How long it takes until a guard speaks: `WatchConfig`, `WatchResult`.
WATCH = Kind(
    "watch",
    WatchConfig,
    WatchResult,
    "watches",
    lambda r: (
        f"seen in {r.last.found} of {r.streams} streams"
        + ("" if r.last.median is None else f", after {r.last.median:.0f} frames")
    ),
    holds={
        "found is at most streams, and 1 <= streams": lambda r: (
            max([1, *(one.found for one in r.noticed)]) <= r.streams
        ),
        "there is a limit": lambda r: len(r.noticed) > 0,
    },
)
