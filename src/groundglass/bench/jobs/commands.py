"""What a user waits for before anything is computed, each in a fresh process; and the page of a run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from groundglass.bench.children import Ended, run_code, run_module
from groundglass.bench.job import Bench, Contest, Job, Part

_ALL_NAMES = "import torch, groundglass; [getattr(groundglass, name) for name in groundglass.__all__]"
#: The smallest study that has tables and figures.
_SMALL = (
    *(
        "width=0.05",
        "device_in=48",
        "device_out=96",
        "n_images=12",
        "eps_l2=[]",
        'rules=["dfa", "exact"]',
        "ladder=none",
    ),
    *("fit_images=60", "audit_images=8", "audit.steps=2", "audit.queries=2", "audit.fit_images=40", "audit.labels=40"),
)
_BARE_FIGURES = """
import io, sys, pandas, jinja2, matplotlib
matplotlib.use("agg")
from matplotlib.figure import Figure
for number in range(int(sys.argv[1])):
    figure = Figure(figsize=(4.3, 3))
    figure.subplots().plot([0, 1])
    for suffix in sys.argv[2:]:
        figure.savefig(io.BytesIO(), format=suffix)
"""


def _starting(bench: Bench, *, work: Callable[[], Ended], least: str) -> Contest:
    floor = {f"python -c {least}": Part(partial(run_code, least))}
    return Contest(work=work, floors=lambda _: floor, peak=_peak)


def _peak(found: Ended) -> int | None:
    return found.peak_bytes


def _reporting(bench: Bench) -> Contest:
    from groundglass.results import RecordStore  # what the other jobs need not have: it is of another extra

    run = bench.run or _small_run(bench)
    page = bench.folder / "page"

    def least(found: Ended) -> dict[str, Part]:
        figures = {path.stem for path in (page / "figures").iterdir()}
        return {"bare figures": Part(partial(run_code, _BARE_FIGURES, str(len(figures)), "svg", "png"))}

    return Contest(
        work=partial(run_module, "groundglass.cli", "report", str(run), "--out", str(page)),
        floors=least,
        peak=_peak,
        of="" if bench.run is None else f"{len(RecordStore.read(run).records)} results",
    )


def _small_run(bench: Bench) -> Path:
    from groundglass.studies import run_study

    folder = bench.folder / "run"
    run_study("white-box", recipe="quick", data="shapes[:200]", changes=_SMALL, seed=bench.seed, out=folder, jobs=1)
    return folder


JOBS = (
    Job(
        "import",
        "`import groundglass`, which imports nothing that is not used",
        "Python alone",
        partial(_starting, work=partial(run_code, "import groundglass"), least="pass"),
    ),
    Job(
        "import-all",
        "torch, groundglass and each of its names",
        "torch alone",
        partial(_starting, work=partial(run_code, _ALL_NAMES), least="import torch"),
    ),
    Job(
        "help",
        "`groundglass --help`",
        "Python alone",
        partial(_starting, work=partial(run_module, "groundglass.cli", "--help"), least="pass"),
    ),
    Job(
        "report",
        "`groundglass report` of a finished run",
        "pandas, jinja2 and matplotlib imported, and as many figures saved with a line in each",
        _reporting,
    ),
)
