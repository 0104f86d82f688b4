"""What a device costs, measured in a process of its own, and how that grows."""

import pytest
import torch

from groundglass.results.kinds import COST
from groundglass.studies.cells.cost import CostCell, CostGrid, FitCell, cost_cells, power_law
from groundglass.studies.cells.cost_probe import probe
from groundglass.studies.engine.cell import key_of
from tests.results.examples import made

pytestmark = pytest.mark.slow


def test_peak_memory_is_the_devices_own_whatever_the_parent_holds():
    ballast = torch.zeros(2**27)  # 512 MiB, touched
    cell = CostCell(
        device_kind="dense", in_features=1024, out_features=1024, sweep="square", block=1024, batch=2, repeats=1
    )
    result = cell.run([], None).result
    if result.peak_bytes is None:
        pytest.skip("this system does not tell the peak of a process")
    assert result.held_bytes == 2 * 1024**2
    assert result.held_bytes <= result.peak_bytes < ballast.nbytes


def test_a_probe_that_fails_says_why_and_runs_no_file_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "socket.py").write_text("raise SystemExit('a file of the current folder was run')\n")
    (tmp_path / "json.py").write_text("raise SystemExit('a file of the current folder was run')\n")
    monkeypatch.chdir(tmp_path)
    cell = CostCell(
        device_kind="dense", in_features=2**22 + 1, out_features=8, sweep="square", block=8, batch=1, repeats=1
    )
    with pytest.raises(RuntimeError, match="in_features"):
        cell.run([], None)


def test_a_probe_of_a_block_measures_the_block_alone():
    found = probe("procedural", 64, 4096, block=32, batch=3, repeats=2)
    assert len(found["one"]) == len(found["batch"]) == 2
    assert all(t > 0 for t in found["one"])


def cost(kind, n, seconds, *, projected=False, m=None, sweep="square"):
    config = {"device_kind": kind, "in_features": n, "out_features": m or n, "sweep": sweep}
    times = {"one_seconds": seconds, "each_seconds": seconds, "held_bytes": 0, "peak_bytes": n}
    return made(COST, config, {"projected": projected, **times})


def test_exponents_are_those_of_the_law_and_projections_are_not_fitted():
    assert power_law([(x, 3e-9 * x**1.7) for x in (10, 100, 5000)]) == pytest.approx((1.7, 3e-9))
    dense = [cost("dense", n, 2e-9 * n**2) for n in (64, 256, 1024, 4096)]
    # Overhead at the smallest size must not count, nor a projection that would give another exponent.
    dense[0] = cost("dense", 64, 1.0)
    dense.append(cost("dense", 2**20, 1e9, projected=True))
    side = [cost("dense", 64, 1e-6 * m, m=m, sweep="outputs") for m in (64, 128, 512)]
    few = [cost("structured", n, 1e-6 * n) for n in (1024, 4096)]
    fits = FitCell(()).run([*dense, *side, *few], None).result.fits
    by = {(fit.device_kind, fit.sweep, fit.quantity): fit for fit in fits}
    assert {key[0] for key in by} == {"dense"}, "two sizes are no fit"
    one = by["dense", "square", "one_seconds"]
    assert (one.exponent, one.smallest, one.largest) == (pytest.approx(2), 256, 4096)
    assert by["dense", "outputs", "one_seconds"].exponent == pytest.approx(1)
    assert by["dense", "square", "peak_bytes"].exponent == pytest.approx(1)
    assert ("dense", "square", "held_bytes") not in by, "nothing held has no logarithm"


def test_a_grid_projects_what_is_larger_than_it_may_measure_whole():
    grid = CostGrid("procedural", square=(64, 4096), outputs=(32, 128), inputs=(128,), whole=2**13)
    cells = cost_cells([grid], fixed_in=64, fixed_out=64, block=100, batch=2, repeats=1)
    told = [(c.sweep, c.in_features, c.out_features, c.block) for c in cells]
    assert told == [
        ("square", 64, 64, 64),
        ("square", 4096, 4096, 100),
        ("outputs", 64, 32, 32),
        ("outputs", 64, 128, 128),
        ("inputs", 128, 64, 64),
    ]
    assert len({key_of(c) for c in cells}) == len(cells)


def test_the_probe_draws_nothing_from_the_global_stream():
    before = torch.random.get_rng_state()
    probe("dense", 64, 64, block=64, batch=1, repeats=1)
    assert torch.equal(before, torch.random.get_rng_state())
