"""Kill a study at random moments, go on, and compare with one that nobody disturbed.

    python benchmarks/kill.py --out runs/kill                       # `all`, quick recipe, 20 kills: a quarter of an hour
    python benchmarks/kill.py --out runs/kill --study transfer --kills 40 --seed 3

The study runs once undisturbed in OUT/whole. Then in OUT/killed it is started again and again, and killed with SIGKILL, which
no program can catch: after a random time, until so many kills have struck, and then to its end. What is asserted:

- every record of one is in the other, with the same result: all but times, dates and rates, to the last bit of every array;
- no file that has a name is half-written: all JSON, records, arrays, models and images open, and so does the page;
- no unfinished file is left beside them;
- no cell that had a record before a kill is run again after it. How much of an unfinished cell is done twice shows in the
  time that all took together, starting the program again included.

The exit code is 1 if one of them fails.
"""

import argparse
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imread
from safetensors import safe_open

_TIMED = re.compile(r"second|rate|finished|minutes|timing")


def command(study: str, recipe: str, out: Path) -> list[str]:
    run = [sys.executable, "-m", "groundglass.cli", "run", study, "--recipe", recipe, "--out", str(out)]
    return [*run, "--device-seed", "7", "--precision", "float32"]


def untimed(value: Any) -> Any:
    """A result without what a clock had a part in."""
    if isinstance(value, dict):
        return {k: untimed(v) for k, v in value.items() if not _TIMED.search(k)}
    return [untimed(v) for v in value] if isinstance(value, list) else value


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """By key. A last line without its end, which a kill may leave, is none."""
    path = folder / "records.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return {record["key"]: record for record in map(json.loads, lines)}


def differences(whole: Path, killed: Path) -> list[str]:
    """Of records and arrays, in words."""
    left, right = records(whole), records(killed)
    found = [
        f"record {key} of {r[key]['name']} is in one alone"
        for r in (left, right)
        for key in left.keys() ^ right.keys()
        if key in r
    ]
    for key in left.keys() & right.keys():
        name = left[key]["name"]
        if untimed(left[key]["result"]) != untimed(right[key]["result"]):
            found.append(f"{name}: another result")
        places = [folder / "arrays" / f"{key}.npz" for folder in (whole, killed)]
        if any(place.exists() for place in places):
            a, b = (dict(np.load(place)) for place in places)
            if a.keys() != b.keys() or any(
                not np.array_equal(a[n], b[n], equal_nan=True) for n in a if not _TIMED.search(n)
            ):
                found.append(f"{name}: other arrays")
    return found


def damaged(folder: Path) -> list[str]:
    """Files that do not open, and files that were left unfinished."""
    found = []
    for path in (p for p in folder.rglob("*") if p.is_file()):
        if path.name.endswith(".part"):
            found.append(f"{path.name}: left unfinished")
            continue
        try:
            if path.suffix in (".json", ".device", ".moving"):
                json.loads(path.read_text())
            elif path.suffix == ".jsonl":
                [json.loads(line) for line in path.read_text().splitlines()]
            elif path.suffix == ".npz":
                dict(np.load(path))
            elif path.suffix == ".safetensors":
                with safe_open(path, "pt") as file:
                    [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
            elif path.suffix == ".png":
                imread(path)
            elif path.suffix == ".html":
                assert path.read_text().rstrip().endswith("</html>"), "cut off"
        except Exception as error:  # whatever it is, the file is not whole
            found.append(f"{path.relative_to(folder)}: {error}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--study", default="all")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} is there already: give the name of a new folder")
    whole, killed = options.out / "whole", options.out / "killed"
    moments = random.Random(options.seed)
    started = time.perf_counter()
    subprocess.run(command(options.study, options.recipe, whole), check=True, capture_output=True)
    undisturbed = time.perf_counter() - started
    print(f"undisturbed: {len(records(whole))} records in {undisturbed:.0f} s")

    wrong: list[str] = []
    strokes = 0
    started = time.perf_counter()
    while True:
        before = records(killed)
        process = subprocess.Popen(
            command(options.study, options.recipe, killed), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        # From the first import to well into the work; spread so that the study is about done when all have struck.
        wait = moments.uniform(0.5, 8 + 4 * undisturbed / options.kills) if strokes < options.kills else None
        try:
            _, told = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            _, told = process.communicate()
            strokes += 1
            print(f"kill {strokes} after {wait:.1f} s, {len(records(killed))} records")
        else:
            if process.returncode:
                print(told[-2000:])
                wrong.append(f"the study ended with exit code {process.returncode}")
            if strokes >= options.kills or process.returncode:
                break
            # Done too soon: the rest of the kills go to another of its kind.
            print(f"done after {strokes} kills; again from nothing")
            wrong += differences(whole, killed) + damaged(killed)
            shutil.rmtree(killed)
            continue
        after = records(killed)
        for key, record in before.items():
            if key not in after:
                wrong.append(f"{record['name']}: its record was lost")
            elif after[key] != record:
                wrong.append(f"{record['name']}: had a record, and was run again")
    spent = time.perf_counter() - started
    wrong += differences(whole, killed) + damaged(killed)
    print(f"{strokes} kills: {len(records(killed))} records in {spent:.0f} s, {spent / undisturbed:.2f} times as long")
    for line in wrong:
        print(f"WRONG: {line}")
    print("the same, whole" if not wrong else f"{len(wrong)} things are wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
