"""The curve of errors against frames: what it measures, for whom, and that no matrix is in it."""

from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from groundglass.optics import Camera, DeviceAccess, DriftingDevice, LightOnOPU, SimulatedOPU, true_matrix
from groundglass.optics.retrieval import FixedExposure, SparseInputs, error_curve, frames_needed, retrieve, row_errors
from tests.optics.retrieval.devices import METHOD, Bench, N, opu

M = 24
FEW, MANY = frames_needed(METHOD, N), 12 * N
COARSE = Camera(bits=4)


class Apparatus:
    """A device that nobody can look into: numpy bits in, numpy readings out."""

    def __init__(self, inside: SimulatedOPU) -> None:
        self.inside = inside

    def transform(self, bits: np.ndarray) -> np.ndarray:
        return self.inside.measure(bits)


def test_a_simulated_device_is_judged_by_its_matrix() -> None:
    device = opu(N, M, COARSE)
    curve = error_curve(device, frames=["30N", FEW, "12N", MANY], seed=1)
    assert [point.frames for point in curve.points] == [FEW, MANY, 30 * N]
    assert (curve.fingerprint, curve.method, curve.rows) == (device.fingerprint, "fixed-exposure", M)
    found = retrieve(DeviceAccess(opu(N, M, COARSE)), METHOD, frames=MANY, seed=1)
    errors = row_errors(found.matrix, true_matrix(device))
    point = curve.points[1]
    assert (point.error, point.error_worst) == (float(errors.median()), float(errors.max()))
    assert point.held_out == pytest.approx(float(found.held_out.median()) / found.chance)
    assert curve.points[0].error > 2 * curve.points[2].error
    assert curve.points[0].held_out > curve.points[2].held_out
    assert point.device_seconds == MANY / 2000


def test_a_real_device_is_judged_by_held_out_readings_alone() -> None:
    simulated = error_curve(opu(N, M), frames=[MANY], seed=1)
    real = error_curve(LightOnOPU.calibrate(Apparatus(opu(N, M)), N, M, fingerprint="lab"), frames=[MANY], seed=1)
    (point,), (known,) = real.points, simulated.points
    assert point.error is None
    assert point.error_worst is None
    assert point.held_out == pytest.approx(known.held_out, rel=0.2)  # the mean reading is another calibration's
    assert point.held_out < 0.05
    assert real.to_frame()["error"].isna().all()
    assert not simulated.to_frame()["error"].isna().any()


def test_a_noisy_camera_costs_accuracy() -> None:
    quiet, noisy = (
        error_curve(SimulatedOPU.create(N, M, seed=3, read_noise=noise), frames=[MANY], seed=1).points[0]
        for noise in (0.0, 8.0)
    )
    assert noisy.error > 5 * quiet.error
    assert (quiet.noise, noisy.noise) == (0, pytest.approx(8, rel=0.3))


def test_a_drifting_device_is_judged_as_it_is_at_the_end() -> None:
    slow, fast = (
        error_curve(DriftingDevice(opu(N, M), correlation=correlation), frames=[MANY], seed=1).points[0].error
        for correlation in (1e7, 3e3)
    )
    assert slow < 0.05
    assert fast > 0.2


@pytest.mark.parametrize("kind", ["procedural", "structured"])
def test_some_rows_of_a_device_of_any_kind(kind: str) -> None:
    device = SimulatedOPU.create(N, 500, seed=3, kind=kind)
    curve = error_curve(device, frames=[MANY], rows=5, seed=1)
    assert (curve.rows, curve.fingerprint) == (5, device.fingerprint)
    assert curve.points[0].error < 0.05


def test_by_itself_it_begins_where_the_method_can() -> None:
    frames = [point.frames for point in error_curve(opu(N, 8), method=FixedExposure(starts=1)).points]
    assert frames[0] == FEW
    assert frames[-1] == 3 * FEW
    assert frames == sorted(frames)


def test_what_cannot_be_is_refused_before_a_frame_is_taken() -> None:
    bench = Bench(opu(N, M))
    for frames in ([MANY, FEW - 1], [0], ["0N"]):
        with pytest.raises(ValueError, match="frames"):
            error_curve(bench, frames=frames)
    for frames in ([], "12N", 12):
        with pytest.raises(TypeError, match="6N"):
            error_curve(bench, frames=frames)
    with pytest.raises(ValueError, match="memory"):
        error_curve(bench, frames=[MANY, 10**13])
    assert bench.taken == 0
    with pytest.raises(TypeError, match="owner"):
        error_curve(DeviceAccess(bench))
    with pytest.raises(TypeError, match="measure_at"):
        error_curve(LightOnOPU(Apparatus(opu(N, M)), N, M, mean_reading=60.0), method=SparseInputs())


def test_a_folder_keeps_what_was_measured(tmp_path: Path) -> None:
    bench = Bench(opu(N, M))
    first = error_curve(bench, frames=[FEW, MANY], folder=tmp_path / "curve", seed=1)
    assert bench.taken == FEW + MANY
    again = error_curve(bench, frames=[FEW, MANY], folder=tmp_path / "curve", seed=1)
    assert bench.taken == FEW + MANY
    assert [replace(point, compute_seconds=0) for point in again.points] == [
        replace(point, compute_seconds=0) for point in first.points
    ]
    for path in (tmp_path / "curve").rglob("*.npy"):
        assert path.stat().st_mode & 0o077 == 0


def test_no_matrix_is_in_the_result_and_it_is_frozen() -> None:
    curve = error_curve(opu(N, 8), frames=[MANY], seed=1)
    with pytest.raises(FrozenInstanceError):
        curve.points = ()  # type: ignore[misc]
    values = [*vars(curve).values(), *(value for point in curve.points for value in vars(point).values())]
    assert not any(isinstance(value, torch.Tensor | np.ndarray) for value in values)
    assert all(isinstance(value, int | float | str | tuple) for value in values)


def test_the_picture_and_the_frame_show_the_points() -> None:
    curve = error_curve(opu(N, 8, COARSE), frames=[FEW, MANY], seed=1)
    frame = curve.to_frame()
    assert frame["frames"].tolist() == [FEW, MANY]
    assert frame["frames_per_input"].tolist() == [FEW / N, 12]
    (axes,) = curve.plot().axes
    truth, held_out = axes.get_lines()
    assert truth.get_xdata().tolist() == frame["frames_per_input"].tolist()
    assert truth.get_ydata().tolist() == frame["error"].tolist()
    assert held_out.get_ydata().tolist() == frame["held_out"].tolist()
    axes.set_ylim(2e-2, 4e-2)  # less than a decade has its numbers too
    axes.figure.canvas.draw()
    low, high = axes.get_ylim()
    labels = [text for which in ("major", "minor") for text in axes.yaxis.get_ticklabels(which=which)]
    assert any(text.get_text() and low < text.get_position()[1] < high for text in labels)
    assert curve.plot(axes) is axes.figure
    assert len(axes.get_lines()) == 4
    real = error_curve(LightOnOPU.calibrate(Apparatus(opu(N, 8)), N, 8), frames=[MANY])
    assert len(real.plot().axes[0].get_lines()) == 1
