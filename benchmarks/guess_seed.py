"""How fast a device's seed is found by trying: against its fingerprint, and against one frame of its readings.

`.venv/bin/python benchmarks/guess_seed.py [--sizes 512x8000,1024x8000] [--seconds 5]`

"raw" is a seed as version 0.2 used it, and as `raw:7` is used today; "given" is one that is stretched. Two attackers:

- fingerprint: makes the device of each guess and compares the public fingerprint;
- frame: knows one input and its readings. The light of the guess is computed for the outputs of one tile alone, a hundredth of
  the matrix or less, and compared by its correlation, so the camera's gain is not needed. Few guesses pass, and go to the
  fingerprint. A program made for it would leave out more, and be faster: that is nothing to a stretched seed.

Each first finds a seed that is among its guesses (the control); then its guesses in a second of one core's time are counted. What
a card could do is bounded from above: one scrypt writes and reads 32 MiB, so a card of 4.8 TB/s makes 72,000 a second at most.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import torch

from groundglass.core.sealed import Seed, _stretched
from groundglass.kernels import jit
from groundglass.kernels.products import TILE_LANES
from groundglass.optics import SimulatedOPU
from groundglass.optics.procedural import ProceduralMedium
from groundglass.optics.tiled import gaussian_table

Make = Callable[[int], Seed]
KINDS: dict[str, Make] = {"raw": Seed.raw, "given": Seed}
# Correlation of 32 readings with the right light is nearly 1; of millions of wrong guesses a few pass 0.8, and a second frame
# would refuse them.
PASSES = 0.8
HIDDEN = 3


def by_fingerprint(device: SimulatedOPU, make: Make, guesses: Iterator[int]) -> Iterator[tuple[int, bool]]:
    """Each guess, and whether it is right."""
    for guess in guesses:
        made = SimulatedOPU.create(device.in_features, device.out_features, seed=make(guess))
        yield guess, made.fingerprint == device.fingerprint


def by_frame(device: SimulatedOPU, make: Make, guesses: Iterator[int]) -> Iterator[tuple[int, bool]]:
    """As above; "right" is what passes."""
    bits = np.random.default_rng(0).integers(0, 2, (1, device.in_features), dtype=np.uint8)
    seen = device.measure(bits)[0, : TILE_LANES // 2].astype(np.float64)
    seen = (seen - seen.mean()) / seen.std() / len(seen)
    lit, first = np.flatnonzero(bits[0]).astype(np.int32), np.array([0])
    entries = np.empty((len(lit), TILE_LANES), dtype=np.int8)
    for guess in guesses:
        medium = ProceduralMedium(make(guess), device.in_features, device.out_features)
        jit.philox.fill(gaussian_table(), medium.keys(first)[0], lit, entries)
        light = np.square(entries.sum(0, dtype=np.float64)).reshape(2, -1).sum(0)
        yield guess, float(seen @ light) > PASSES * light.std()


def rate(attack: Callable[..., Iterator[tuple[int, bool]]], device: SimulatedOPU, make: Make, seconds: float) -> float:
    """Guesses a second. No guess is made twice: what was stretched once is remembered."""
    _stretched.cache_clear()
    found = [guess for guess, right in attack(device, make, iter(range(2 * HIDDEN))) if right]
    assert found == [HIDDEN], found
    began, tried, passed = time.process_time(), 0, 0
    for _, right in attack(device, make, count(2 * HIDDEN)):
        passed += right
        tried += 1
        if time.process_time() - began > seconds and tried >= 5:
            break
    assert passed <= 1 + tried / 100_000, (passed, tried)
    return tried / (time.process_time() - began)


def told(seconds: float) -> str:
    for unit, size in (("years", 365.25 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.1f} seconds"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64x64,512x8000,1024x8000")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each row")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| device | seed | guess against | guesses/s of a core | all 2^16 | all 2^32 |\n|---|---|---|---|---|---|")
    for sizes in options.sizes.split(","):
        inputs, outputs = map(int, sizes.split("x"))
        for name, make in KINDS.items():
            device = SimulatedOPU.create(inputs, outputs, seed=make(HIDDEN))
            for attack in (by_fingerprint, by_frame):
                speed = rate(attack, device, make, options.seconds)
                known = attack.__name__.removeprefix("by_")
                print(
                    f"| {sizes} | {name} | {known} | {speed:,.1f} | {told(2**16 / speed)} | {told(2**32 / speed)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
