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
        assert torch.equal(
            torch.cat([design.bits(at, min(at + 37, len(bits))) for at in range(0, len(bits), 37)]), bits
        )
        assert design.bits(5, 5).shape == (0, N)
        exposures = design.exposures()
        assert (exposures.shape, exposures.dtype) == ((len(design),), torch.float64)
        assert bool((exposures != 1).any()) == method.exposure_control


@each
def test_fewer_frames_than_the_least_are_refused(method):
    with pytest.raises(ValueError, match=str(method.least(N))):
        method.design(N, method.least(N) - 1, SCALE, seed=0)


@each
def test_a_seed_gives_the_same_inputs_and_rows(method):
    one, same, other = (method.design(N, 16 * N, SCALE, seed=seed) for seed in (3, 3, 4))
    bits = one.bits(0, len(one))
    assert torch.equal(bits, same.bits(0, len(one)))
    assert torch.equal(bits, other.bits(0, len(one))) == (method.name == "closed-form"), "its inputs are no draw"
    seen = readings(method, one)
    assert torch.equal(method.solve(one, seen, SCALE, seed=3), method.solve(same, seen, SCALE, seed=3))


@each
def test_a_design_of_another_method_is_refused(method):
    for other in ALL:
        design = other.design(N, 16 * N, SCALE, seed=0)
        if other is not method:
            with pytest.raises(TypeError, match=type(design).__name__):
                method.solve(design, torch.zeros(1, len(design), dtype=torch.uint8), SCALE, seed=0)


@each
def test_dark_and_bright_rows_are_numbers_and_spoil_no_other(method):
    design = method.design(N, 12 * N, SCALE, seed=0)
    ends = torch.stack([torch.full((len(design),), value, dtype=torch.uint8) for value in (0, 255)])
    seen = readings(method, design)[:5]
    found = method.solve(design, torch.cat([ends, seen]), SCALE, seed=0)
    assert torch.view_as_real(found).isfinite().all()
    assert torch.equal(found[2:], method.solve(design, seen, SCALE, seed=0))


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
