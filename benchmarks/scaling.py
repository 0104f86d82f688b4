"""How near a study's plan comes to the least time that it can take on 1, 4, 16 and 64 workers.

    python benchmarks/scaling.py                                            # simulated, `all --recipe paper`: seconds
    python benchmarks/scaling.py --sleep 120 --workers 4                    # its cells as sleeps, by processes of this machine
    python benchmarks/scaling.py --sleep 120 --workers 16 --executor ray    # the same on Ray, four nodes in this machine

The least is what no order of cells can beat: the sum of all cells over the workers, or the longest chain of cells that wait for
each other (the critical path), whichever is more. The goal is 85% of it. Seconds of cells are estimated (`groundglass plan`), at
one speed for all machines; `--like RUN` takes those of a run in their place.

Simulated, it is the engine's order alone: cells start at once, and nothing is sent or written. With `--sleep SECONDS` the cells
sleep as long as they are estimated to take, all shortened by one factor, so that the least is SECONDS. The study's own engine
runs them, with a lease, a record and a message each. What the engine takes for a cell is not shortened, so the share is lower
than that of the study itself, whose cells take longer.
"""

import argparse
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from groundglass.core import atomic_write, write_json
from groundglass.core.files import is_part
from groundglass.data import load
from groundglass.results import Record, RecordStore
from groundglass.studies import find_study
from groundglass.studies.engine.cell import Cell, Outcome
from groundglass.studies.engine.context import Context
from groundglass.studies.engine.estimate import timed
from groundglass.studies.engine.executor import Place
from groundglass.studies.engine.local import Local
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.schedule import run_on
from groundglass.studies.engine.simulate import Timed, bound, longest_chain, remaining, simulate
from groundglass.studies.engine.work import WORK, Passes
from groundglass.studies.engine.worker import Setup
from groundglass.studies.recipe import configure

_NODES = 4
BEGIN = "begin"


@dataclass(frozen=True)
class Sleep:
    """A cell that takes its time, and does nothing.

    Attributes:
        of: key of the cell that it stands for.
    """

    of: str
    seconds: float
    inputs: tuple["Sleep", ...]
    alone: bool

    kind: ClassVar[str] = "sleep"

    @property
    def name(self) -> str:
        return self.of

    def config(self) -> dict[str, Any]:
        return {"of": self.of, "seconds": self.seconds}

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        time.sleep(self.seconds)
        return Outcome({})


@dataclass(frozen=True)
class Meet(Sleep):
    """Ends when `count` cells like this are under way: then all workers have started.

    Attributes:
        count: of workers.
    """

    count: int = 1

    kind: ClassVar[str] = "meet"

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        write_json(context.folder / "met" / self.of, {})
        while len([path for path in (context.folder / "met").iterdir() if not is_part(path.name)]) < self.count:
            time.sleep(0.05)
        return Outcome({})


def asleep(cells: Sequence[Timed], factor: float, workers: int) -> list[Cell]:
    """The same plan of sleeps, once all workers have met."""
    met = [Meet(f"worker {number}", 0.0, (), False, workers) for number in range(workers)]
    found: dict[str, Sleep] = {"": Sleep(BEGIN, 0.0, tuple(met), False)}
    for cell in cells:
        inputs = tuple(found[key] for key in dict.fromkeys(cell.inputs)) or (found[""],)
        found[cell.key] = Sleep(cell.key, cell.seconds * factor, inputs, cell.alone)
    return [*met, *found.values()]


def seconds_of(cells: Sequence[Cell], place: Place, folder: Path) -> tuple[float, float]:
    """Of the engine's run of all cells; and of its start, until all workers have met."""
    # The engine's order needs to know what a cell of this kind has to do.
    WORK["sleep"] = lambda config, below: Passes(seconds=config["seconds"])
    dataset, clock = load("shapes[:20]"), _Clock()
    about = {"study": "sleep", "recipe": "own", "data": "shapes", "config": {}, "seed": 0}
    started = time.perf_counter()
    with RecordStore.open(folder, {**about, "versions": {}, "machine": {}, "started": "now"}) as store:
        context = Context(folder, dataset=dataset, arrays=store.arrays, where="cpu", listener=clock)
        run_on(place.start(Setup.of(context, 1)), cells, store, context)
        ended = time.perf_counter()
    return ended - started, (clock.at or ended) - started


