"""What holds for every way of retrieving U."""

import pytest
import torch

from groundglass.optics import SimulatedOPU, true_matrix
from groundglass.optics.retrieval import METHODS, RetrievalMethod, Scale, row_errors

N, M = 64, 24
DEVICE = SimulatedOPU.create(N, M, seed=5)
SCALE = Scale(255, DEVICE.mean_reading)
ALL = [make() for make in METHODS.values()]
each = pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)


def readings(method: RetrievalMethod, design) -> torch.Tensor:
    """[rows, frames]; each frame at its own exposure, where the method may set it."""
    frames = [
        DEVICE.measure_at(design.bits(k, k + 1), float(exposure)) for k, exposure in enumerate(design.exposures())
    ]
    return torch.cat(frames).t().contiguous()


def test_names_are_those_of_the_methods():
    assert {name: METHODS[name].name for name in METHODS} == {name: name for name in METHODS}


@each
def test_inputs_are_bits_and_no_more_than_allowed(method):
    for frames in (method.least(N), method.least(N) + 1, 16 * N):
        design = method.design(N, frames, SCALE, seed=0)
        assert design.in_features == N
        assert 0 < len(design) <= frames
        bits = design.bits(0, len(design))
        assert (bits.shape, bits.dtype) == ((len(design), N), torch.uint8)
        assert bits.max() == 1
        cut = len(design) // 3
        assert torch.equal(torch.cat([design.bits(0, cut), design.bits(cut, len(design))]), bits)
        exposures = design.exposures()
        assert (exposures.shape, exposures.dtype) == ((len(design),), torch.float64)
        assert bool((exposures != 1).any()) == method.exposure_control


@each
def test_fewer_frames_than_the_least_are_refused(method):
    with pytest.raises(ValueError, match=str(method.least(N))):
        method.design(N, method.least(N) - 1, SCALE, seed=0)


@each
def test_a_seed_gives_the_same_inputs_and_rows(method):
    one, other = (method.design(N, 16 * N, SCALE, seed=3) for _ in range(2))
    assert torch.equal(one.bits(0, len(one)), other.bits(0, len(other)))
    seen = readings(method, one)
    found = method.solve(one, seen, SCALE, seed=3)
    assert torch.equal(found, method.solve(other, seen, SCALE, seed=3))


@each
def test_rows_come_out_right_and_the_same_in_any_company(method):
    design = method.design(N, 16 * N, SCALE, seed=0)
    seen = readings(method, design)
    found = method.solve(design, seen, SCALE, seed=0)
    assert (found.shape, found.dtype) == ((M, N), torch.complex64)
    assert row_errors(found, true_matrix(DEVICE)).median() < 0.05
    some = torch.tensor([20, 3, 7])
    assert torch.equal(method.solve(design, seen[some], SCALE, seed=0), found[some])
    assert torch.equal(method.solve(design, seen[3:4], SCALE, seed=0), found[3:4])


@each
def test_settings_are_told_by_the_repr(method):
    assert repr(method) == repr(type(method)())
    assert type(method)() == method
