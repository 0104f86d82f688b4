"""A job whose times are known: its parts move the hands of a clock of their own."""

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

from groundglass.bench import Bench, Benchmark, Contest, Job, Part, Row, Sizes, measure
from groundglass.bench.measure import Moment
from groundglass.bench.results import Machine

#: As small as every job can be.
TINY = Sizes(
    width=0.05, learned=40, images=4, batch=4, steps=4, asked=3, queries=52, inputs=64, outputs=96, rows=4, secret_in=48,
    secret_out=96, stepped=8, epoch=24, retrieved_in=16, retrieved_out=8, audited=6, audit_steps=2, audit_queries=3,
)  # fmt: skip


class Hands:
    """The hands of a clock; processor time runs at half the speed of the wall's, as on a busy machine."""

    def __init__(self) -> None:
        self.wall = 0.0

    def moved(self, *seconds: float) -> Callable[[], float]:
        """Something that takes so many seconds of the processor, one after the other and again."""
        each = cycle(seconds)

        def run() -> float:
            self.wall += 2 * (taken := next(each))
            return taken

        return run

    def now(self) -> Moment:
        return Moment(self.wall, self.wall / 2)


def bench(folder: Path = Path("nowhere")) -> Bench:
    return Bench(TINY, 0, folder)


def row(
    name: str, work: Sequence[float], floor: Sequence[float] | None = None, peer: Sequence[float] | None = None
) -> Row:
    """Of a job whose turns take so long, in their order."""
    hands = Hands()

    def prepare(_: Bench) -> Contest:
        # Before the turns: the work is done twice, a floor three times, a peer twice.
        floors = {} if floor is None else {"least": Part(hands.moved(floor[0], floor[0], floor[0], *floor))}
        peers = {} if peer is None else {"other": lambda: Part(hands.moved(peer[0], peer[0], *peer))}
        return Contest(hands.moved(work[0], work[0], *work), floors=lambda _: floors, peers=peers)

    return measure(Job(name, "something", "the least", prepare), bench(), turns=len(work), now=hands.now)


def made(*rows: Row, processor: str = "one", threads: int = 1) -> Benchmark:
    return Benchmark(
        machine=Machine(processor=processor, cores=2, system="Linux", vectors="AVX2"),
        versions={"torch": "2"},
        threads=threads,
        clock="cpu",
        turns=5,
        seed=0,
        sizes=TINY,
        rows=rows,
    )
