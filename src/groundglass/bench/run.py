"""Run jobs, one after the other, each in a process of its own: its threads and its memory are its own."""

import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from torch.backends.cpu import get_cpu_capability

from groundglass.bench.children import run_module
from groundglass.bench.peers import PACKAGES
from groundglass.bench.registry import JOBS
from groundglass.bench.results import Benchmark, Clock, Machine, Row
from groundglass.bench.sizes import Sizes
from groundglass.core import check_seed, lookup
from groundglass.core.files import check_place
from groundglass.core.locks import NoLocksError, leased
from groundglass.core.platform import machine, versions
from groundglass.core.schema import read
from groundglass.core.settings import Count, fit
from groundglass.results.manifest import load_manifest


def benchmark(
    only: Sequence[str] = (),
    *,
    sizes: Sizes | None = None,
    turns: int = 5,
    threads: int = 1,
    seed: int = 0,
    peers: bool = True,
    run: Path | None = None,
    keep: Path | None = None,
    begin: Callable[[str], None] = lambda name: None,
    failed: Callable[[str, str], None] = lambda name, why: None,
) -> Benchmark:
    """Measure jobs, beside what the machine at least takes for them and beside peers that are installed.

    With one thread times are the processor's, which other work on the machine changes little; with more they are the wall's.

    Args:
        only: names of jobs; none: all.
        sizes: how much work they are.
        turns: of each job, after one that is not counted.
        threads: of torch and of the library, in each job.
        seed: of all that is drawn.
        peers: whether other libraries are measured.
        run: a finished run folder, for the job `report`; None: a small one is made.
        keep: a JSON file that is written after each job. If it is there, it must be of the same machine and settings: its other
            jobs stay.
        begin: told the name of each job.
        failed: told the name of a job that could not be measured, and why; the others go on.

    Raises:
        ValueError: no such job, settings that cannot be, or a file of another benchmark.
        OSError: the file cannot be written; `run` is no run folder.
        DamagedFileError: the file was altered.
    """
    jobs = [lookup("job", name, JOBS) for name in dict.fromkeys(only)] or list(JOBS.values())
    sizes, turns, threads = sizes or Sizes(), fit(Count, turns, "turns"), fit(Count, threads, "threads")
    check_seed(seed)
    if keep is not None:
        check_place(keep)
    if run is not None:
        load_manifest(run)
    clock: Clock = "cpu" if threads == 1 else "wall"
    new = Benchmark(
        machine=Machine(**machine(), vectors=get_cpu_capability()),  # type: ignore[arg-type]
        versions=versions() | _peers(),
        threads=threads,
        clock=clock,
        turns=turns,
        seed=seed,
        sizes=sizes,
    )
    found = _continued(new, keep)
    with tempfile.TemporaryDirectory(prefix="groundglass-bench-") as folder:
        for job in jobs:
            begin(job.name)
            asked = {
                "job": job.name,
                "sizes": asdict(sizes),
                "seed": seed,
                "folder": folder,
                "run": None if run is None else str(run.resolve()),
                "turns": turns,
                "clock": clock,
                "peers": peers,
                "threads": threads,
            }
            try:
                ended = run_module("groundglass.bench.probe", json.dumps(asked), threads=threads)
            except RuntimeError as error:
                failed(job.name, str(error))
                continue
            row = read(Row, json.loads(ended.printed), job.name)
            found = found.with_rows([row]) if keep is None else _added(new, row, keep)
    return found


def _added(new: Benchmark, row: Row, keep: Path) -> Benchmark:
    """What the file has after it was added to; others may add to it at the same time."""
    with ExitStack() as held:
        with suppress(NoLocksError):
            held.enter_context(leased(keep.parent, f".{keep.name}", poll=0.1))
        found = _continued(new, keep).with_rows([row])
        found.save(keep)
    return found


def _peers() -> dict[str, str]:
    """The versions of those that are installed."""
    found = {}
    for package in PACKAGES.values():
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _continued(new: Benchmark, keep: Path | None) -> Benchmark:
    """With the rows that the file has."""
    if keep is None or not keep.exists():
        return new
    old = Benchmark.load(keep)
    ours, theirs = new.settings(), old.settings()
    for name in ours:
        if ours[name] != theirs[name]:
            raise ValueError(
                f"{keep} is of another benchmark: {name} was {theirs[name]!r:.80}, is {ours[name]!r:.80}. Give the name of a "
                "new file, or delete it"
            )
    return old
