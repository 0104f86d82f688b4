"""A million inputs by a million outputs on one machine: seconds and peak memory of the kinds of device.

    python benchmarks/scale.py                        # two threads: about three minutes
    python benchmarks/scale.py --json out.json

Every row is a process of its own, so that its peak memory (imports and the making of the device included) is its own.

- structured, 1e6 x 1e6: one measurement alone, and a batch of 64;
- procedural, N = 1e6: 8,000 outputs for a batch of 64; how many entries a second that makes, as a share of what the generator
  alone does in the same process (Philox and the table of Gaussian integers, nothing added up, nothing kept); and from it the
  whole 1e6 x 1e6 measurement, PROJECTED, not run;
- dense and procedural at a size of the defence (512 x 8000, batch 1024): what making U again for every batch costs;
- drawing U of that size, by today's generator and by that of device files of format 1.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groundglass.core.sealed import Seed
from groundglass.kernels import jit
from groundglass.kernels.products import TILE_LANES
from groundglass.kernels.threads import for_each
from groundglass.optics import SimulatedOPU
from groundglass.optics.dense import DenseMedium
from groundglass.optics.procedural import ProceduralMedium
from groundglass.optics.tiled import gaussian_table

MILLION = 10**6


def random_bits(rows: int, inputs: int) -> torch.Tensor:
    packed = np.random.default_rng(0).integers(0, 256, (rows, -(-inputs // 8)), dtype=np.uint8)
    return torch.from_numpy(np.unpackbits(packed, axis=1, count=inputs))


def timed(run: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds of each turn, after one that is not counted: it compiles, and fills caches."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times[1:]


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def structured(repeats: int) -> dict[str, Any]:
    start = time.perf_counter()
    device = SimulatedOPU.create(MILLION, MILLION, seed=0, kind="structured")
    made = time.perf_counter() - start
    one = timed(lambda: device.measure(random_bits(1, MILLION)), repeats)
    alone = peak_gib()
    bits = random_bits(64, MILLION)
    batch = timed(lambda: device.measure(bits), max(1, repeats // 2))
    return {
        "seconds_to_make": made,
        "seconds_one": one,
        "peak_gib_one": alone,
        "seconds_each_of_64": [t / 64 for t in batch],
        "peak_gib": peak_gib(),
        "bytes_held": device.nbytes,
    }


def generator_alone(medium: ProceduralMedium, tiles: int) -> None:
    """Draw what the measurement draws, in blocks of its size, and forget it."""
    inputs = np.arange(medium.in_features, dtype=np.int32)
    table, keys = gaussian_table(), medium.keys(np.arange(tiles))

    def draw(tile: int) -> None:
        block = np.empty((1020, TILE_LANES), dtype=np.int8)
        for low in range(0, len(inputs), len(block)):
            jit.philox.fill(table, keys[tile], inputs[low : low + len(block)], block)

    for_each(range(tiles), draw)


def procedural(repeats: int, rows: int = 8000, batch: int = 64) -> dict[str, Any]:
    device = SimulatedOPU.create(MILLION, MILLION, seed=0, kind="procedural")
    region, bits = device.region(range(rows)), random_bits(batch, MILLION)
    medium = ProceduralMedium(Seed(0), MILLION, MILLION)
    tiles = rows // medium.tile_outputs
    measured, alone = [], []
    # In turns: another process that comes by slows both.
    for _ in range(repeats):
        measured += timed(lambda: region.measure(bits), 1)
        alone += timed(lambda: generator_alone(medium, tiles), 1)
    peak, count = peak_gib(), rows * MILLION
    return {
        "outputs": rows,
        "batch": batch,
        "seconds": measured,
        "peak_gib": peak,
        "entries_per_second": [count / t for t in measured],
        "generator_entries_per_second": [count / t for t in alone],
        "share_of_the_generator": [a / m for a, m in zip(alone, measured, strict=True)],
        "projected_seconds_for_all_outputs": [t * MILLION / rows for t in measured],
        "bytes_held": device.nbytes,
    }


def defence(repeats: int, inputs: int = 512, outputs: int = 8000, batch: int = 1024) -> dict[str, Any]:
    bits = random_bits(batch, inputs)
    dense, again = (SimulatedOPU.create(inputs, outputs, seed=0, kind=kind) for kind in ("dense", "procedural"))
    assert torch.equal(dense.measure(bits), again.measure(bits))
    found: dict[str, list[float]] = {"dense": [], "procedural": [], "draw": [], "draw_of_format_1": []}
    for _ in range(repeats):
        found["dense"] += timed(lambda: dense.measure(bits), 1)
        found["procedural"] += timed(lambda: again.measure(bits), 1)
        found["draw"] += timed(lambda: DenseMedium(Seed(0), inputs, outputs, "complex"), 1)
        found["draw_of_format_1"] += timed(lambda: DenseMedium(Seed(0), inputs, outputs, "complex", 1), 1)
    return {"inputs": inputs, "outputs": outputs, "batch": batch, "seconds": found, "peak_gib": peak_gib()}


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "structured": structured,
    "procedural": procedural,
    "defence": defence,
}


def spread(values: list[float], digits: str = ".3g") -> str:
    return f"{statistics.median(values):{digits}} ({min(values):{digits}} to {max(values):{digits}})"


def show(found: dict[str, Any]) -> None:
    s, p, d = found["structured"], found["procedural"], found["defence"]
    print(f"{found['threads']} threads; medians, and from least to most\n")
    print("structured, 1e6 x 1e6")
    print(f"  made in {s['seconds_to_make']:.1f} s, holds {s['bytes_held'] / 2**20:.1f} MiB")
    print(f"  one measurement  {spread(s['seconds_one'])} s, the process {s['peak_gib_one']:.2f} GiB")
    print(f"  each of 64       {spread(s['seconds_each_of_64'])} s, the process {s['peak_gib']:.2f} GiB")
    print(f"procedural, N = 1e6, {p['outputs']} outputs, batch {p['batch']}")
    print(f"  {spread(p['seconds'])} s, the process {p['peak_gib']:.2f} GiB")
    rates = [rate / 1e9 for rate in p["entries_per_second"]]
    print(f"  {spread(rates)} G complex entries a second, ", end="")
    print(f"{spread(p['share_of_the_generator'], '.2f')} of what the generator alone makes")
    minutes = [seconds / 60 for seconds in p["projected_seconds_for_all_outputs"]]
    print(f"  1e6 x 1e6, projected from it, not run: {spread(minutes)} minutes for the batch")
    times = d["seconds"]
    print(f"{d['inputs']} x {d['outputs']}, batch {d['batch']}")
    slower = [b / a for a, b in zip(times["dense"], times["procedural"], strict=True)]
    print(f"  dense {spread(times['dense'])} s; procedural takes {spread(slower, '.2f')} times as long")
    faster = [b / a for a, b in zip(times["draw"], times["draw_of_format_1"], strict=True)]
    print(f"  drawing U {spread(times['draw'])} s; by the recipe of format 1 {spread(faster, '.2f')} times as long")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", choices=PARTS, help="one part, in this process, as JSON")
    options = parser.parse_args()
    if options.part:
        torch.set_num_threads(options.threads)
        json.dump(PARTS[options.part](options.repeats), sys.stdout)
        return
    found: dict[str, Any] = {"threads": options.threads}
    for part in PARTS:
        command = [sys.executable, __file__, "--part", part, "--threads", str(options.threads)]
        command += ["--repeats", str(options.repeats)]
        found[part] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
