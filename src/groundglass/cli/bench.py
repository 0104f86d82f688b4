"""`groundglass bench`: how fast is the library here, how fast could it be, and is it slower than it was?"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from groundglass.cli.options import Command
from groundglass.cli.terminal import Terminal, complain, say, say_table
from groundglass.core.text import duration, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from groundglass.bench import Benchmark, Change, Row, Timing


@dataclass(frozen=True)
class Bench(Command):
    """Time the main jobs of the library, beside what this machine at least takes for each and beside other libraries, where they
    are installed. Nothing is downloaded; about five minutes on two idle cores."""

    only: tuple[str, ...] = ()
    """These jobs alone; see --list. Default: all."""
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print the jobs, what each does and what its floor is, and measure nothing."""
    json: Path | None = None
    """A file for the result, with every turn. If it is there, it must be of this machine and these settings: its other
    jobs stay."""
    against: Path | None = None
    """A file of an earlier --json: says what has become slower."""
    fail: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """End with exit code 1 if a job is slower than in --against."""
    size: Literal["usual", "full"] = "usual"
    """How much work each job is. full: an hour or so."""
    width: float | None = None
    """Of VGG-16, as a share of the paper's. Default: 0.25."""
    turns: int = 5
    """Of each job, its floor and its peer, after one that is not counted. Fewer than three are not compared."""
    threads: int = 1
    """Of each job. With one, times are those of the processor, which other work changes little; with more those of the wall."""
    peers: bool = True
    """Measure torchattacks, foolbox and ART, where they are installed."""
    run_folder: Path | None = None
    """A finished run folder, for the job `report`. Default: a small one is made."""
    seed: int = 0
    """Of all that is drawn."""

    def run(self) -> None:
        from groundglass.bench import JOBS, SIZES, Benchmark, SlowerError, against, benchmark

        sizes = SIZES[self.size]
        if self.width is not None:
            sizes = replace(sizes, width=self.width)
        if self.list:
            rows = [(job.name, job.described(sizes), job.floor, job.unit or "all of it") for job in JOBS.values()]
            say_table("groundglass bench --only JOB ...", ("job", "what", "floor", "a time is of"), rows, uncut=1)
            return
        if self.fail and self.against is None:
            raise ValueError("--fail says what an earlier benchmark decides: give it as --against FILE")
        then = None if self.against is None else Benchmark.load(self.against)
        failed: dict[str, str] = {}
        with Terminal() as terminal:
            found = benchmark(
                self.only,
                sizes=sizes,
                turns=self.turns,
                threads=self.threads,
                seed=self.seed,
                peers=self.peers,
                run=self.run_folder,
                keep=self.json,
                begin=terminal.announce,
                failed=failed.__setitem__,
            )
        _show(found)
        changes = [] if then is None else against(found, then)
        _print_changes(changes)
        for name, why in failed.items():
            complain(f"NOT MEASURED: {name}: {why}")
        slower = [change.job for change in changes if change.verdict == "slower"]
        if failed:
            raise ValueError(f"{len(failed)} of the jobs could not be measured: {', '.join(failed)}")
        if slower and self.fail:
            raise SlowerError(f"slower than in {self.against}: {', '.join(slower)}")


_HEADS = ("job", "time", "±", "floor", "share of floor", "best peer", "times as fast", "memory")


def _show(found: "Benchmark") -> None:
    by = "the processor's time" if found.clock == "cpu" else "time on the wall"
    where = f"{found.machine.processor}, {found.machine.cores} cores, {found.threads} used by a job"
    say_table(f"{where}; {by}, medians of {found.turns} turns", _HEADS, map(_cells, found.rows), uncut=1)
    say("±: half of what lies between the quartiles. `groundglass bench --list` says what each job and its floor is.")
    for name, why in sorted({left_out for row in found.rows for left_out in row.skipped.items()}):
        say(f"LEFT OUT: {name}: {why}")
    if disturbed := [row.job for row in found.rows if found.clock == "cpu" and _disturbed(row)]:
        say(f"Other work had the processor for much of the time: {', '.join(disturbed)}.")


# Wall over processor time, from which on a job was much disturbed.
_DISTURBED = 1.25


def _disturbed(row: "Row") -> bool:
    return sum(row.ours.wall) > _DISTURBED * sum(row.ours.seconds)


def _cells(row: "Row") -> tuple[str, ...]:
    time = row.ours.spread
    return (
        row.job,
        duration(time.median) + (f" / {row.unit}" if row.unit else ""),
        f"{(time.high - time.low) / 2 / time.median:.1%}",
        _timed(row.floor),
        "" if row.share is None else f"{row.share.median:.0%}",
        _timed(row.peer),
        "" if row.ratio is None else f"{row.ratio.median:.2f}",
        "" if row.peak_bytes is None else size(row.peak_bytes),
    )


def _timed(one: "Timing | None") -> str:
    return "" if one is None else f"{duration(one.spread.median)} {one.what}"


def _print_changes(changes: "Sequence[Change]") -> None:
    if not changes:
        return
    rows = [
        (one.job, one.verdict, *("" if x is None else f"{x:.2f}" for x in (one.time, one.over_floor)), one.why)
        for one in changes
    ]
    say_table("now over then", ("job", "verdict", "time", "time over floor", ""), rows, uncut=1)
