"""What was made faster, before and after, in one run.

    python benchmarks/faster.py --data-dir FOLDER --repeats 5

- Two networks of the laptop recipe, some steps of each: one after the other with all cores, and side by side with a share of
  the cores each, as `groundglass run --jobs` does.
- A step of PGD through `fa` and through `bpda-drawn`: the rule at the device's readings, and past the readout.
- The plan of the white-box study: keys worked out whenever they are asked for, and once.

Ratios are before / after, of turns that alternate; the median, the least and the most. Nothing else should run.
"""

import argparse
import multiprocessing
import statistics
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from groundglass.adaptive import collapse, make_rule
from groundglass.attacks import PGD, GradientAccess, Linf, frozen_for_attack
from groundglass.core.platform import machine, usable_cores
from groundglass.data import Dataset, load
from groundglass.models import DefendedNetwork, build
from groundglass.optics import SimulatedOPU
from groundglass.results import cell_key
from groundglass.studies import find_study
from groundglass.studies.engine import cell as cells_module
from groundglass.studies.recipe import configure
from groundglass.training import BackProp, HybridDFA, train

SEED = 0
DATA = "cifar10"


def network(config: Any, dataset: Dataset, defended: bool) -> torch.nn.Module:
    """VGG-16 or VGG-OPU of the recipe, untrained."""
    cell = next(
        c for c in find_study("white-box").cells(config, dataset) if c.name == ("VGG-OPU" if defended else "VGG-16")
    )
    device = SimulatedOPU.create(config.device_in, config.device_out, seed=7) if defended else None
    return build(cell.spec, device=device, seed=SEED)  # type: ignore[attr-defined]


def steps_of(config: Any, dataset: Dataset, defended: bool, images: int) -> float:
    """Seconds of an epoch over so many images."""
    few = replace(dataset.train.head(images))
    model = network(config, dataset, defended)
    training = replace(config.hybrid if defended else config.baseline, epochs=1)
    started = time.perf_counter()
    train(model, few, training, credit=HybridDFA() if defended else BackProp(), seed=SEED)
    return time.perf_counter() - started


def serve(pipe: Connection, threads: int, config: Any, data: str, data_dir: Path | None, images: int) -> None:
    """A process that trains whenever it is told to, and says so when it is done."""
    torch.set_num_threads(threads)
    dataset = load(data, data_dir=data_dir)
    steps_of(config, dataset, True, 512)
    pipe.send("ready")
    while (defended := pipe.recv()) is not None:
        steps_of(config, dataset, defended, images)
        pipe.send("done")


def trainings(config: Any, options: argparse.Namespace, dataset: Dataset) -> list[float]:
    cores, spawn = usable_cores(), multiprocessing.get_context("spawn")
    workers = []
    for threads in (cores, max(1, cores // 2), max(1, cores // 2)):
        mine, theirs = spawn.Pipe()
        given = (theirs, threads, config, DATA, options.data_dir, options.images)
        process = spawn.Process(target=serve, args=given, daemon=True)
        process.start()
        workers.append(mine)
    for pipe in workers:
        pipe.recv()
    ratios = []
    for _ in range(options.repeats):
        started = time.perf_counter()
        for defended in (False, True):
            workers[0].send(defended)
            workers[0].recv()
        one = time.perf_counter() - started
        started = time.perf_counter()
        for pipe, defended in zip(workers[1:], (False, True), strict=True):
            pipe.send(defended)
        for pipe in workers[1:]:
            pipe.recv()
        ratios.append(one / (time.perf_counter() - started))
    for pipe in workers:
        pipe.send(None)
    return ratios


def rules(config: Any, dataset: Dataset, name: str, repeats: int) -> list[float]:
    """The rule at the readings over the rule past the readout."""
    model = network(config, dataset, True).eval()
    assert isinstance(model, DefendedNetwork)
    rule = make_rule(name, model, seed=SEED)
    views = [frozen_for_attack(model).seen_through(r) for r in (rule, collapse(rule, model))]  # type: ignore[operator]
    some = dataset.test.head(128)
    images, labels = some.floats(), some.labels
    attack = PGD(steps=10, step_size=None, stop_when_fooled=False)
    ratios = []
    for _ in range(repeats):
        seconds = []
        for view in views:
            started = time.perf_counter()
            attack(GradientAccess(view), images, labels, Linf(8 / 255), seed=SEED)
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[0] / seconds[1])
    return ratios


def planning(config: Any, dataset: Dataset) -> float:
    """How much longer the plan takes when no key is remembered."""

    def anew(cell: Any) -> str:
        return cell_key(cell.kind, cells_module.as_json(cell.config()), [anew(c) for c in cell.inputs])

    plan = find_study("white-box").cells
    started = time.perf_counter()
    plan(config, dataset)
    now = time.perf_counter() - started
    remembered = cells_module.key_of
    cells_module.key_of = anew
    try:
        started = time.perf_counter()
        plan(config, dataset)
        return (time.perf_counter() - started) / now
    finally:
        cells_module.key_of = remembered


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--images", type=int, default=10_000, help="of a training's turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", default="bfloat16", choices=("bfloat16", "float32"))
    options = parser.parse_args()
    dataset = load(DATA, data_dir=options.data_dir)
    config = configure(find_study("white-box"), "laptop", data=DATA, seed=SEED, precision=options.precision)
    print(f"{machine()}, {usable_cores()} cores, seed {SEED}, {options.precision}, {options.images} images a training")
    print("| before / after | median | least to most |\n|---|---|---|")

    def row(what: str, ratios: list[float]) -> None:
        print(f"| {what} | {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |", flush=True)

    row("two trainings: one after the other, side by side", trainings(config, options, dataset))
    for name in ("fa", "bpda-drawn"):
        row(f"PGD-10 on 128 images through `{name}`", rules(config, dataset, name, options.repeats))
    row("planning the white-box study", [planning(config, dataset) for _ in range(options.repeats)])


if __name__ == "__main__":
    main()
