"""Kill a study at random moments, go on, and compare with one that nobody disturbed.

    python benchmarks/kill.py --out runs/kill                       # `all`, quick recipe, 20 kills and 4: a quarter of an hour
    python benchmarks/kill.py --out runs/kill --study transfer --kills 40 --seed 3

The study runs once undisturbed in OUT/whole. Then in OUT/killed it is started again and again, and killed with SIGKILL, which
no program can catch: after a random time, until so many kills have struck, and then to its end. Every second kill strikes the
program alone, whose workers must end by themselves; the others all its processes at once. Then the page: the same command makes
it anew from a complete folder, and is killed while it does, so many times more. What is asserted:

- every record of one is in the other, with the same result, to the last bit of every array: all but times, dates and whether
  features were still in a cache;
- no file that has a name is half-written: all JSON, records, arrays, models and images open, and so does the page, after each
  kill of the page too;
- no unfinished file is left beside them in the end;
- no cell that had a record before a kill is run again after it;
- no worker outlives the program by more than ten seconds.

- a kill costs less than a minute in the mean, with starting the program again: what was begun is not done twice.

The exit code is 1 if one of them fails.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imread
from safetensors import safe_open

# Seconds that a worker may take to notice that the program has ended.
_OUTLIVES = 10
_TIMED = re.compile(r"second|finished|minutes|timing|model_share|cached")


def command(study: str, recipe: str, out: Path) -> list[str]:
    run = [sys.executable, "-m", "groundglass.cli", "run", study, "--recipe", recipe, "--out", str(out)]
    return [*run, "--device-seed", "7", "--precision", "float32"]


def untimed(value: Any) -> Any:
    """A result without what a clock had a part in, and whether features were still in a cache."""
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


def start(study: str, recipe: str, out: Path) -> subprocess.Popen[str]:
    """The program, in a group of its own."""
    return subprocess.Popen(
        command(study, recipe, out), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def strike(process: subprocess.Popen[str], number: int, wrong: list[str]) -> str:
    """Kill the program, every second time it alone; returns what it had told, when its last process has ended."""
    if number % 2:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL)
    # Ends when the last process that holds the pipes has ended: workers have them too.
    try:
        _, told = process.communicate(timeout=_OUTLIVES)
    except subprocess.TimeoutExpired:
        wrong.append(f"kill {number}: a worker outlived the program by {_OUTLIVES} s")
        os.killpg(process.pid, signal.SIGKILL)
        _, told = process.communicate()
    return told


def strike_page(options: argparse.Namespace, folder: Path, moments: random.Random) -> list[str]:
    """Kill the making of the page of a complete folder, then have it made; what was wrong."""
    started = time.perf_counter()
    subprocess.run(command(options.study, options.recipe, folder), check=True, capture_output=True)
    undisturbed = time.perf_counter() - started
    kept, struck = records(folder), 0
    wrong: list[str] = []
    for number in range(1, options.page_kills + 1):
        began = time.time()
        process = start(options.study, options.recipe, folder)
        wait = moments.uniform(0.4, 1) * undisturbed
        try:
            process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            strike(process, number, wrong)
            struck += 1
        left = [path.name for path in folder.rglob("*.part")]
        anew = sum(path.stat().st_mtime > began for path in (folder / "figures").iterdir() if path.name not in left)
        print(
            f"page, kill {number} after {wait:.1f} of {undisturbed:.1f} s: {anew} figures anew, "
            f"{', '.join(left) or 'nothing'} unfinished"
        )
        wrong += [f"page, kill {number}: {what}" for what in damaged(folder) if not what.endswith("left unfinished")]
    subprocess.run(command(options.study, options.recipe, folder), check=True, capture_output=True)
    if records(folder) != kept:
        wrong.append("the page: records were changed")
    print(f"{struck} kills struck the making of the page")
    return wrong


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


def doing(told: str) -> str:
    """The kinds of cells that were under way, by the log."""
    begun = [line.split("] ", 1)[1] for line in told.splitlines() if re.match(r"\[\d+/\d+\] ", line)]
    ended = [line.strip() for line in told.splitlines() if line.startswith("  ") and not line.endswith(" left")]
    open_ = [name for name in begun if not any(line.startswith(f"{name}: ") for line in ended)]
    if not begun:
        return "start"
    if not open_:
        return "report"
    return " + ".join(sorted({_kind(name) for name in open_}))


def _kind(name: str) -> str:
    if "<-" in name or " on " in name:
        return "attack"
    return "audit" if name.startswith("audit") else "training" if name.startswith(("VGG", "DFA", "OPU")) else "other"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--study", default="all")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--page-kills", type=int, default=4, help="while the page is made, from a complete folder")
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
    strokes, runs = 0, 1
    struck: Counter[str] = Counter()
    started = time.perf_counter()
    while True:
        before = records(killed)
        process = start(options.study, options.recipe, killed)
        # From the first import to well into the work; spread so that the study is about done when all have struck.
        wait = moments.uniform(0.5, 8 + 4 * undisturbed / options.kills) if strokes < options.kills else None
        try:
            _, told = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            strokes += 1
            told = strike(process, strokes, wrong)
            at = doing(told)
            struck[at] += 1
            print(f"kill {strokes} after {wait:.1f} s, {len(records(killed))} records, {at}")
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
            runs += 1
            continue
        after = records(killed)
        for key, record in before.items():
            if key not in after:
                wrong.append(f"{record['name']}: its record was lost")
            elif after[key] != record:
                wrong.append(f"{record['name']}: had a record, and was run again")
    spent = time.perf_counter() - started
    each = (spent - runs * undisturbed) / max(strokes, 1)
    print(
        f"{strokes} kills in {spent:.0f} s: each cost {each:.1f} s, starting again included; they struck {dict(struck)}"
    )
    if each > 60:
        wrong.append(f"a kill cost {each:.0f} s")
    if options.page_kills and not wrong:
        wrong += strike_page(options, killed, moments)
    wrong += differences(whole, killed) + damaged(killed)
    for line in wrong:
        print(f"WRONG: {line}")
    print("the same, whole" if not wrong else f"{len(wrong)} things are wrong")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
