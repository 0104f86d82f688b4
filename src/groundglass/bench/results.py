"""What a benchmark found, and the file that keeps it."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from groundglass.bench.sizes import Sizes
from groundglass.core.files import DamagedFileError, write_json
from groundglass.core.schema import read, written
from groundglass.core.untrusted import read_format

_FORMAT, _VERSION = "groundglass benchmark", 1
_WHAT = "a benchmark of `groundglass bench --json`"

#: By which clock times are taken: of the processor, for all threads and processes of a job, or of the wall.
Clock = Literal["cpu", "wall"]


@dataclass(frozen=True)
class Spread:
    """The median of some turns, and their quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """At least one."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of one unit of work, turn by turn.

    Attributes:
        what: was timed: the work, or the floor or peer that was the fastest of its kind.
        seconds: by the benchmark's clock.
        wall: by the clock on the wall.
    """

    what: str
    seconds: tuple[float, ...]
    wall: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.seconds or len(self.seconds) != len(self.wall) or min(*self.seconds, *self.wall) <= 0:
            raise ValueError(f"{self.what!r:.60} has no turns, or times that are not above 0")

    @property
    def spread(self) -> Spread:
        return Spread.of(self.seconds)

    def over(self, other: "Timing") -> Spread:
        """How many times as long as `other`, in the same turns."""
        return Spread.of([mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)])


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job.

    Attributes:
        job, what, unit: of it.
        floor_is: what its floor is, in words.
        ours, floor, peer: in the same turns. Without a floor, or a peer that could be run: None.
        skipped: peers that could not be run, and why.
        peak_bytes: most that its process held during the work, above a Python that has imported the library: networks, images
            and compiled code included. None where the system does not tell.
    """

    job: str
    what: str
    unit: str
    floor_is: str
    ours: Timing
    floor: Timing | None
    peer: Timing | None
    skipped: Mapping[str, str] = field(default_factory=dict)
    peak_bytes: int | None = None

    def __post_init__(self) -> None:
        if any(len(one.seconds) != len(self.ours.seconds) for one in (self.floor, self.peer) if one is not None):
            raise ValueError(f"the job {self.job!r:.60} has floors or peers of other turns than its work")

    @property
    def share(self) -> Spread | None:
        """The floor's time over the work's: how much of what the machine can do is reached."""
        return None if self.floor is None else self.floor.over(self.ours)

    @property
    def ratio(self) -> Spread | None:
        """How many times as fast as the peer."""
        return None if self.peer is None else self.peer.over(self.ours)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """See `core.platform.machine`; processors of one name differ, and `vectors` says what torch finds in this one."""

    processor: str
    cores: int
    system: str
    vectors: str


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Jobs that were measured on one machine, with the same settings.

    Attributes:
        machine: that they were measured on.
        versions: see `core.platform`; peers are among them.
        threads: of torch and of the library, in each job.
        clock: of the times.
        turns: of each job, after one that is not counted.
    """

    machine: Machine
    versions: Mapping[str, str]
    threads: int
    clock: Clock
    turns: int
    seed: int
    sizes: Sizes
    rows: tuple[Row, ...] = ()

    @property
    def jobs(self) -> dict[str, Row]:
        return {row.job: row for row in self.rows}

    def settings(self) -> dict[str, Any]:
        """All but what was found."""
        return {name: value for name, value in written(self).items() if name != "rows"}

    def with_rows(self, rows: Iterable[Row]) -> "Benchmark":
        """These rows in place of those of the same jobs, and behind the others."""
        found = self.jobs | {row.job: row for row in rows}
        return Benchmark(**{**vars(self), "rows": tuple(found.values())})

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically: every turn, and for readers medians and quartiles beside them."""
        rows = [_told(row) for row in self.rows]
        write_json(path, {"format": _FORMAT, "version": _VERSION, **self.settings(), "rows": rows})

    @classmethod
    def load(cls, path: Path) -> "Benchmark":
        """Read one.

        Raises:
            FileNotFoundError: there is none.
            DamagedFileError: altered, or another kind of file.
        """
        if not path.exists():
            raise FileNotFoundError(f"there is no benchmark {path}: `groundglass bench --json FILE` makes one")
        found = read(cls, read_format(path, _FORMAT, _VERSION, _WHAT), str(path))
        if len(found.jobs) != len(found.rows):
            raise DamagedFileError(f"{path} has a job twice: it was altered, put it back from a copy")
        return found


def _told(row: Row) -> dict[str, Any]:
    told = written(row)
    for name in ("ours", "floor", "peer"):
        timing: Timing | None = getattr(row, name)
        if timing is not None:
            told[name] |= vars(timing.spread)
    for name in ("share", "ratio"):
        spread: Spread | None = getattr(row, name)
        if spread is not None:
            told[name] = vars(spread)
    return told
