"""The judge of a retrieval: blind to what no camera sees, and to nothing else."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groundglass.optics.retrieval import row_errors


def draw(m: int, n: int, seed: int) -> Tensor:
    return torch.randn(m, n, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


@given(m=st.integers(1, 6), n=st.integers(1, 30), seed=st.integers(0, 999), data=st.data())
@settings(max_examples=50, deadline=None)
def test_phase_and_conjugation_of_each_row_are_no_error(m: int, n: int, seed: int, data: st.DataObject) -> None:
    truth, away = draw(m, n, seed), draw(m, n, seed + 1)
    phases = torch.tensor(data.draw(st.lists(st.floats(0, 7), min_size=m, max_size=m)), dtype=torch.float64)
    mirrored = torch.tensor(data.draw(st.lists(st.booleans(), min_size=m, max_size=m)))

    def hidden(matrix: Tensor) -> Tensor:
        return torch.where(mirrored[:, None], matrix.conj(), matrix) * torch.exp(1j * phases)[:, None]

    assert row_errors(hidden(truth), truth).max() < 1e-6
    for estimate in (away, truth + 0.1 * away):
        torch.testing.assert_close(row_errors(hidden(estimate), truth), row_errors(estimate, truth), rtol=0, atol=1e-6)


def test_it_is_the_least_distance_over_all_phases() -> None:
    truth, estimate = draw(5, 8, 0), draw(5, 8, 1)
    turns = torch.exp(1j * torch.linspace(0, 2 * math.pi, 20001, dtype=torch.float64))
    away = [
        ((truth[:, None] - turns[:, None] * e[:, None]).norm(dim=2) / truth.norm(dim=1, keepdim=True)).amin(1)
        for e in (estimate, estimate.conj())
    ]
    torch.testing.assert_close(row_errors(estimate, truth), torch.minimum(*away), rtol=1e-6, atol=0)


def test_length_is_an_error_and_so_is_chance() -> None:
    truth = draw(200, 400, 0)
    torch.testing.assert_close(row_errors(1.25 * truth, truth), torch.full((200,), 0.25, dtype=torch.float64))
    assert row_errors(0 * truth, truth).allclose(torch.ones(200, dtype=torch.float64))
    chance = row_errors(draw(200, 400, 1), truth)
    assert chance.mean().item() == pytest.approx(math.sqrt(2), abs=0.06)
    # One phase in the middle of a row is not the phase of a row.
    assert row_errors(torch.cat([truth[:, :200], 1j * truth[:, 200:]], 1), truth).min() > 0.5


def test_rows_are_judged_one_by_one() -> None:
    truth = draw(4, 30, 0).to(torch.complex64)
    estimate = truth.clone()
    estimate[2] = draw(4, 30, 1)[2]
    errors = row_errors(estimate, truth)
    assert errors.shape == (4,)
    assert (errors[[0, 1, 3]] < 1e-6).all()
    assert errors[2] > 0.5


@pytest.mark.parametrize("shape", [(4, 29), (3, 30), (30, 4), (30,)])
def test_another_shape_is_another_device(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not the same device"):
        row_errors(torch.zeros(shape, dtype=torch.complex64), draw(4, 30, 0))
