"""What a device costs, in a process of its own: `python -m groundglass.studies.cells.cost_probe JSON` prints it as JSON.

Peak memory is that of a whole process, so it is that of a device only where nothing else has run.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from groundglass.core import generator
from groundglass.core.platform import most_memory, watch_memory
from groundglass.optics import SimulatedOPU
from groundglass.optics.access import half_density

# Turns of a measurement that takes longer than this, in seconds, are not many.
_LONG = 2.0


def probe(kind: Any, in_features: int, out_features: int, *, block: int, batch: int, repeats: int) -> dict[str, Any]:
    """Make a device with a fresh secret, and measure one input and a batch.

    Args:
        kind, in_features, out_features: of the device.
        block: outputs that are measured: the first so many.
        batch: inputs of the second measurement.
        repeats: turns, after one that is not counted; a long measurement has a single turn, and that one counts.

    Returns:
        Seconds of each turn of "one" and of "batch" (of all its inputs), "make_seconds", "held_bytes" between
        measurements, and "peak_bytes" above what the process had before; None where the system does not tell.
    """
    bits = half_density(batch, in_features, generator(0, "scale"))
    # Compiling, or loading what was compiled, does not count.
    SimulatedOPU.create(64, 64, kind=kind).measure(half_density(2, 64, generator(0, "scale")))
    watch_memory()
    before = most_memory()
    started = time.perf_counter()
    device = SimulatedOPU.create(in_features, out_features, kind=kind)
    made = time.perf_counter() - started
    seen = device if block == out_features else device.region(range(block))
    one = _turns(lambda: seen.measure(bits[:1]), repeats)
    many = _turns(lambda: seen.measure(bits), repeats)
    peak = most_memory()
    return {
        "make_seconds": made,
        "one": one,
        "batch": many,
        "held_bytes": device.nbytes,
        "peak_bytes": None if peak is None or before is None else peak - before,
        "threads": torch.get_num_threads(),
    }


def _turns(run: Callable[[], Any], repeats: int) -> list[float]:
    times: list[float] = []
    for turn in range(repeats + 1):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
        if turn == 0 and times[0] > _LONG:
            return times
    return times[1:]


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked.pop("threads"))
    json.dump(probe(**asked), sys.stdout)
