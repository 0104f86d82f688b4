"""What a job of the benchmark is: something to do, what the machine at least takes for it, and who else does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groundglass.bench.sizes import Sizes


@dataclass(frozen=True)
class Bench:
    """What jobs are prepared with.

    Attributes:
        sizes: how much work each job is.
        seed: of all that is drawn.
        folder: what jobs share is kept there for as long as the benchmark runs.
        run: a finished run folder, for `report`; None: a small one is made.
    """

    sizes: Sizes
    seed: int
    folder: Path
    run: Path | None = None


@dataclass(frozen=True)
class Part:
    """Something that is timed.

    Attributes:
        run: does it, once.
        times: what its seconds are multiplied by, to be those of one unit of the job's work: 20 where it is one of 20 steps.
        repeats: how often it is done in a turn; 0: as often as it takes to be long enough for a clock.
    """

    run: Callable[[], object]
    times: float = 1.0
    repeats: int = 0


def _none(found: Any) -> Mapping[str, Part]:
    return {}


def _one(found: Any) -> float:
    return 1.0


@dataclass(frozen=True)
class Contest:
    """A job, ready to be timed. What it did first says how much there was to do.

    Attributes:
        work: the library's. What it returns is given to `units`, `floors`, `within` and `peak`.
        units: how many units of work that was: a time is of one.
        floors: ways to do the least that has to be done, by name. The fastest counts.
        within: in place of `floors`, where the least is a part of the work itself: its name, and its share of the work's
            time, as what the work returned tells.
        peers: others who do the same, by name. Each is made, which imports it, and tried; whoever cannot be is left out, with a
            word. The fastest counts.
        peak: bytes that it held at most, where it was not this process that held them.
        of: what the work was done on, where that is the user's: jobs on other things are not compared.
    """

    work: Callable[[], Any]
    units: Callable[[Any], float] = _one
    floors: Callable[[Any], Mapping[str, Part]] = _none
    within: tuple[str, Callable[[Any], float]] | None = None
    peers: Mapping[str, Callable[[], Part]] = field(default_factory=dict)
    peak: Callable[[Any], int | None] | None = None
    of: str = ""


@dataclass(frozen=True, eq=False)
class Job:
    """An entry of the benchmark.

    Attributes:
        name: for `--only`.
        what: is done, with {sizes} in it.
        floor: what its floor is, in words.
        prepare: all that is not to be timed.
        unit: of work; empty: all of it.
    """

    name: str
    what: str
    floor: str
    prepare: Callable[[Bench], Contest]
    unit: str = ""

    def described(self, sizes: Sizes) -> str:
        """What is done, at these sizes."""
        return self.what.format(**sizes.named)
