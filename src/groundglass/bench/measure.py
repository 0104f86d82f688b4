"""One job, timed: the work, its floor and its best peer in turns, so that a busy machine slows all of them."""

import contextlib
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from groundglass.bench.job import Bench, Contest, Job, Part
from groundglass.bench.results import Clock, Row, Timing
from groundglass.core.platform import most_memory, watch_memory

try:
    import resource
except ImportError:  # Windows, where the time of processes that have ended is not told
    resource = None  # type: ignore[assignment]

# What is shorter is done several times in a turn.
_LEAST_SECONDS = 0.02
_MOST_REPEATS = 1000


@dataclass(frozen=True)
class Moment:
    """Seconds of the wall's clock, and of the processor for this process and those that it has waited for."""

    wall: float
    cpu: float


def now() -> Moment:
    """This moment."""
    cpu = time.process_time()
    if resource is not None:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu += children.ru_utime + children.ru_stime
    return Moment(time.perf_counter(), cpu)


def measure(
    job: Job, bench: Bench, *, turns: int, clock: Clock = "cpu", peers: bool = True, now: Callable[[], Moment] = now
) -> Row:
    """Prepare a job and time it.

    First everything is done once or twice, uncounted: that compiles what is to be compiled. Of several floors, and of several
    peers, the one that is the fastest then takes the turns.

    Args:
        turns: each of them begins with another part.
        clock: of the times.
        peers: whether there are any.
        now: for tests.
    """
    stopwatch = _Stopwatch(clock, now)
    held = most_memory()
    with _quiet():
        contest = job.prepare(bench)
        watch_memory()
        found = contest.work()
        peak = _peak(contest, found, held)
        named = {"ours": ("work", Part(contest.work, 1 / contest.units(found)))}
        skipped: dict[str, str] = {}
        if floors := contest.floors(found):
            for part in floors.values():
                part.run()
            named["floor"] = stopwatch.fastest({name: (part, stopwatch.lap(part)) for name, part in floors.items()})
        if peers and (usable := _usable(contest, stopwatch, skipped)):
            named["peer"] = stopwatch.fastest(usable)
        shares: list[float] = []
        if contest.within is not None:
            named["ours"] = ("work", Part(_noting(contest, shares), named["ours"][1].times, repeats=1))
        taken = stopwatch.turns({kind: part for kind, (_, part) in named.items()}, turns)
    timings = {
        kind: Timing(
            what=named[kind][0],
            seconds=tuple(getattr(lap, clock) for lap in laps),
            wall=tuple(lap.wall for lap in laps),
        )
        for kind, laps in taken.items()
    }
    if contest.within is not None:
        timings["floor"] = _part_of(timings["ours"], contest.within[0], shares[-turns:])
    return Row(
        job=job.name,
        what=job.described(bench.sizes) + (f" of {contest.of}" if contest.of else ""),
        unit=job.unit,
        floor_is=job.floor,
        ours=timings["ours"],
        floor=timings.get("floor"),
        peer=timings.get("peer"),
        skipped=skipped,
        peak_bytes=peak,
    )


def _peak(contest: Contest, found: object, before: int | None) -> int | None:
    if contest.peak is not None:
        return contest.peak(found)
    after = most_memory()
    return None if after is None or before is None else max(0, after - before)


def _usable(contest: Contest, stopwatch: "_Stopwatch", skipped: dict[str, str]) -> "dict[str, tuple[Part, Moment]]":
    """The peers that can be run, and how long they took; of the others, why not."""
    usable = {}
    for name, make in contest.peers.items():
        # Whatever is wrong with somebody else's installation is for the reader to see, and no reason to stop.
        try:
            part = make()
            lap = stopwatch.lap(part)
        except Exception as error:
            skipped[name] = f"{type(error).__name__}: {error}"[:300]
        else:
            usable[name] = (part, lap)
    return usable


def _noting(contest: Contest, shares: list[float]) -> Callable[[], None]:
    """The work, which also notes what share of it the floor is."""
    assert contest.within is not None
    work, share = contest.work, contest.within[1]

    def run() -> None:
        shares.append(share(work()))

    return run


def _part_of(timing: Timing, name: str, shares: list[float]) -> Timing:
    return Timing(
        what=name,
        seconds=tuple(s * share for s, share in zip(timing.seconds, shares, strict=True)),
        wall=tuple(s * share for s, share in zip(timing.wall, shares, strict=True)),
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What peers print and warn of is not ours to say."""
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class _Stopwatch:
    def __init__(self, clock: Clock, now: Callable[[], Moment]) -> None:
        self._clock, self._now = clock, now

    def fastest(self, parts: Mapping[str, tuple[Part, Moment]]) -> tuple[str, Part]:
        """Of some that have taken so long, the fastest."""
        name = min(parts, key=lambda name: getattr(parts[name][1], self._clock))
        return name, parts[name][0]

    def turns(self, parts: Mapping[str, Part], count: int) -> dict[str, list[Moment]]:
        """Seconds of each part in each turn, after a run of each that is not counted."""
        ready = {name: replace(part, repeats=self._repeats(part)) for name, part in parts.items()}
        taken: dict[str, list[Moment]] = {name: [] for name in parts}
        order = list(parts)
        for turn in range(count):
            first = turn % len(order)
            for name in order[first:] + order[:first]:
                taken[name].append(self.lap(ready[name]))
        return taken

    def _repeats(self, part: Part) -> int:
        seconds = self.lap(Part(part.run)).wall
        if part.repeats:
            return part.repeats
        return min(_MOST_REPEATS, math.ceil(_LEAST_SECONDS / seconds)) if seconds > 0 else _MOST_REPEATS

    def lap(self, part: Part) -> Moment:
        """Seconds of one turn of it, as they count."""
        repeats = max(1, part.repeats)
        start = self._now()
        for _ in range(repeats):
            part.run()
        end = self._now()
        times = part.times / repeats
        return Moment((end.wall - start.wall) * times, (end.cpu - start.cpu) * times)
