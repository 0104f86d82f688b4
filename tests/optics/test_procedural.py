"""The procedural medium is the dense one, bit for bit, without its memory."""

import tracemalloc

import numpy as np
import pytest
import torch

from groundglass.core.sealed import Seed
from groundglass.optics import Camera, SimulatedOPU, true_matrix
from groundglass.optics.dense import DenseMedium
from groundglass.optics.medium import MatrixKind
from groundglass.optics.procedural import ProceduralMedium
from tests.optics.draws import draw
from tests.threads import torch_threads


# Up to 1024 inputs are drawn at once; of more, 1020 at a time in batches of 64, 1008 in batches of 384.
@pytest.mark.parametrize("inputs", [1, 5, 1023, 1024, 1025, 2040, 2041, 2500])
@pytest.mark.parametrize(("outputs", "matrix"), [(1, "complex"), (33, "complex"), (130, "real")])
def test_it_is_the_dense_one(inputs: int, outputs: int, matrix: MatrixKind) -> None:
    dense = DenseMedium(Seed(4), inputs, outputs, matrix)
    procedural = ProceduralMedium(Seed(4), inputs, outputs, matrix)
    for rows in (0, 1, 3, 20, 70, 400):
        bits = draw(rows, inputs)
        assert torch.equal(procedural.intensities(bits), dense.intensities(bits))
        args = {"gain": 0.0123, "top": 255}
        assert torch.equal(procedural.readings(bits, **args), dense.readings(bits, **args))
    assert (procedural.dense() == dense.dense()).all()


def test_inputs_that_are_off_in_the_whole_batch_are_left_out() -> None:
    """And nothing else: one-hot, few, the last, none."""
    dense, procedural = (kind(4, 3000, 40) for kind in (make_dense, make_procedural))
    last = torch.zeros(2, 3000, dtype=torch.uint8)
    last[:, -1] = 1
    for bits in (torch.eye(3000, dtype=torch.uint8)[::500], draw(9, 3000, 0.01), last, torch.zeros_like(last)):
        assert torch.equal(procedural.intensities(bits.contiguous()), dense.intensities(bits.contiguous()))
    # A control: entries that are not left out change the light.
    assert procedural.intensities(last).min() > 0


def make_dense(seed: int, inputs: int, outputs: int) -> DenseMedium:
    return DenseMedium(Seed(seed), inputs, outputs, "complex")


def make_procedural(seed: int, inputs: int, outputs: int) -> ProceduralMedium:
    return ProceduralMedium(Seed(seed), inputs, outputs)


def test_more_rows_than_one_drawing_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundglass.optics.procedural._ROWS", 7)
    bits = draw(30, 100)
    assert torch.equal(make_procedural(4, 100, 40).intensities(bits), make_dense(4, 100, 40).intensities(bits))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_pieces_do_not_matter(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bits = draw(5, 100)
    expected = make_dense(4, 100, 2000).intensities(bits)
    monkeypatch.setattr("groundglass.optics.procedural._PIECE", 100 * 64 * 3)
    with torch_threads(threads):
        assert torch.equal(make_procedural(4, 100, 2000).intensities(bits), expected)


@pytest.mark.parametrize("make", [make_dense, make_procedural])
def test_a_region_costs_its_own_tiles(make) -> None:
    """Of a million outputs three are asked for: a matrix for all would take 0.2 GB, and fresh light 8 MB a row."""
    if make is make_dense:
        medium, outputs = make(4, 100, 5000), [4999, 0, 17]
        expected = medium.intensities(draw(5, 100))
        assert medium.region(np.array(outputs)).nbytes == 2 * 64 * 100
    else:
        medium, outputs = make(4, 100, 10**6), [999_999, 0, 17]
        expected = None
    region = medium.region(np.array(outputs))
    tracemalloc.start()
    light = region.intensities(draw(5, 100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
    if expected is not None:
        assert torch.equal(light, expected[:, outputs])
    assert torch.equal(region.region(np.array([2, 0])).intensities(draw(5, 100)), light[:, [2, 0]])


def test_a_device_of_either_kind_is_the_same_device(tmp_path) -> None:
    for camera in (Camera(), Camera(bits=None), Camera(bits=4, read_noise=1.0, shot_noise=1000)):
        dense, procedural = (
            SimulatedOPU.create(200, 90, seed=5, camera=camera, kind=kind) for kind in ("dense", "procedural")
        )
        assert dense.fingerprint == procedural.fingerprint
        assert dense.exposure == procedural.exposure
        assert torch.equal(true_matrix(dense), true_matrix(procedural))
        bits = draw(300, 200)
        assert torch.equal(dense.measure(bits), procedural.measure(bits))
        assert torch.equal(dense.measure_at(bits, 2.0), procedural.measure_at(bits, 2.0))
        assert (dense.nbytes, procedural.nbytes) == (2 * 96 * 200, 0)
        # A redraw is of the same kind, and of the same matrix again.
        again = procedural.redraw(seed=6)
        assert again.kind == "procedural"
        assert again.fingerprint == dense.redraw(seed=6).fingerprint != dense.fingerprint
        path = tmp_path / f"{camera.bits}.device"
        procedural.save(path)
        assert SimulatedOPU.load(path).kind == "procedural"


@pytest.mark.slow
def test_a_device_too_large_for_memory_is_calibrated_and_known_by_some_of_its_outputs() -> None:
    """A dense one of this size would take 200 GB. Its exposure holds at outputs that calibration never saw."""
    device = SimulatedOPU.create(10_000, 10**7, seed=5, kind="procedural")
    readings = device.region(range(9_999_000, 10**7)).measure(draw(50, 10_000))
    assert readings.double().mean().item() == pytest.approx(device.mean_reading, rel=0.03)
    assert (readings == 255).double().mean().item() == pytest.approx(0.01, abs=0.004)
    other = SimulatedOPU.create(10_000, 10**7, seed=6, kind="procedural")
    assert other.fingerprint != device.fingerprint
