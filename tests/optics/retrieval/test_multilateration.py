"""Numerical interferometry: designs of bits alone, and what they give at the device's own exposure."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groundglass.optics import Camera, SimulatedOPU
from groundglass.optics.access import DeviceAccess
from groundglass.optics.retrieval import multilateration
from groundglass.optics.retrieval.closed_form import SparseInputs
from groundglass.optics.retrieval.errors import row_errors
from groundglass.optics.retrieval.method import Scale
from groundglass.optics.retrieval.multilateration import AnchorDesign, Multilateration, planar_points
from groundglass.optics.true_matrix import true_matrix

N, M = 64, 120
SCALE = Scale(255, 55.0)


def retrieved(device: SimulatedOPU, method: Multilateration, frames: int) -> Tensor:
    scale = Scale(None if device.camera.bits is None else device.camera.top, device.mean_reading)
    design = method.design(device.in_features, frames, scale, seed=0)
    readings = DeviceAccess(device, budget=len(design)).measure(design.bits(0, len(design))).T.contiguous()
    return method.solve(design, readings, scale, seed=0)


def median(errors: Tensor) -> float:
    return float(errors.median())


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


def test_bits_of_a_stretch_are_a_stretch_of_the_bits() -> None:
    design = Multilateration().design(N, 8 * N, SCALE, seed=1)
    bits = design.bits(0, len(design))
    assert torch.equal(torch.cat([design.bits(at, at + 37) for at in range(0, len(design), 37)]), bits)
    assert design.bits(5, 5).shape == (0, N)


def test_seeds_make_designs() -> None:
    one, same, other = (Multilateration().design(N, 8 * N, SCALE, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.bits(0, 50), same.bits(0, 50))
    assert not torch.equal(one.bits(0, 50), other.bits(0, 50))


@pytest.mark.parametrize("parts", [2, 4])
def test_least_is_enough_without_a_camera(parts: int) -> None:
    method = Multilateration(parts=parts, brightest=1)
    device = SimulatedOPU.create(N, M, seed=3, camera=Camera(bits=None))
    errors = row_errors(retrieved(device, method, method.least(N)), true_matrix(device))
    assert errors.median() < 2e-6
    assert errors.max() < 0.02
    with pytest.raises(ValueError, match="`frames`"):
        method.design(N, method.least(N) - 1, SCALE, seed=0)


def test_float_readings_give_u_back() -> None:
    device = SimulatedOPU.create(N, M, seed=3, camera=Camera(bits=None))
    assert row_errors(retrieved(device, Multilateration(), 16 * N), true_matrix(device)).max() < 1e-5


def test_eight_bits_at_the_exposure_of_the_device() -> None:
    device = SimulatedOPU.create(N, M, seed=3)
    truth = true_matrix(device)
    few, many = (row_errors(retrieved(device, Multilateration(), k * N), truth) for k in (16, 60))
    assert median(few) < 0.05
    assert (few > 0.1).double().mean() < 0.12
    assert median(many) < 0.7 * median(few)
    assert (many > 0.1).double().mean() <= 0.01, "bright rows lose a direction"


def test_filling_in_the_readings_at_the_top_is_worth_it() -> None:
    device = SimulatedOPU.create(N, M, seed=3, camera=Camera(saturation=0.03))
    truth = true_matrix(device)
    without, with_it = (retrieved(device, Multilateration(imputations=k), 16 * N) for k in (0, 4))
    assert row_errors(with_it, truth).mean() < 0.9 * row_errors(without, truth).mean()


def test_noise_is_amplified() -> None:
    """Distances are differences of readings: two steps of noise are much worse here than rounding."""
    errors = []
    for noise in (0.0, 2.0):
        device = SimulatedOPU.create(N, M, seed=3, camera=Camera(read_noise=noise))
        errors.append(median(row_errors(retrieved(device, Multilateration(), 16 * N), true_matrix(device))))
    assert errors[1] > 3 * errors[0]


def test_rows_do_not_hang_on_their_company(monkeypatch: pytest.MonkeyPatch) -> None:
    device, method = SimulatedOPU.create(N, M, seed=3), Multilateration()
    design = method.design(N, 16 * N, SCALE, seed=0)
    readings = device.measure(design.bits(0, len(design))).T.contiguous()
    whole = method.solve(design, readings, SCALE, seed=0)
    some = torch.tensor([100, 3, 7])
    assert torch.equal(method.solve(design, readings[some], SCALE, seed=1), whole[some])
    monkeypatch.setattr(multilateration, "_BLOCK", 7 * design.part)
    assert torch.equal(method.solve(design, readings, SCALE, seed=0), whole)


def test_turned_and_mirrored_rows_read_the_same() -> None:
    """What the readings do not tell is not an error; what they tell is."""
    truth = true_matrix(SimulatedOPU.create(N, M, seed=3))
    turned = (truth * torch.exp(1j * torch.linspace(0, 6, M))[:, None]).conj()
    assert row_errors(turned, truth).max() < 1e-5
    assert row_errors(truth.roll(1, 1), truth).min() > 0.5


def test_points_from_inner_products() -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.randn(20, 6, dtype=torch.complex128, generator=random)
    found = planar_points((points[:, :, None].conj() * points[:, None]).real)
    assert torch.allclose(
        (found[:, :, None].conj() * found[:, None]).real, (points[:, :, None].conj() * points[:, None]).real
    )


def test_dark_and_bright_rows_are_numbers() -> None:
    design = Multilateration().design(N, 16 * N, SCALE, seed=0)
    readings = torch.stack([torch.full((len(design),), value, dtype=torch.uint8) for value in (0, 255)])
    assert torch.view_as_real(Multilateration().solve(design, readings, SCALE, seed=0)).isfinite().all()


def test_refuses_what_makes_no_sense() -> None:
    for wrong in ({"parts": 1}, {"overlap": 0}, {"brightest": 1.5}, {"most_anchors": 2}, {"imputations": -1}):
        with pytest.raises(ValueError, match="must"):
            Multilateration(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="too few"):
        Multilateration().design(16, 10**6, SCALE, seed=0)
    other = SparseInputs().design(N, 8 * N, SCALE, seed=0)
    with pytest.raises(TypeError, match="PairDesign"):
        Multilateration().solve(other, torch.zeros(1, len(other), dtype=torch.uint8), SCALE, seed=0)


def test_the_columns_are_better_than_a_draw() -> None:
    def amplification(columns: Tensor) -> float:
        return float((1 / torch.fft.fft(columns.double()).abs().square().sum(0)).mean())

    design = Multilateration().design(256, 16 * 256, SCALE, seed=0)
    assert isinstance(design, AnchorDesign)
    draws = torch.randint(0, 2, (50, *design.columns[0].shape), generator=torch.Generator().manual_seed(0))
    usual = sorted(amplification(draw) for draw in draws)[25]
    assert math.isfinite(usual)
    assert max(amplification(columns) for columns in design.columns) < usual
