"""Retrieval from designed inputs at the device's own exposure: how well, and the same in any company."""

import numpy as np
import pytest
import torch
from torch import Tensor

from groundglass.optics import Camera, SimulatedOPU, true_matrix
from groundglass.optics.retrieval import FixedExposure, row_errors
from groundglass.optics.retrieval.method import Scale
from groundglass.optics.retrieval.search import Search
from tests.optics.retrieval.devices import opu, scale_of
from tests.threads import torch_threads

N, M = 48, 40
METHOD = FixedExposure()


def measured(device: SimulatedOPU, frames: int, *, seed: int = 0) -> tuple[object, Tensor]:
    design = METHOD.design(device.in_features, frames, scale_of(device), seed=seed)
    return design, device.measure(design.bits(0, len(design))).T.contiguous()


def errors(device: SimulatedOPU, frames: int, noise: float = 0.0, method: FixedExposure = METHOD) -> Tensor:
    design, readings = measured(device, frames)
    found = method.solve(design, readings, scale_of(device, noise), seed=0)  # type: ignore[arg-type]
    assert (found.shape, found.dtype) == (torch.Size([device.out_features, device.in_features]), torch.complex64)
    return row_errors(found, true_matrix(device))


FLOAT = Camera(bits=None)


@pytest.mark.parametrize(
    ("n", "k", "camera", "median", "most"),
    [
        *((n, 12, Camera(), 0.007, 0.02) for n in (8, 33, 48, 64)),
        (64, 8, Camera(), 0.006, 0.02),  # where blocks are whole
        (2, 16, Camera(), 0.03, 0.5),  # two bits are few and enough
        (N, 12, Camera(bits=4), 0.08, 0.15),
        (N, 8, FLOAT, 0.002, 0.01),
        (N, 12, FLOAT, 0.002, 0.01),
        # Readings at the top have no upper end: a tenth of them there costs next to nothing.
        *((N, 12, Camera(saturation=share), 0.02, 0.02) for share in (0.0001, 0.1)),
    ],
)
def test_every_row_is_found(n: int, k: int, camera: Camera, median: float, most: float) -> None:
    found = errors(opu(n, M, camera), k * n)
    assert found.median() < median
    assert found.max() < most


def test_four_bits_are_not_by_chance_as_good_as_eight() -> None:
    coarse, fine = (errors(opu(N, M, Camera(bits=bits)), 12 * N).median() for bits in (4, 8))
    assert coarse > 5 * fine


def test_more_frames_are_better_and_too_few_lose_rows() -> None:
    medians = [float(errors(opu(64, M), k * 64).median()) for k in (8, 24)]
    assert medians[0] > 1.4 * medians[1]
    assert (errors(opu(64, M), 4 * 64) > 0.1).sum() > 3


def test_the_error_grows_with_read_noise_and_stays_below_a_bound() -> None:
    """A field's error is noise / (2 |z|), averaged over 12 frames an unknown: noise 8 of a mean of 56 is about 0.1."""
    noises = (0.0, 1.0, 3.0, 8.0)
    medians = [float(errors(opu(N, M, Camera(read_noise=s)), 12 * N, s).median()) for s in noises]
    assert medians == sorted(medians)
    for noise, median in zip(noises[1:], medians[1:], strict=True):
        assert 0.008 * noise < median < 0.018 * noise


