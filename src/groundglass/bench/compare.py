"""Is a benchmark slower than an earlier one?"""

from dataclasses import dataclass
from typing import Literal

from groundglass.bench.results import Benchmark, Row, Spread

#: Less than this is no change, whatever the spread says: between two runs a machine changes by as much.
LEAST = 0.05
#: Fewer have no quartiles to speak of.
TURNS = 3

Verdict = Literal["slower", "faster", "the same", "new", "not measured now", "not comparable"]


class SlowerError(RuntimeError):
    """A job is slower than it was."""


@dataclass(frozen=True)
class Change:
    """One job, now and then.

    Attributes:
        time: median time now over that of then; None where it means nothing, as on another machine.
        over_floor: the same of the time over its floor.
        why: it cannot be compared, or by what alone it was; else empty.
    """

    job: str
    verdict: Verdict
    time: float | None = None
    over_floor: float | None = None
    why: str = ""


def against(now: Benchmark, then: Benchmark) -> list[Change]:
    """Every job of either.

    On the same machine times are compared, and times over their floors. A job is slower, or faster, if both say so: by
    more than 5%, and the quartiles of then and of now do not meet. So neither a machine that has become slower as a whole nor a
    new torch with faster convolutions is taken for a slower library. On another machine times over floors are compared alone,
    if these were reached in the same way. That is a hint: another machine may be better at floors than at all else.
    """
    here = now.machine == then.machine
    changes = [_change(row, then.jobs.get(row.job), now, then, same_machine=here) for row in now.rows]
    gone = [row.job for row in then.rows if row.job not in now.jobs]
    return changes + [Change(job, "not measured now") for job in gone]


def _change(row: Row, old: Row | None, now: Benchmark, then: Benchmark, *, same_machine: bool) -> Change:
    if old is None:
        return Change(row.job, "new")
    why = _not_comparable(row, old, now, then)
    if why:
        return Change(row.job, "not comparable", why=why)
    times = (row.ours.spread, old.ours.spread) if same_machine else None
    floors = _over_floors(row, old, same_machine=same_machine)
    pairs = [pair for pair in (times, floors) if pair is not None]
    if not pairs:
        return Change(row.job, "not comparable", why="other machines, and no floor of the same kind")
    said = {_verdict(*pair) for pair in pairs}
    verdict: Verdict = said.pop() if len(said) == 1 else "the same"
    alone = (
        "another machine: by the floor alone" if times is None else "no floor: by time alone" if floors is None else ""
    )
    return Change(row.job, verdict, _times(times), _times(floors), alone)


def _not_comparable(row: Row, old: Row, now: Benchmark, then: Benchmark) -> str:
    if (row.what, row.unit) != (old.what, old.unit):
        return f"other work: {old.what}"
    if (turns := min(len(row.ours.seconds), len(old.ours.seconds))) < TURNS:
        return f"{turns} turns are too few, of {TURNS} or more"
    for name in ("threads", "clock", "seed"):
        if getattr(now, name) != getattr(then, name):
            return f"{name} was {getattr(then, name)}, is {getattr(now, name)}"
    return ""


def _over_floors(row: Row, old: Row, *, same_machine: bool) -> tuple[Spread, Spread] | None:
    if row.floor is None or old.floor is None or row.floor_is != old.floor_is:
        return None
    # On one machine the fastest is that of the day, however it was reached: two that are all but equal take turns.
    if not same_machine and row.floor.what != old.floor.what:
        return None
    return row.ours.over(row.floor), old.ours.over(old.floor)


def _verdict(now: Spread, then: Spread) -> Verdict:
    if now.low > then.high and now.median > (1 + LEAST) * then.median:
        return "slower"
    if now.high < then.low and then.median > (1 + LEAST) * now.median:
        return "faster"
    return "the same"


def _times(pair: tuple[Spread, Spread] | None) -> float | None:
    return None if pair is None else pair[0].median / pair[1].median
