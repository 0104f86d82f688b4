"""The price of U at a fixed exposure: error and time of a retrieval, by N, M, frames, noise and light.

    python benchmarks/retrieval.py --goals                     # N=1024, M=8000 and N=2000, M=10000 at 12 N frames
    python benchmarks/retrieval.py --scaling                   # blocks of rows, N to 8192, extrapolated to 1e4 x 1e5
    python benchmarks/retrieval.py --queries --noise           # errors alone, in small blocks of rows

Everything goes through `DeviceAccess` and `retrieve`, with `FixedExposure` as it comes: the device's own exposure, 8 bits,
no noise unless a table says otherwise. Frames include the 96 of the checks; where these do not fit (4 N) they come on top.

- Errors are those of `row_errors`, up to phase and conjugation: about 1.41 is chance. All rows of all repeats together.
- Computing is wall time from the last reading to the result, the median of the repeats, and beside it the CPU seconds of
  all threads: where other work takes the processor away, trust the second. Simulating the frames is told apart.
- A repeat is another device and other inputs: seeds `--seed`, `--seed` + 1, and so on.
- Peak memory is the process's largest, `ru_maxrss` (simulated device included, judging the errors not), so each
  retrieval of --goals and --scaling has a process of its own. A tiny one before it, not counted, compiles what is to be
  compiled.
"""

import argparse
import math
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from groundglass.core.platform import machine, versions
from groundglass.optics import Camera, DeviceAccess, SimulatedOPU, true_matrix
from groundglass.optics.retrieval import FixedExposure, Retrieved, frames_needed, retrieve, row_errors

