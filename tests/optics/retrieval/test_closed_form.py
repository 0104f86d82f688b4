"""Sparse inputs: what they find, and what they cannot do without light."""

import math

import pytest
import torch
from torch import Tensor

from groundglass.optics import Camera, SimulatedOPU
from groundglass.optics.access import DeviceAccess
from groundglass.optics.retrieval import closed_form, row_errors
from groundglass.optics.retrieval.closed_form import PairDesign, SparseInputs
from groundglass.optics.retrieval.method import Scale
from groundglass.optics.true_matrix import true_matrix
from tests.optics.retrieval.devices import scale_of

N, M = 64, 120


def opu(camera: Camera | None = None) -> SimulatedOPU:
    return SimulatedOPU.create(N, M, seed=3, camera=camera)


def measured(device: SimulatedOPU, design: PairDesign) -> Tensor:
    """Readings [rows, frames], through the door that an attacker has."""
    access = DeviceAccess(device, budget=len(design), exposure_control=True)
    bits = design.bits(0, len(design))
    single = access.measure(bits[:N], exposure=float(design.exposures()[0]))
    return torch.cat((single, access.measure(bits[N:], exposure=float(design.exposures()[-1])))).T.contiguous()


def retrieved(device: SimulatedOPU, method: SparseInputs, frames: int) -> Tensor:
    design = method.design(N, frames, scale_of(device), seed=0)
    return method.solve(design, measured(device, design), scale_of(device), seed=0)


def test_the_inputs_are_one_bit_or_an_anchor_and_another() -> None:
    design = SparseInputs().design(N, 400, Scale(255, 55.0), seed=0)
    bits = design.bits(0, len(design))
    assert design.anchors == 5  # 64 + 5 x 64 - 15 = 369; a sixth would make 427
    assert len(bits) == len(design) == 369
    assert bits.dtype == torch.uint8
    assert torch.equal(bits[:N], torch.eye(N, dtype=torch.uint8))
    assert (bits[N:].sum(1) == 2).all()
    assert (bits[N:, :5].sum(1) >= 1).all()
    assert len(bits.unique(dim=0)) == len(bits)


@pytest.mark.parametrize("anchors", [2, 3, 7])
def test_least_is_what_it_takes(anchors: int) -> None:
    method = SparseInputs(anchors=anchors)
    least = method.least(N)
    assert least == N + sum(N - a for a in range(1, anchors + 1))
    assert len(method.design(N, least, Scale(255, 55.0), seed=0)) == least
    with pytest.raises(ValueError, match="`frames`"):
        method.design(N, least - 1, Scale(255, 55.0), seed=0)


def test_two_anchors_take_3n_minus_3_frames_and_no_more_than_the_limit_are_used() -> None:
    assert SparseInputs().least(N) == 3 * N - 3
    assert SparseInputs(most_anchors=4).design(N, 10**6, Scale(255, 55.0), seed=0).anchors == 4


def test_float_readings_give_u_back() -> None:
    device = opu(Camera(bits=None))
    # Two anchors that point one way to within 1e-3 amplify the rounding of float32 too: not all rows are exact.
    for refinements in (0, 4):
        errors = row_errors(retrieved(device, SparseInputs(refinements=refinements), 3 * N - 3), true_matrix(device))
        assert errors.median() < 1e-6
        assert errors.quantile(0.95) < 1e-4
    assert row_errors(retrieved(device, SparseInputs(), 8 * N), true_matrix(device)).max() < 1e-5


def test_eight_bits() -> None:
    device = opu()
    truth = true_matrix(device)
    assert row_errors(retrieved(device, SparseInputs(), 3 * N - 3), truth).median() < 0.05
    errors = row_errors(retrieved(device, SparseInputs(), 12 * N), truth)
    assert errors.median() < 0.01
    assert (errors > 0.1).double().mean() < 0.03


def test_the_exposure_fills_the_scale_and_does_not_overfill_it() -> None:
    device = opu()
    design = SparseInputs().design(N, 3 * N - 3, scale_of(device), seed=0)
    readings = measured(device, design).double()
    for frames in (readings[:, :N], readings[:, N:]):
        assert frames.mean() == pytest.approx(254.5 / math.log(1000), rel=0.1)
        assert 0 < (frames == 255).double().mean() < 4e-3


def test_fails_at_the_exposure_of_the_device() -> None:
    """At N = 1024 an input has 1/512 of the light of half-on ones: nearly all of its readings are 0."""
    random = torch.Generator().manual_seed(0)
    u = torch.randn(40, 1024, dtype=torch.complex128, generator=random) * math.sqrt(55 / 512)
    design = PairDesign(1024, 2, 1.0, 1.0)
    light = (u @ design.bits(0, len(design)).T.to(u.dtype)).abs().square()
    readings = (light + 0.5).floor().clamp(0, 255).to(torch.uint8)
    assert (readings[:, :1024] == 0).double().mean() > 0.98
    assert row_errors(SparseInputs().solve(design, readings, Scale(255, 55.0), seed=0), u).median() > 0.5
    bright = PairDesign(1024, 2, 340.0, 170.0)
    readings = (light * bright.exposures() + 0.5).floor().clamp(0, 255).to(torch.uint8)
    assert row_errors(SparseInputs().solve(bright, readings, Scale(255, 55.0), seed=0), u).median() < 0.05


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    device, method = opu(), SparseInputs()
    design = method.design(N, 6 * N, scale_of(device), seed=0)
    readings = measured(device, design)
    whole = method.solve(design, readings, scale_of(device), seed=0)
    monkeypatch.setattr(closed_form, "_BLOCK", 7 * N * design.anchors)
    assert torch.equal(method.solve(design, readings, scale_of(device), seed=0), whole)


def test_refinement_is_worth_it() -> None:
    device = opu()
    truth = true_matrix(device)
    plain, fine = (row_errors(retrieved(device, SparseInputs(refinements=k), 6 * N), truth).median() for k in (0, 4))
    assert fine < 0.75 * plain


def test_readings_at_the_top_are_left_out() -> None:
    """With 1% of them there, taking 255 for what was brighter costs ten times the error."""
    device = opu()
    errors = row_errors(retrieved(device, SparseInputs(saturation=0.01), 12 * N), true_matrix(device))
    assert errors.median() < 0.007
    assert (errors > 0.1).double().mean() < 0.06


def test_refuses_what_makes_no_sense() -> None:
    for wrong in ({"anchors": 1}, {"anchors": 5, "most_anchors": 4}, {"saturation": 1.0}, {"refinements": -1}):
        with pytest.raises(ValueError, match="must"):
            SparseInputs(**wrong)  # type: ignore[arg-type]
