"""How far `groundglass plan` is off: its estimates beside the seconds of runs.

    python benchmarks/estimates.py docs/results/**/           # or run folders of your own

Each run was made on a machine of some speed, with other work beside it. So its estimates are scaled by two numbers, one for what
trains and one for the rest: the medians of recorded / estimated over the cells that took a second or more, weighted by their
seconds. What is left is what an estimate of one cell, and of all cells of a kind, is off by once the speed of the machine is
known. A factor is above 1 where cells took longer than estimated.
"""

import argparse
import math
import statistics
from collections import defaultdict
from pathlib import Path

from groundglass.results import Run
from groundglass.studies.engine.estimate import USUAL
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.work import passes


def off_by(folder: Path) -> list[tuple[str, float, float]]:
    """Kind, recorded and scaled estimated seconds of each cell of a run."""
    run = Run.open(folder)
    plan = Plan.of_records(run.records)
    found = []
    work = {r.key: passes(plan, r.key) for r in run.records}
    for trains in (True, False):
        some = [r for r in run.records if (work[r.key].step > 0) == trains]
        pairs = [(r.kind, r.seconds, USUAL.seconds(work[r.key])) for r in some]
        known = [(math.log(s / e), s) for _, s, e in pairs if s >= 1]
        scale = math.exp(weighted_median(known)) if known else 1.0
        found += [(kind, seconds, estimate * scale) for kind, seconds, estimate in pairs]
        print(f"   {'training' if trains else 'others'} x {scale:.2f}", end="")
    return found


def weighted_median(values: list[tuple[float, float]]) -> float:
    """Of (value, weight)."""
    half, below = sum(weight for _, weight in values) / 2, 0.0
    for value, weight in sorted(values):
        below += weight
        if below >= half:
            return value
    raise ValueError("no values")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    cells: dict[str, list[float]] = defaultdict(list)
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    runs, every = [], []
    for folder in parser.parse_args().folders:
        if not (folder / "study.json").exists():
            continue
        found = off_by(folder)
        total = sum(s for _, s, _ in found) / sum(e for _, _, e in found)
        runs.append(total)
        print(f"{folder}: {len(found)} cells, all together {total:.2f}")
        for kind, seconds, estimate in found:
            sums[kind][0] += seconds
            sums[kind][1] += estimate
            if seconds >= 1:
                cells[kind].append(seconds / estimate)
                every.append(seconds / estimate)
    print(f"\n{'kind':<12}{'cells':>6}{'recorded s':>12}{'together':>10}{'median':>8}{'of ten, the 1st':>17}{'9th':>6}")
    for kind, ratios in sorted(cells.items(), key=lambda item: -sums[item[0]][0]):
        seconds, estimate = sums[kind]
        low, high = tenths(ratios)
        middle = statistics.median(ratios)
        print(
            f"{kind:<12}{len(ratios):>6}{seconds:>12.0f}{seconds / estimate:>10.2f}{middle:>8.2f}{low:>17.2f}{high:>6.2f}"
        )
    within = sorted(max(r, 1 / r) for r in every)
    print(
        f"\nof {len(every)} cells of a second or more, half are within a factor of {within[len(within) // 2]:.1f}",
        end=", ",
    )
    print(f"nine of ten within {within[len(within) * 9 // 10]:.1f}; runs within {max(max(r, 1 / r) for r in runs):.1f}")


def tenths(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return ordered[len(ordered) // 10], ordered[len(ordered) * 9 // 10]


if __name__ == "__main__":
    main()
