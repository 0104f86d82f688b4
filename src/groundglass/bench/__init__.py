"""How fast is the library, and how fast could it be? The main jobs, their floors on this machine, and their best peers.

from groundglass.bench import against, benchmark

found = benchmark(["nes", "device"], keep=Path("today.json"))
found.jobs["nes"].share.median  # of the speed of forward passes alone
against(found, Benchmark.load(Path("release.json")))
"""

from groundglass.bench.compare import Change, SlowerError, against
from groundglass.bench.job import Bench, Contest, Job, Part
from groundglass.bench.measure import measure
from groundglass.bench.registry import JOBS
from groundglass.bench.results import Benchmark, Row, Spread, Timing
from groundglass.bench.run import benchmark
from groundglass.bench.sizes import FULL, SIZES, Sizes

__all__ = [
    "FULL",
    "JOBS",
    "SIZES",
    "Bench",
    "Benchmark",
    "Change",
    "Contest",
    "Job",
    "Part",
    "Row",
    "Sizes",
    "SlowerError",
    "Spread",
    "Timing",
    "against",
    "benchmark",
    "measure",
]