def test_noise_that_is_known_saves_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields that noise keeps from their intervals are no reason to start again."""
    tried: list[int] = []
    attempt = Search.attempt

    def counted(self: Search, todo: np.ndarray, *, seed: int) -> np.ndarray:
        tried.append(len(todo))
        return attempt(self, todo, seed=seed)

    monkeypatch.setattr(Search, "attempt", counted)
    device = opu(N, M, Camera(read_noise=6))
    errors(device, 12 * N, 6.0)
    known = sum(tried)
    tried.clear()
    errors(device, 12 * N, 0.0)
    assert known < 2 * M
    assert sum(tried) > 2 * known


def test_the_polish_and_the_further_starts_are_worth_it() -> None:
    device = opu(33, M)
    plain = errors(device, 12 * 33, method=FixedExposure(polish=0))
    assert plain.median() > 1.3 * errors(device, 12 * 33).median()
    once, often = (errors(device, 8 * 33, method=FixedExposure(starts=starts)) for starts in (1, 8))
    assert (once > 0.1).sum() > (often > 0.1).sum()


@pytest.fixture(params=[Camera(), Camera(bits=None), Camera(read_noise=4.0)], ids=["8 bits", "float", "noisy"])
def solved(request: pytest.FixtureRequest) -> tuple[object, Tensor, Scale, Tensor]:
    device = opu(33, 27, request.param)
    # Few enough frames that some rows need further starts; with a last block that is a part.
    design, readings = measured(device, 8 * 33)
    scale = scale_of(device, request.param.read_noise)
    return design, readings, scale, METHOD.solve(design, readings, scale, seed=0)  # type: ignore[arg-type]


def test_a_row_is_the_same_bit_by_bit_in_any_company(solved: tuple[object, Tensor, Scale, Tensor]) -> None:
    design, readings, scale, whole = solved
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    # A row alone is a case of its own for numpy's sums; 9 is a full vector and one.
    groups = [order, *(order[at : at + 1] for at in range(6)), order[6:8], order[8:17], torch.tensor([4, 4, 4])]
    for group in groups:
        found = METHOD.solve(design, readings[group], scale, seed=0)  # type: ignore[arg-type]
        assert torch.equal(found, whole[group])


def test_a_row_is_the_same_bit_by_bit_with_two_threads(solved: tuple[object, Tensor, Scale, Tensor]) -> None:
    design, readings, scale, whole = solved
    assert torch.get_num_threads() == 1
    with torch_threads(2):
        assert torch.equal(METHOD.solve(design, readings, scale, seed=0), whole)  # type: ignore[arg-type]


def test_the_layout_of_the_readings_is_nothing(solved: tuple[object, Tensor, Scale, Tensor]) -> None:
    """`readings[:, columns]` of numpy lies column by column."""
    design, readings, scale, whole = solved
    turned = readings.T.contiguous().T
    assert turned.stride() != readings.stride()
    assert torch.equal(METHOD.solve(design, turned, scale, seed=0), whole)  # type: ignore[arg-type]


def test_the_seed_makes_the_starts() -> None:
    device = opu(N, 16)
    design, readings = measured(device, 12 * N)
    first, again, other = (METHOD.solve(design, readings, scale_of(device), seed=s) for s in (1, 1, 2))  # type: ignore[arg-type]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # Other starts end at the same rows, turned.
    assert row_errors(other, first).max() < 0.01


def test_too_few_frames_are_refused_with_a_number_that_works() -> None:
    with pytest.raises(ValueError, match=rf"{4 * N - 1} frames are too few for {N} inputs: .*4 N = {4 * N}\b"):
        METHOD.design(N, 4 * N - 1, Scale(255, 55.0), seed=0)
    assert METHOD.least(N) == 4 * N
    assert len(METHOD.design(N, 4 * N, Scale(255, 55.0), seed=0)) == 4 * N
    # The number that it recommends.
    with pytest.raises(ValueError, match=f"12 N = {12 * N} every row is found"):
        METHOD.design(N, 5, Scale(255, 55.0), seed=0)


@pytest.mark.parametrize("wrong", [-1, 1])
def test_readings_of_another_length_are_not_solved(wrong: int) -> None:
    device = opu(N, 8)
    design, readings = measured(device, 10 * N)  # 480 of 512: one more would fit into the last block
    readings = readings[:, :wrong] if wrong < 0 else torch.cat([readings, readings[:, :1]], 1)
    with pytest.raises((AssertionError, ValueError)):
        METHOD.solve(design, readings, scale_of(device), seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("camera", [Camera(), FLOAT])
def test_a_dark_row_has_no_light_and_a_bright_one_spoils_no_other(camera: Camera) -> None:
    device = opu(N, 6, camera)
    design, readings = measured(device, 12 * N)
    ends = torch.stack([torch.full_like(readings[0], value) for value in (0, 255)])
    alone, found = (
        METHOD.solve(design, seen, scale_of(device), seed=0)  # type: ignore[arg-type]
        for seen in (readings, torch.cat([ends, readings]))
    )
    assert torch.view_as_real(found).isfinite().all()
    assert found[0].abs().max() < 1
    assert torch.equal(found[2:], alone)


def test_a_real_matrix_is_found_less_well() -> None:
    """(Wx)^2 does not see a small imaginary part, which enters squared: more frames are needed, and some rows stay off.

    The readings are still predicted to a fraction of a step.
    """
    device = SimulatedOPU.create(N, M, seed=3, matrix="real")
    truth = true_matrix(device)
    design, readings = measured(device, 24 * N)
    found = METHOD.solve(design, readings, scale_of(device), seed=0)  # type: ignore[arg-type]
    away = row_errors(found, truth)
    assert away.median() < 0.02
    assert away.max() < 0.4
    bits = torch.randint(0, 2, (N, 200), generator=torch.Generator().manual_seed(0)).to(torch.complex64)
    light = [(matrix @ bits).abs().square().clamp_max(255) for matrix in (found, truth)]
    assert (light[0] - light[1]).abs().mean(1).median() < 0.5
    assert (light[0] - light[1]).abs().mean() < 0.02 * light[1].mean()


@pytest.mark.parametrize(
    ("field", "value"), [("momentum", 1.0), ("momentum", -0.1), ("starts", 0), ("tolerance", 0.0), ("accepted", 1.0)]
)
def test_a_setting_out_of_its_range_is_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{field}`"):
        FixedExposure(**{field: value})