class _Clock:
    """Notes when all workers have met."""

    at: float | None = None

    def note(self, text: str) -> None: ...

    def announce(self, text: str) -> None: ...

    def finished(self, name: str, said: str, seconds: float) -> None:
        if name == BEGIN:
            self.at = time.perf_counter()


@contextmanager
def cluster(workers: int) -> Iterator[Place]:
    """A Ray cluster of some nodes, all in this machine and on its own address, which have so many workers together."""
    folder = Path(tempfile.mkdtemp(prefix="gg"))  # of a short path: sockets are there
    token = folder / "token"
    with atomic_write(token, "w", private=True) as file:
        file.write(secrets.token_hex(32))
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    os.environ.update(settings)
    from ray.cluster_utils import Cluster

    from groundglass.studies.engine.ray import Ray

    made, nodes = Cluster(), min(_NODES, workers)
    try:
        for node in range(nodes):
            # Sleeps need no memory: each node says that it has enough.
            share = workers // nodes + (node < workers % nodes)
            made.add_node(num_cpus=share, memory=2**40, include_dashboard=False, temp_dir=str(folder / "ray"))
        made.wait_for_nodes()
        yield Ray(made.address)
    finally:
        made.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="all")
    parser.add_argument("--recipe", default="paper")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--like", type=Path, help="a run whose cells say how long they take")
    parser.add_argument(
        "--sleep", type=float, metavar="SECONDS", help="run the plan as sleeps; the least time it can take"
    )
    parser.add_argument("--executor", choices=["local", "ray"], default="local")
    asked = parser.parse_args()
    config = configure(find_study(asked.study), asked.recipe, data=asked.data, seed=0, precision="bfloat16")
    dataset = load(config.data)
    plan = Plan.of(find_study(asked.study).cells(config, dataset), train=len(dataset.train), test=len(dataset.test))
    like = () if asked.like is None else RecordStore.read(asked.like).records
    cells = list(timed(plan, like=like).values())
    total, chain = sum(cell.seconds for cell in cells), sum(cell.seconds for cell in longest_chain(cells))
    print(f"{asked.study}, {asked.recipe}, {asked.data}: {len(cells)} cells, {total / chain:.1f} x the longest chain")
    if asked.sleep is None:
        print(f"{'workers':>8}{'least':>10}{'plan order':>12}{'longest chain first':>21}")
        for workers in asked.workers:
            least, urgent = bound(cells, workers), remaining(cells)
            shares = [least / simulate(cells, workers, priority=one) for one in (None, urgent)]
            print(f"{workers:>8}{least / total:>9.1%}{shares[0]:>12.1%}{shares[1]:>21.1%}")
        print("least: of the time of one worker; then how much of the least is reached")
        return
    for workers in asked.workers:
        short = asleep(cells, asked.sleep / bound(cells, workers), workers)
        with tempfile.TemporaryDirectory() as folder:
            if asked.executor == "ray":
                with cluster(workers) as place:
                    whole, start = seconds_of(short, place, Path(folder) / "run")
            else:
                whole, start = seconds_of(short, Local(workers), Path(folder) / "run")
        print(
            f"{workers} workers, {asked.executor}: {whole:.1f} s, {start:.1f} s of them until all workers had started; "
            f"{asked.sleep / (whole - start):.1%} of the least after that, {asked.sleep / whole:.1%} with it"
        )


if __name__ == "__main__":
    import scaling  # Ray's workers import its cells, by this name

    scaling.main()
