"""A whole retrieval: its frames, its refusals, what it says of itself."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from groundglass.core import BudgetExceededError
from groundglass.kernels.tensor import as_on_a_card
from groundglass.optics import Camera, DriftingDevice, SimulatedOPU, true_matrix
from groundglass.optics.access import DeviceAccess
from groundglass.optics.retrieval import (
    ExposureError,
    FixedExposure,
    MatrixChangedError,
    frames_needed,
    retrieve,
    row_errors,
)
from groundglass.optics.retrieval.closed_form import SparseInputs
from groundglass.optics.retrieval.plan import HELD_OUT, OVERHEAD
from tests.cards import Cards
from tests.optics.retrieval.devices import FRAMES, METHOD, Bench, N, opu, run, scale_of

M = 24


def test_every_row_from_frames_that_are_counted() -> None:
    bench = Bench(opu(N, M))
    access = DeviceAccess(bench, frame_rate=100.0)
    told: list[tuple[str, int, int]] = []
    result = retrieve(
        access, METHOD, frames=FRAMES, seed=1, progress=lambda what, done, of: told.append((what, done, of))
    )
    assert result.frames == access.frames == bench.taken == FRAMES
    assert result.device_seconds == access.seconds == FRAMES / 100
    assert result.complete
    assert not result.note
    assert (result.matrix.shape, result.matrix.dtype) == (torch.Size([M, N]), torch.complex64)
    assert row_errors(result.matrix, true_matrix(bench.inner)).max() < 0.02
    assert result.noise == 0
    assert min(result.measure_seconds, result.compute_seconds) > 0
    frames, rows = ([entry for entry in told if entry[0] == kind] for kind in ("frames", "rows"))
    assert len(frames) + len(rows) == len(told)
    assert [done for _, done, _ in frames] == sorted({done for _, done, _ in frames})
    assert frames[-1] == ("frames", FRAMES, FRAMES)
    assert rows == [("rows", M, M)]


def test_the_same_seed_is_the_same_result_and_other_frames_otherwise() -> None:
    first, again = Bench(opu(N, M)), Bench(opu(N, M))
    results = [run(first), run(again)]
    assert torch.equal(results[0].matrix, results[1].matrix)
    assert torch.equal(torch.cat(first.seen), torch.cat(again.seen))
    other = Bench(opu(N, M))
    result = run(other, seed=2)
    assert not torch.equal(torch.cat(first.seen)[:HELD_OUT], torch.cat(other.seen)[:HELD_OUT])
    assert not torch.equal(torch.cat(first.seen), torch.cat(other.seen))
    assert not torch.equal(result.matrix, results[0].matrix)
    assert row_errors(result.matrix, results[0].matrix).max() < 0.02


def test_rows_are_solved_where_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    Cards(monkeypatch, 0)
    right = run(Bench(opu(N, M)))
    with as_on_a_card():
        found = run(Bench(opu(N, M)))
    assert not found.told_wrong.any()
    assert 0 < row_errors(found.matrix, right.matrix).max() < 1e-3
    given = DeviceAccess(opu(N, M))
    assert torch.equal(retrieve(given, METHOD, frames=FRAMES, seed=1, device="auto").matrix, right.matrix)
    asked = DeviceAccess(opu(N, M))
    for nowhere in ("cuda", "gpu", "mps"):
        with pytest.raises(ValueError, match="`device`"):
            retrieve(asked, METHOD, frames=FRAMES, seed=1, device=nowhere)
    assert asked.frames == 0


def test_the_first_rows_alone() -> None:
    bench = Bench(opu(N, M))
    result = run(bench, rows=5)
    assert result.matrix.shape == (5, N)
    assert result.held_out.shape == result.told_wrong.shape == (5,)
    assert bench.taken == FRAMES
    # A row's readings are its own: the same rows as of all.
    assert torch.equal(result.matrix, run(opu(N, M)).matrix[:5])
    for rows in (0, -1, M + 1):
        bench = Bench(opu(N, M))
        with pytest.raises(ValueError, match=rf"`rows` \(={rows}\) must be (1 to {M}|at least 1)"):
            run(bench, rows=rows)
        assert bench.taken == 0


def test_a_budget_half_way_gives_a_matrix_and_says_so() -> None:
    device, budget = opu(N, M), 9 * N + OVERHEAD
    access = DeviceAccess(device, budget=budget)
    result = retrieve(access, METHOD, frames=18 * N, seed=1)
    assert result.frames == access.frames == budget
    assert access.remaining == 0
    assert not result.complete
    assert f"{budget} frames" in result.note
    assert f"{18 * N} that were asked for" in result.note
    assert row_errors(result.matrix, true_matrix(device)).median() < 0.01
    # A budget that is large enough changes nothing.
    enough = retrieve(DeviceAccess(device, budget=FRAMES), METHOD, frames=FRAMES, seed=1)
    assert enough.complete
    assert torch.equal(enough.matrix, run(device).matrix)


def test_what_a_budget_has_left_is_what_there_is() -> None:
    access = DeviceAccess(opu(N, M), budget=FRAMES)
    access.measure(torch.zeros(100, N, dtype=torch.uint8))
    result = retrieve(access, METHOD, frames=FRAMES, seed=1)
    assert result.frames == FRAMES - 100
    assert access.remaining == 0
    assert not result.complete
    with pytest.raises(ValueError, match="0 frames, what the budget leaves, are too few"):
        retrieve(access, METHOD, frames=FRAMES, seed=1)
    with pytest.raises(BudgetExceededError):
        access.measure(torch.zeros(1, N, dtype=torch.uint8))


@pytest.mark.parametrize("method", [METHOD, SparseInputs()])
def test_too_few_frames_are_refused_before_one_is_taken(method: FixedExposure | SparseInputs) -> None:
    needed = frames_needed(method, N)
    assert needed == method.least(N) + OVERHEAD
    for frames, budget in ((needed - 1, None), (FRAMES, needed - 1), (0, None)):
        bench = Bench(opu(N, M))
        access = DeviceAccess(bench, budget=budget, exposure_control=True)
        with pytest.raises(ValueError, match="too few") as refused:
            retrieve(access, method, frames=frames, seed=1)
        assert str(refused.value).endswith(f": {needed}")
        assert ("budget" in str(refused.value)) == (budget is not None)
        assert bench.taken == access.frames == 0
    access = DeviceAccess(opu(N, M), budget=needed, exposure_control=True)
    assert retrieve(access, method, frames=needed, seed=1).frames <= needed


def test_the_noise_is_measured() -> None:
    for noise in (1.0, 3.0, 8.0):
        # Dark readings are cut at 0 and left out of the estimate, so it may be a little low.
        assert run(opu(N, 40, Camera(read_noise=noise))).noise == pytest.approx(noise, rel=0.12)
    assert run(opu(N, M, Camera(bits=None))).noise == 0
    assert run(opu(N, 40, Camera(bits=None, read_noise=2.0))).noise == pytest.approx(2.0, rel=0.12)


def test_held_out_readings_tell_right_rows_from_wrong_ones() -> None:
    device = opu(N, M)
    right = run(device)
    assert right.held_out.max() < 0.5
    assert not right.told_wrong.any()
    assert right.chance == pytest.approx(device.mean_reading * 0.85, rel=0.25)

    class Spoiled:
        """A solver that makes up the last rows, and gives one of the first a length that is not its own."""

        name, exposure_control = "spoiled", False
        least, design = METHOD.least, METHOD.design

        def solve(self, *args: object, **options: object) -> torch.Tensor:
            rows = METHOD.solve(*args, **options)  # type: ignore[arg-type]
            rows[12:] = rows[12:].roll(5, 1)
            rows[3] *= 1.2
            return rows

    spoiled = retrieve(DeviceAccess(device), Spoiled(), frames=FRAMES, seed=1)
    assert spoiled.told_wrong.tolist() == [k == 3 or k >= 12 for k in range(M)]
    assert 0.5 * spoiled.chance < spoiled.held_out[12:].median() < 1.5 * spoiled.chance
    assert torch.equal(spoiled.held_out[:3], right.held_out[:3])


def test_wrong_rows_are_told_in_noise_too() -> None:
    result = run(opu(N, M, Camera(read_noise=5.0)))
    errors = row_errors(result.matrix, true_matrix(opu(N, M, Camera(read_noise=5.0))))
    assert not result.told_wrong[errors < 0.1].any()
    wrong = replace(result, held_out=torch.full((M,), result.chance))
    assert wrong.told_wrong.all()


def factor_in(message: str) -> float:
    found = re.search(r"([\d.e+-]+) (?:of what it is|times)", message)
    assert found is not None, message
    return float(found[1])


@pytest.mark.parametrize(
    ("light", "camera", "words"),
    [
        (12.0, Camera(), "lower"),
        (40.0, Camera(), "lower"),
        (0.01, Camera(), "raise"),
        (0.004, Camera(), "raise"),
        (1.0, Camera(saturation=0.75), "lower the exposure"),
    ],
)
def test_a_wrong_exposure_is_refused_with_a_factor_that_helps(light: float, camera: Camera, words: str) -> None:
    device = opu(N, 80, camera)
    bench = Bench(device, light=light)
    with pytest.raises(ExposureError, match=words) as refused:
        run(bench)
    # The held-out frames show it: no more are taken.
    assert bench.taken == HELD_OUT
    factor = factor_in(str(refused.value))
    assert factor * light == pytest.approx(1.0, rel=0.35) or camera != Camera()
    bright = (Bench(device, light=light * factor).measure(torch.cat(bench.seen)) == 255).double().mean()
    assert 0.002 < bright < 0.04
    result = run(Bench(device, light=light * factor))
    assert row_errors(result.matrix, true_matrix(device) * math.sqrt(light * factor)).max() < 0.03


def test_nothing_but_white_and_nothing_at_all_give_bounds() -> None:
    with pytest.raises(ExposureError, match=r"100% .* at the top .* to at most"):
        run(Bench(opu(N, M), light=1e9))
    with pytest.raises(ExposureError, match=r"100% .* are 0.* at least"):
        run(Bench(opu(N, M), light=1e-9))
    with pytest.raises(ExposureError, match="dark"):
        run(Bench(opu(N, M, Camera(bits=None)), light=1e-300))


def test_a_moderate_exposure_is_no_error() -> None:
    device = opu(N, M)
    for light in (0.3, 3.0):
        result = run(Bench(device, light=light))
        assert row_errors(result.matrix, true_matrix(device) * math.sqrt(light)).median() < 0.02


@pytest.mark.parametrize("at", [HELD_OUT, HELD_OUT + 3, FRAMES // 3, FRAMES // 2, FRAMES - 30, FRAMES - 4])
@pytest.mark.parametrize("bits", [8, None])
def test_a_matrix_that_changes_is_told(at: int, bits: int | None) -> None:
    device = opu(N, M, Camera(bits=bits))
    bench = Bench(device, swaps=at, after=device.redraw(seed=99))
    with pytest.raises(MatrixChangedError, match="changed its matrix between") as told:
        run(bench)
    found = re.search(r"between frames (\d+) and (\d+)", str(told.value))
    assert found is not None
    assert int(found[1]) < at <= int(found[2])
    # Told at the next sentinels, not at the end.
    assert bench.taken == int(found[2]) + 4


@pytest.mark.parametrize(("camera", "rows"), [(Camera(read_noise=8.0), None), (Camera(), 1)])
def test_a_change_is_told_from_one_row_and_in_noise(camera: Camera, rows: int | None) -> None:
    device = opu(N, M, camera)
    with pytest.raises(MatrixChangedError):
        run(Bench(device, swaps=200, after=device.redraw(seed=99)), rows=rows)


@pytest.mark.parametrize("bits", [8, None])
def test_a_light_that_goes_out_is_told(bits: int | None) -> None:
    class GoesOut(Bench):
        def measure(self, bits: torch.Tensor) -> torch.Tensor:
            readings = super().measure(bits)
            return readings * (self.taken < FRAMES // 2)

    with pytest.raises((MatrixChangedError, ExposureError)):
        run(GoesOut(opu(N, M, Camera(bits=bits))))


@pytest.mark.parametrize("noise", [8.0, 15.0])
def test_noise_is_no_change(noise: float) -> None:
    for seed in range(3):
        device = opu(N, 12, Camera(read_noise=noise), seed=seed)
        assert run(device, seed=seed).frames == FRAMES
        assert run(device, seed=seed, rows=2, frames=frames_needed(METHOD, N)).frames == frames_needed(METHOD, N)


@pytest.mark.parametrize(("bits", "most"), [(4, 0.1), (2, 0.85)])
def test_a_camera_of_few_bits_is_not_dark(bits: int, most: float) -> None:
    """With two bits .4 to .8 over 20 seeds; a row that is not known at all has about 1.2."""
    device = opu(N, M, Camera(bits=bits))
    result = run(device)
    assert row_errors(result.matrix, true_matrix(device)).median() < most
    assert bits == 2 or result.held_out.max() < 0.3


def test_sparse_inputs_need_the_exposure_and_take_what_they_can_use() -> None:
    bench = Bench(opu(N, M))
    with pytest.raises(PermissionError, match="closed-form"):
        retrieve(DeviceAccess(bench), SparseInputs(), frames=FRAMES, seed=1)
    assert bench.taken == 0
    access = DeviceAccess(bench, exposure_control=True)
    result = retrieve(access, SparseInputs(), frames=FRAMES, seed=1)
    design = SparseInputs().design(N, FRAMES - OVERHEAD, scale_of(bench.inner), seed=0)
    assert result.frames == access.frames == bench.taken == len(design) + OVERHEAD <= FRAMES
    errors = row_errors(result.matrix, true_matrix(bench.inner))
    assert errors.median() < 0.01
    assert (errors > 0.1).double().mean() < 0.1
    assert not result.told_wrong[errors < 0.05].any()
    assert result.told_wrong[errors > 0.3].all()


def test_it_works_from_a_path_that_is_none_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(opu(N, M))
    assert not list(tmp_path.iterdir())


def test_of_a_drifting_matrix_the_less_is_retrieved_the_faster_it_drifts() -> None:
    n, frames = 64, 12 * 64
    start = SimulatedOPU.create(n, 48, seed=7)

    def error(device: SimulatedOPU | DriftingDevice, **options: Any) -> float:
        found = retrieve(DeviceAccess(device), FixedExposure(), frames=frames, seed=0, **options)
        last = device.now() if isinstance(device, DriftingDevice) else device
        return float(row_errors(found.matrix, true_matrix(last)).median())

    still = error(start)
    assert still < 0.02
    assert error(start, drifting=True) == still
    # Two fields a retrieval apart have lost 1%, 10% and all of their correlation.
    errors = [error(DriftingDevice(start, correlation=k * frames, hold=8), drifting=True) for k in (100, 10, 0.2)]
    assert still < errors[0] < errors[1] < errors[2]
    assert 0.05 < errors[0] < 0.3
    assert errors[2] > 1
    with pytest.raises(MatrixChangedError):
        error(DriftingDevice(start, correlation=0.2 * frames, hold=8))
