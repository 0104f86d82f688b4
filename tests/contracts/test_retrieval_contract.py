"""What holds for every way of retrieving U."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from groundglass.kernels.tensor import as_on_a_card
from groundglass.optics import Camera, SimulatedOPU, true_matrix
from groundglass.optics.retrieval import METHODS, RetrievalMethod, Scale, row_errors

N, M = 64, 24
DEVICE = SimulatedOPU.create(N, M, seed=5)
SCALE = Scale(255, DEVICE.mean_reading)
ALL = [make() for make in METHODS.values()]
# Rows are solved here, or by torch's operations alone, as on a card.
ways = pytest.mark.parametrize("way", [nullcontext, as_on_a_card], ids=["here", "on a card"])
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
@ways
def test_dark_and_bright_rows_are_numbers_and_spoil_no_other(method, way):
    if way is as_on_a_card and hasattr(method, "starts"):
        method = replace(method, starts=2)  # a white row takes them all
    design = method.design(N, 12 * N, SCALE, seed=0)
    ends = torch.stack([torch.full((len(design),), value, dtype=torch.uint8) for value in (0, 255)])
    seen = readings(method, design)[:5]
    with way():
        found = method.solve(design, torch.cat([ends, seen]), SCALE, seed=0)
        assert torch.view_as_real(found).isfinite().all()
        assert torch.equal(found[2:], method.solve(design, seen, SCALE, seed=0))


@each
@ways
def test_rows_come_out_right_and_the_same_in_any_company(method, way):
    design = method.design(N, 16 * N, SCALE, seed=0)
    seen = readings(method, design)
    with way():
        found = method.solve(design, seen, SCALE, seed=0)
        assert (found.shape, found.dtype) == ((M, N), torch.complex64)
        assert row_errors(found, true_matrix(DEVICE)).median() < 0.05
        some = torch.tensor([20, 3, 7])
        assert torch.equal(method.solve(design, seen[some], SCALE, seed=0), found[some])
        assert torch.equal(method.solve(design, seen[3:4], SCALE, seed=0), found[3:4])


@each
@pytest.mark.parametrize("kind", ["bytes", "floats", "a part of a block"])
def test_a_card_finds_the_same_rows_but_for_their_last_digits(method, kind):
    device = SimulatedOPU.create(N, M, seed=5, camera=Camera(bits=None)) if kind == "floats" else DEVICE
    scale = Scale(None if kind == "floats" else 255, device.mean_reading, noise=0.3 if kind == "bytes" else 0.0)
    design = method.design(N, 12 * N + (5 if kind == "a part of a block" else 0), scale, seed=0)
    frames = [device.measure_at(design.bits(k, k + 1), float(e)) for k, e in enumerate(design.exposures())]
    seen = torch.cat(frames).t().contiguous()
    right = method.solve(design, seen, scale, seed=0)
    with as_on_a_card():
        found = method.solve(design, seen, scale, seed=0)
    # A search ends where a step is 3e-4 of a row: a look earlier or later moves it by no more.
    assert row_errors(found, right).max() < (1e-3 if method.name == "fixed-exposure" else 1e-5)
    assert row_errors(found, true_matrix(device)).median() == pytest.approx(
        row_errors(right, true_matrix(device)).median().item(), rel=1e-2, abs=1e-6
    )


@each
def test_settings_are_told_by_the_repr(method):
    assert repr(method) == repr(type(method)())
    assert type(method)() == method
