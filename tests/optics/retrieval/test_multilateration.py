"""Numerical interferometry: designs of bits alone, and what they give at the device's own exposure."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groundglass.optics import Camera, SimulatedOPU
from groundglass.optics.access import DeviceAccess
from groundglass.optics.retrieval import multilateration, row_errors
from groundglass.optics.retrieval.method import Scale
from groundglass.optics.retrieval.multilateration import AnchorDesign, Multilateration, planar_points
from groundglass.optics.true_matrix import true_matrix
from tests.optics.retrieval.devices import scale_of

N, M = 64, 120
SCALE = Scale(255, 55.0)


def opu(**camera: object) -> SimulatedOPU:
    return SimulatedOPU.create(N, M, seed=3, camera=Camera(**camera))  # type: ignore[arg-type]


def errors_of(device: SimulatedOPU, method: Multilateration, frames: int) -> Tensor:
    scale = scale_of(device)
    design = method.design(N, frames, scale, seed=0)
    readings = DeviceAccess(device, budget=len(design)).measure(design.bits(0, len(design))).T.contiguous()
    return row_errors(method.solve(design, readings, scale, seed=0), true_matrix(device))


@given(
    n=st.integers(40, 200),
    more=st.integers(0, 3000),
    parts=st.integers(3, 5),
    brightest=st.floats(0.7, 1),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=20, deadline=None)
def test_frames_are_binary_and_no_more_than_asked(n: int, more: int, parts: int, brightest: float, seed: int) -> None:
    method = Multilateration(parts=parts, brightest=brightest)
    frames = method.least(n) + more
    design = method.design(n, frames, SCALE, seed=seed)
    bits = design.bits(0, len(design))
    assert bits.shape == (len(design), n)
    assert len(design) <= frames
    assert int(bits.max()) == 1
    assert (bits.sum(1) > 0).all()
    assert (design.exposures() == 1).all()


def test_frames_are_the_differences_of_anchors_and_signals() -> None:
    design = Multilateration().design(N, 16 * N, SCALE, seed=5)
    bits = design.bits(0, len(design))
    k, n, (small, large) = design.anchors.shape[1], design.support.shape[1], design.pairs
    for part in range(len(design.support)):
        frames = bits[part * design.part : (part + 1) * design.part].int()
        anchors = design.anchors[part].int()
        assert (anchors[1:] >= anchors[:-1]).all(), "nested"
        assert (anchors[1:].sum(1) > anchors[:-1].sum(1)).all(), "all different"
        assert int(anchors.sum(1).max()) <= 0.65 * N
        assert torch.equal(frames[: len(small)], anchors[large] - anchors[small])
        mixed = frames[len(small) :].unflatten(0, (-1, k))
        signals = mixed[:, 0]
        assert torch.equal(mixed[:, 1:], anchors[1:] - signals[:, None])
        for block, column in enumerate(design.columns[part]):
            circulant = torch.stack([column.flip(0).roll(i + 1) for i in range(n)]).int()
            rows = signals[block * n : (block + 1) * n]
            assert torch.equal(rows[:, design.support[part]], circulant)
            assert int(rows.sum()) == int(circulant.sum()), "nothing outside of the support"


def test_parts_cover_all_inputs_and_neighbours_share_some() -> None:
    design = Multilateration().design(N, 16 * N, SCALE, seed=5)
    assert len(design.support.unique()) == N
    for one, next_one in zip(design.support[:-1], design.support[1:], strict=True):
        assert torch.isin(one, next_one).sum() >= 8


@pytest.mark.parametrize("parts", [2, 4])
def test_least_is_enough_without_a_camera(parts: int) -> None:
    method = Multilateration(parts=parts, brightest=1)
    errors = errors_of(opu(bits=None), method, method.least(N))
    assert errors.median() < 2e-6
    assert errors.max() < 0.02


def test_float_readings_give_u_back() -> None:
    assert errors_of(opu(bits=None), Multilateration(), 16 * N).max() < 1e-5


def test_eight_bits_at_the_exposure_of_the_device() -> None:
    few, many = (errors_of(opu(), Multilateration(), k * N) for k in (16, 60))
    assert few.median() < 0.05
    assert (few > 0.1).double().mean() < 0.12
    assert many.median() < 0.7 * few.median()
    assert (many > 0.1).double().mean() <= 0.01, "bright rows lose a direction"


def test_filling_in_the_readings_at_the_top_is_worth_it() -> None:
    without, with_it = (errors_of(opu(saturation=0.03), Multilateration(imputations=k), 16 * N) for k in (0, 4))
    assert with_it.mean() < 0.9 * without.mean()


def test_noise_is_amplified() -> None:
    """Distances are differences of readings: two steps of noise are much worse here than rounding."""
    quiet, noisy = (errors_of(opu(read_noise=noise), Multilateration(), 16 * N).median() for noise in (0.0, 2.0))
    assert noisy > 3 * quiet


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    device, method = opu(), Multilateration()
    whole = errors_of(device, method, 16 * N)
    monkeypatch.setattr(multilateration, "_BLOCK", 7 * method.design(N, 16 * N, SCALE, seed=0).part)
    assert torch.equal(errors_of(device, method, 16 * N), whole)


def test_points_from_inner_products() -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.randn(20, 6, dtype=torch.complex128, generator=random)
    found = planar_points((points[:, :, None].conj() * points[:, None]).real)
    assert torch.allclose(
        (found[:, :, None].conj() * found[:, None]).real, (points[:, :, None].conj() * points[:, None]).real
    )


def test_refuses_what_makes_no_sense() -> None:
    for wrong in ({"parts": 1}, {"overlap": 0}, {"brightest": 1.5}, {"most_anchors": 2}, {"imputations": -1}):
        with pytest.raises(ValueError, match="must"):
            Multilateration(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="too few"):
        Multilateration().design(16, 10**6, SCALE, seed=0)


def test_the_columns_are_better_than_a_draw() -> None:
    def amplification(columns: Tensor) -> float:
        return float((1 / torch.fft.fft(columns.double()).abs().square().sum(0)).mean())

    design = Multilateration().design(256, 16 * 256, SCALE, seed=0)
    assert isinstance(design, AnchorDesign)
    draws = torch.randint(0, 2, (50, *design.columns[0].shape), generator=torch.Generator().manual_seed(0))
    usual = sorted(amplification(draw) for draw in draws)[25]
    assert math.isfinite(usual)
    assert max(amplification(columns) for columns in design.columns) < usual
