"""One job in a process of its own: `python -m groundglass.bench.probe JSON` prints its row as JSON."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from groundglass.bench.job import Bench
from groundglass.bench.measure import measure
from groundglass.bench.registry import JOBS
from groundglass.bench.results import Row
from groundglass.bench.sizes import Sizes
from groundglass.core.schema import written


def probe(job: str, *, sizes: dict[str, Any], seed: int, folder: str, run: str | None, threads: int, **how: Any) -> Row:
    """See `groundglass.bench.run.benchmark`."""
    torch.set_num_threads(threads)
    bench = Bench(Sizes(**sizes), seed, Path(folder), None if run is None else Path(run))
    return measure(JOBS[job], bench, **how)


if __name__ == "__main__":
    json.dump(written(probe(**json.loads(sys.argv[1]))), sys.stdout)