# Rows with a larger error have failed.
FAILED = 0.1
# N, M -> seconds of computing that are allowed; the other goals are the same for all.
GOALS = {(1024, 8000): 300.0, (2000, 10000): 900.0}
MEDIAN, MEMORY = 0.01, 4 * 2**30
# The paper's sizes, and what it says of them.
PAPER_N, PAPER_M = 10_000, 100_000
PAPER = "72 minutes for an error of 32%, 19 hours for 8%"
EIGHT_BITS = Camera()
FRAME_RATE = 2000.0
NOISES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
DEPTHS = (8, 6, 4)
SATURATIONS = (0.001, 0.01, 0.1)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One retrieval: of `rows` of a device of so many, all of it."""

    inputs: int
    rows: int
    per_input: float
    seed: int
    threads: int
    camera: Camera = EIGHT_BITS

    @property
    def frames(self) -> int:
        return max(math.floor(self.per_input * self.inputs), frames_needed(FixedExposure(), self.inputs))


@dataclass(frozen=True)
class Outcome:
    """Of one retrieval; seconds of computing by the clock and of the processor, memory in bytes."""

    task: Task
    errors: tuple[float, ...]
    told_wrong: float
    retried: int
    doubtful: int
    held_out: float
    chance: float
    seconds: float
    cpu: float
    measuring: float
    memory: int


# ---- one retrieval -----------------------------------------------------------------------------------------------


def run(task: Task) -> Outcome:
    torch.set_num_threads(task.threads)
    _retrieve(Task(inputs=8, rows=2 * task.threads, per_input=16, seed=0, threads=task.threads))
    device, found, cpu = _retrieve(task)
    memory = _peak()
    errors = row_errors(found.matrix, true_matrix(device))
    return Outcome(
        task,
        tuple(errors.tolist()),
        found.told_wrong.double().mean().item(),
        int(found.retried.sum()),
        int(found.doubtful.sum()),
        found.held_out.median().item(),
        found.chance,
        found.compute_seconds,
        cpu,
        found.measure_seconds,
        memory,
    )


def _retrieve(task: Task) -> tuple[SimulatedOPU, Retrieved, float]:
    device = SimulatedOPU.create(task.inputs, task.rows, seed=task.seed, camera=task.camera)
    measured = 0.0

    def progress(what: str, done: int, total: int, **figures: float) -> None:
        nonlocal measured
        if what == "frames":
            measured = time.process_time()

    access = DeviceAccess(device, frame_rate=FRAME_RATE)
    found = retrieve(access, FixedExposure(), frames=task.frames, seed=task.seed, progress=progress)
    return device, found, time.process_time() - measured


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def repeated(task: Task, repeats: int, *, apart: bool) -> list[Outcome]:
    """`task` with its seed and those that follow; `apart`: each in a new process, so that its memory is its own."""
    outcomes = []
    for repeat in range(repeats):
        again = replace(task, seed=task.seed + repeat)
        if apart:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                outcomes.append(process.submit(run, again).result())
        else:
            outcomes.append(run(again))
    return outcomes


# ---- what is printed ---------------------------------------------------------------------------------------------


def table(header: Sequence[str]) -> None:
    print(f"\n| {' | '.join(header)} |\n|{'---|' * len(header)}", flush=True)


def line(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


ERRORS = ("median error", "90% quantile", "largest", "rows above 10%")


def errors_of(outcomes: Sequence[Outcome]) -> tuple[float, float, float, float]:
    """Median, 90% quantile, largest, share of failed rows; of all rows of all repeats."""
    errors = np.array([error for outcome in outcomes for error in outcome.errors])
    median, tail = np.quantile(errors, [0.5, 0.9])
    return float(median), float(tail), float(errors.max()), float((errors > FAILED).mean())


def error_cells(outcomes: Sequence[Outcome]) -> list[str]:
    median, tail, most, failed = errors_of(outcomes)
    return [f"{median:.2%}", f"{tail:.2%}", f"{most:.1%}", f"{failed:.1%}"]


def middle(outcomes: Sequence[Outcome], name: str) -> float:
    return statistics.median(getattr(outcome, name) for outcome in outcomes)


def _work(task: Task) -> float:
    return task.rows * task.inputs * math.log2(task.inputs)


def _long(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} hours"


# ---- the tables --------------------------------------------------------------------------------------------------


def goals(shapes: Sequence[tuple[int, int]], base: Task, repeats: int) -> None:
    print("\n## Goals: median below 1%, no row above 10%, within 5 or 15 minutes of computing, below 4 GiB")
    table(
        [
            "N",
            "M",
            "frames",
            *ERRORS,
            "computing s",
            "CPU s",
            "simulated measuring s",
            "peak GiB",
            "at the device s",
            "rows tried again",
            "doubtful",
        ]
    )
    verdicts = []
    for inputs, rows in shapes:
        task = replace(base, inputs=inputs, rows=rows)
        outcomes = repeated(task, repeats, apart=True)
        seconds, memory = middle(outcomes, "seconds"), max(outcome.memory for outcome in outcomes)
        line(
            [
                *(str(inputs), str(rows), str(task.frames), *error_cells(outcomes), f"{seconds:.1f}"),
                *(f"{middle(outcomes, 'cpu'):.1f}", f"{middle(outcomes, 'measuring'):.1f}", f"{memory / 2**30:.2f}"),
                f"{task.frames / FRAME_RATE:.1f}",
                "/".join(str(outcome.retried) for outcome in outcomes),
                "/".join(str(outcome.doubtful) for outcome in outcomes),
            ]
        )
        median, _, most, _ = errors_of(outcomes)
        allowed = GOALS.get((inputs, rows), math.inf)
        missed = [
            what
            for what, good in {
                f"median error {median:.2%}": median < MEDIAN,
                f"largest error {most:.1%}": most <= FAILED,
                f"{seconds:.0f} s of computing": seconds <= allowed,
                f"{memory / 2**30:.1f} GiB": memory < MEMORY,
            }.items()
            if not good
        ]
        verdicts.append(f"N={inputs}, M={rows}: {'MISSED: ' + ', '.join(missed) if missed else 'met'}")
    print("\n" + "\n".join(f"- {verdict}" for verdict in verdicts))


def scaling(sizes: Sequence[int], blocks: Sequence[int], at: int, base: Task, repeats: int) -> None:
    per_input = base.per_input
    print(f"\n## Scaling at {per_input:g} N frames")
    header = ["N", "M", "frames", *ERRORS, "computing s", "CPU s", "ms a row", "ns a row and N log2 N", "peak GiB"]
    header += ["simulated measuring s"]
    table(header)
    measured: list[tuple[Task, float]] = []
    for inputs in sizes:
        task = replace(base, inputs=inputs)
        measured.append((task, _scaling_line(task, repeats)))
    print(f"\nM at N = {at}:")
    table(header)
    of_rows = []
    for rows in blocks:
        task = replace(base, inputs=at, rows=rows)
        of_rows.append(_scaling_line(task, repeats) / _work(task))
    _extrapolate(measured, of_rows, blocks, at, base)


def _scaling_line(task: Task, repeats: int) -> float:
    outcomes = repeated(task, repeats, apart=True)
    seconds = middle(outcomes, "seconds")
    line(
        [
            *(str(task.inputs), str(task.rows), str(task.frames), *error_cells(outcomes)),
            *(f"{seconds:.2f}", f"{middle(outcomes, 'cpu'):.2f}", f"{1e3 * seconds / task.rows:.2f}"),
            *(f"{1e9 * seconds / _work(task):.0f}", f"{max(o.memory for o in outcomes) / 2**30:.2f}"),
            f"{middle(outcomes, 'measuring'):.1f}",
        ]
    )
    return seconds


def _extrapolate(
    measured: Sequence[tuple[Task, float]], of_rows: Sequence[float], blocks: Sequence[int], at: int, base: Task
) -> None:
    factors = [seconds / _work(task) for task, seconds in measured]
    # Least squares of log seconds: the geometric mean.
    a = math.exp(statistics.fmean(math.log(factor) for factor in factors))
    largest = measured[-1][0]
    paper = replace(base, inputs=PAPER_N, rows=PAPER_M)
    seconds = [factor * _work(paper) for factor in (a, min(factors), max(factors), factors[-1])]
    frames = paper.frames
    print(
        f"\nFit: seconds of computing = a M N log2 N with a = {a:.3g} s, from N = {measured[0][0].inputs} to "
        f"{largest.inputs} in blocks of {base.rows} rows; single sizes give {min(factors):.3g} to {max(factors):.3g}. "
        f"In M, from {blocks[0]} to {blocks[-1]} rows at N = {at}: {min(of_rows):.3g} to {max(of_rows):.3g}."
    )
    table([f"N = {PAPER_N:,}, M = {PAPER_M:,}", "computing", "how it is known"])
    line(["this fit", _long(seconds[0]), "EXTRAPOLATED in N and in M, never run"])
    line(["least and most a of single sizes", f"{_long(seconds[1])} to {_long(seconds[2])}", "EXTRAPOLATED"])
    line(
        [
            f"a of the largest, N = {largest.inputs}",
            _long(seconds[3]),
            f"EXTRAPOLATED: N by a factor of {PAPER_N / largest.inputs:.3g}, M by {PAPER_M / largest.rows:.3g} (rows are "
            "independent)",
        ]
    )
    line(["the paper", PAPER, "as it reports them: its method, its machine"])
    print(
        f"\nMeasured are the tables above, at most N = {largest.inputs} x M = {largest.rows} in N and {max(blocks)} rows in "
        f"M. {frames} frames take {frames / FRAME_RATE:.0f} s at a device of {FRAME_RATE / 1000:g} kHz (counted, not "
        f"run), their readings {PAPER_M * frames / 1e9:.0f} GB on disk, the matrix {8 * PAPER_N * PAPER_M / 1e9:.0f} GB. "
        f"N is padded to the next power of 2, here {1 << (PAPER_N - 1).bit_length()}: with whole blocks of frames, "
        f"{_padding(paper) / _padding(largest):.2f} times the transforms per N log2 N of N = {largest.inputs}."
    )


def _padding(task: Task) -> float:
    """Work of the transforms in whole blocks of a power of 2, over frames log2 N."""
    size = 1 << (task.inputs - 1).bit_length()
    return math.ceil(task.frames / size) * size * math.log2(size) / (task.frames * math.log2(task.inputs))


def queries(sizes: Sequence[int], multiples: Sequence[float], base: Task, repeats: int) -> None:
    print("\n## Error against frames")
    told = ["rows that the held-out check tells", "held-out error / chance", "CPU s", "at the device s"]
    table(["N", "frames / N", "frames", "rows", *ERRORS, *told])
    for inputs in sizes:
        for multiple in multiples:
            task = replace(base, inputs=inputs, per_input=multiple)
            outcomes = repeated(task, repeats, apart=False)
            line([str(inputs), f"{multiple:g}", str(task.frames), *_block_cells(task, outcomes)])


def noise(sizes: Sequence[int], base: Task, repeats: int) -> None:
    print(f"\n## Error against the camera, at {base.per_input:g} N frames")
    told = ["rows that the held-out check tells", "held-out error / chance", "CPU s", "at the device s"]
    table(["N", "bits", "read noise, steps", "at the top", "rows", *ERRORS, *told])
    cameras = [Camera(read_noise=std) for std in NOISES]
    cameras += [Camera(bits=bits) for bits in DEPTHS[1:]]
    cameras += [Camera(saturation=share) for share in SATURATIONS if share != EIGHT_BITS.saturation]
    for inputs in sizes:
        for camera in cameras:
            task = replace(base, inputs=inputs, camera=camera)
            outcomes = repeated(task, repeats, apart=False)
            line(
                [
                    *(str(inputs), str(camera.bits), f"{camera.read_noise:g}", f"{camera.saturation:.1%}"),
                    *_block_cells(task, outcomes),
                ]
            )


def _block_cells(task: Task, outcomes: Sequence[Outcome]) -> list[str]:
    return [
        *(f"{len(outcomes)} x {task.rows}", *error_cells(outcomes)),
        f"{statistics.fmean(outcome.told_wrong for outcome in outcomes):.1%}",
        f"{statistics.median(outcome.held_out / outcome.chance for outcome in outcomes):.4f}",
        f"{middle(outcomes, 'cpu'):.2f}",
        f"{task.frames / FRAME_RATE:.1f}",
    ]


def _shape(text: str) -> tuple[int, int]:
    inputs, rows = text.split("x")
    return int(inputs), int(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--goals", action="store_true", help="the two sizes of the defence, all rows")
    parser.add_argument("--scaling", action="store_true", help="blocks of rows at several N, and several M at one N")
    parser.add_argument("--queries", action="store_true", help="error at 4 N to 24 N frames")
    parser.add_argument("--noise", action="store_true", help="error against read noise, bits and exposure")
    parser.add_argument("--shapes", type=_shape, nargs="+", default=list(GOALS), help="of --goals, as 1024x8000")
    parser.add_argument("--sizes", type=int, nargs="+", help="N of the other tables; default: each its own")
    parser.add_argument("--rows", type=int, default=256, help="rows of a block, all tables but --goals")
    parser.add_argument("--blocks", type=int, nargs="+", default=[64, 256, 1024, 4096], help="M of --scaling")
    parser.add_argument("--blocks-at", type=int, default=1024, help="their N")
    parser.add_argument("--per-input", type=float, default=12, help="frames / N, but for --queries")
    parser.add_argument("--multiples", type=float, nargs="+", default=[4, 5, 6, 8, 12, 16, 24], help="of --queries")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    if not (a.goals or a.scaling or a.queries or a.noise):
        parser.error("say what to measure: --goals, --scaling, --queries, --noise, or several of them")
    print(f"{machine()}, {a.threads} threads, {versions()}")
    print(f"{a.repeats} repeats, seeds {a.seed} to {a.seed + a.repeats - 1}; {FixedExposure()}; {asdict(EIGHT_BITS)}")
    base = Task(inputs=0, rows=a.rows, per_input=a.per_input, seed=a.seed, threads=a.threads)
    if a.goals:
        goals(a.shapes, base, a.repeats)
    # Those in processes of their own first: while this one is small.
    if a.scaling:
        scaling(a.sizes or [256, 512, 1024, 2048, 4096, 8192], a.blocks, a.blocks_at, base, a.repeats)
    if a.queries:
        queries(a.sizes or [256, 1024], a.multiples, base, a.repeats)
    if a.noise:
        noise(a.sizes or [256, 1024], base, a.repeats)


if __name__ == "__main__":
    main()
