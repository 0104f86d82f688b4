"""Rows that went wrong are noticed without U, and solved again from the same frames; right ones never are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from groundglass.optics import Camera, SimulatedOPU, true_matrix
from groundglass.optics.retrieval import Scale, row_errors
from groundglass.optics.retrieval.held_out import HeldOutReadings, wrong_beyond
from groundglass.optics.retrieval.plan import HELD_OUT
from tests.optics.retrieval.devices import FRAMES, METHOD, Bench, N, opu, run

M = 80
#: That a solver spoils.
LOST = 7


class Spoils:
    """A solver that makes up some rows at first, and has what `second` does to try again."""

    name, exposure_control = "spoils", False
    least, design = METHOD.least, METHOD.design

    def __init__(self, rows: list[int], *, second: bool = True) -> None:
        self.rows, self.second, self.again = rows, second, 0

    def __repr__(self) -> str:
        return f"Spoils({self.rows})"

    def solve(self, design: Any, readings: Tensor, scale: Scale, *, seed: int) -> Tensor:
        found = METHOD.solve(design, readings, scale, seed=seed)
        found[self.rows] = found[self.rows].roll(5, 1)
        return found

    def solve_again(self, design: Any, readings: Tensor, scale: Scale, *, seed: int) -> Tensor:
        self.again += len(readings)
        found = METHOD.solve_again(design, readings, scale, seed=seed)
        return found if self.second else found.roll(3, 1)


def lost(device: SimulatedOPU, found: Tensor) -> list[int]:
    return (row_errors(found, true_matrix(device)) > 0.1).nonzero().flatten().tolist()


def test_a_row_that_went_wrong_is_solved_again_and_no_frame_is_taken_for_it() -> None:
    device, method = opu(N, M), Spoils([LOST])
    bench = Bench(device)
    found = run(bench, method=method)
    assert lost(device, found.matrix) == []
    assert found.retried.nonzero().flatten().tolist() == [LOST]
    assert not found.doubtful.any()
    assert method.again == 1
    assert bench.taken == found.frames == FRAMES
    whole = run(opu(N, M))
    others = torch.arange(M) != LOST
    assert torch.equal(found.matrix[others], whole.matrix[others])


@pytest.mark.parametrize("camera", [Camera(), Camera(bits=6), Camera(bits=None), Camera(read_noise=4.0)])
def test_no_row_is_doubted_where_all_are_right(camera: Camera) -> None:
    found = run(opu(N, M, camera))
    assert not found.retried.any()
    assert not found.doubtful.any()


def test_what_another_try_does_not_mend_is_doubtful_and_stays_as_it_was() -> None:
    device, method = opu(N, M), Spoils([LOST], second=False)
    found = run(device, method=method)
    assert method.again == 1
    assert found.retried.nonzero().flatten().tolist() == [LOST]
    assert found.doubtful.nonzero().flatten().tolist() == [LOST]


def test_where_many_are_wrong_none_is_tried_again() -> None:
    """There it is not luck: another try would cost much and give nothing."""
    device, method = opu(N, M), Spoils(list(range(0, M, 4)))
    found = run(device, method=method)
    assert method.again == 0
    assert not found.retried.any()
    assert found.doubtful.nonzero().flatten().tolist() == list(range(0, M, 4))


def test_where_most_are_wrong_they_are_doubted_all_the_same() -> None:
    wrong = list(range(M - 10))
    found = run(opu(N, M), method=Spoils(wrong))
    assert found.doubtful.nonzero().flatten().tolist() == wrong


def test_a_method_without_anything_else_to_try_says_what_is_doubtful() -> None:
    class Only(Spoils):
        solve_again = None  # type: ignore[assignment]

    found = run(opu(N, M), method=Only([LOST]))
    assert not found.retried.any()
    assert found.doubtful.nonzero().flatten().tolist() == [LOST]


def test_what_was_tried_again_is_known_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    device, method = opu(N, M), Spoils([LOST])
    first = run(device, tmp_path / "u", method=method)
    again = run(device, tmp_path / "u", method=method)
    assert method.again == 1
    assert torch.equal(again.matrix, first.matrix)
    assert torch.equal(again.retried, first.retried)
    assert lost(device, torch.from_numpy(np.load(tmp_path / "u" / "matrix.npy"))) == []


TOP = Scale(255, 55.0)


def light(rows: Tensor, bits: Tensor) -> Tensor:
    """What an 8-bit camera reads of each row, uint8 [rows, frames]."""
    return (
        (bits.to(torch.complex128) @ rows.T)
        .abs()
        .square()
        .add(0.5)
        .floor()
        .clamp(max=255)
        .T.to(torch.uint8)
        .contiguous()
    )


def drawn(count: int, *, n: int = 64, shared: float | None = None) -> Tensor:
    """Rows with a mean reading of about 55; `shared`: the light that half of their inputs have in common, 27 on average. In one
    row of ten thousand it is at the top."""
    random = torch.Generator().manual_seed(0)
    rows = torch.complex(*torch.randn(2, count, n, generator=random, dtype=torch.float64)) * (55 / n) ** 0.5
    return rows if shared is None else rows - rows.mean(1, keepdim=True) + 2 * shared**0.5 / n


def held(rows: Tensor, scale: Scale = TOP) -> HeldOutReadings:
    bits = torch.randint(0, 2, (HELD_OUT, rows.shape[1]), generator=torch.Generator().manual_seed(1))
    return HeldOutReadings(bits.numpy().astype(np.complex64).T, light(rows, bits).to(torch.float32).numpy(), scale)


def test_the_brightest_rows_are_found_by_more_patience() -> None:
    """Two readings in three are at the top: the way is long, and some of them are lost at first."""
    rows = torch.cat([drawn(60), drawn(8, shared=300.0)])
    design = METHOD.design(64, 12 * 64, TOP, seed=0)
    readings = light(rows, design.bits(0, len(design)))
    found = METHOD.solve(design, readings, TOP, seed=0)
    lost = (row_errors(found, rows) > 0.1).nonzero().flatten()
    assert len(lost) > 0
    assert int(lost.min()) >= 60
    assert held(rows).doubtful(found.numpy())[lost].all()
    again = METHOD.solve_again(design, readings[lost], TOP, seed=0)
    assert row_errors(again, rows[lost]).max() < 0.03
    found[lost] = again
    assert not held(rows).doubtful(found.numpy())[lost].any()


def test_a_bright_row_that_is_wrong_is_seen_where_the_mean_distance_is_blind() -> None:
    rows = torch.cat([drawn(100), drawn(1, shared=300.0)])
    readings, right = held(rows), rows.to(torch.complex64).numpy()
    assert not readings.doubtful(right).any()
    away = torch.randn(64, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    away -= away.mean()  # the light that the inputs share stays
    spoiled = rows.clone()
    spoiled[-1] += 0.12 * rows[-1].norm() / away.norm() * away
    assert float(row_errors(spoiled, rows)[-1]) > 0.1
    wrong = spoiled.to(torch.complex64).numpy()
    assert readings.away(wrong)[-1] < wrong_beyond(readings.chance, 0.0)
    assert readings.doubtful(wrong).nonzero()[0].tolist() == [100]


def test_of_a_row_that_is_always_at_the_top_nothing_can_be_said() -> None:
    rows = drawn(100)
    rows[0] = 50 + 0j
    readings, right = held(rows), rows.to(torch.complex64).numpy()
    assert readings.misfits(right)[0] == np.inf
    assert readings.doubtful(right).nonzero()[0].tolist() == [0]


def test_misfits_are_one_where_noise_is_all_there_is() -> None:
    rows, random = drawn(200), torch.Generator().manual_seed(3)
    inputs, right = held(rows).inputs, rows.to(torch.complex64).numpy()
    clean = np.square(np.abs(right @ inputs))
    noise = 4 * torch.randn(clean.shape, generator=random).numpy()
    misfits = HeldOutReadings(inputs, np.clip(np.round(clean + noise), 0, 255), Scale(255, 55.0, 4.0)).misfits(right)
    # Readings near 0 are cut off there: a little less than 1.
    assert 0.85 < np.median(misfits) < 1.05
    assert misfits.max() < 1.5
