"""What follows of U for somebody at the front door: bits and logits, no readings."""

import pytest
import torch

from groundglass.optics import Camera, SimulatedOPU, true_matrix
from groundglass.optics.retrieval import row_errors

N, M, CLASSES = 12, 40, 3
DEVICE = SimulatedOPU.create(N, M, seed=5, camera=Camera(bits=None))
READOUT = torch.randn(CLASSES, M, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def bits(rows: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 2, (rows, N), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def logits(x: torch.Tensor) -> torch.Tensor:
    return DEVICE.measure(x).double() @ READOUT.T


def products(x: torch.Tensor) -> torch.Tensor:
    first, second = torch.triu_indices(N, N)
    return (x[:, first] * x[:, second]).double()


def forms() -> torch.Tensor:
    """Logits are quadratic forms x'Qx of the bits: N (N + 1) / 2 numbers a class, from as many questions."""
    x = bits(N * (N + 1) // 2 + 40, 2)
    return torch.linalg.lstsq(products(x), logits(x)).solution


def test_logits_are_known_for_all_inputs_from_half_a_square_of_questions() -> None:
    new = bits(200, 3)
    assert (products(new) @ forms() - logits(new)).abs().max() < 1e-3 * logits(new).abs().max()


def test_a_device_of_no_common_rows_gives_the_same_logits() -> None:
    """Nothing more than the forms can be known: their eigenvectors, with a readout of their signs, are such a device too."""
    first, second = torch.triu_indices(N, N)
    rows, readout = [], []
    for k, form in enumerate(forms().T):
        square = torch.zeros(N, N, dtype=torch.float64)
        square[first, second] = form / 2
        values, vectors = torch.linalg.eigh(square + square.T)
        rows.append((vectors * values.abs().sqrt()).T)
        weight = torch.zeros(N, CLASSES, dtype=torch.float64)
        weight[:, k] = values.sign()
        readout.append(weight)
    other, new = torch.cat(rows), bits(200, 4)
    said = (new.double() @ other.T).square() @ torch.cat(readout)
    assert (said - logits(new)).abs().max() < 1e-3 * logits(new).abs().max()
    truth = true_matrix(DEVICE)
    lengths = truth.abs().square().sum(1).sqrt()
    for row in other:
        guess = (row / row.norm()).to(torch.complex64).expand(M, N) * lengths[:, None]
        assert float(row_errors(guess, truth).min()) > 0.4


def test_rows_of_the_readout_are_needed_for_that() -> None:
    """Negative control: readings themselves are forms of one row each, and do give U."""
    x = bits(N * (N + 1) // 2 + 40, 2)
    first, second = torch.triu_indices(N, N)
    found = torch.linalg.lstsq(products(x), DEVICE.measure(x).double()).solution.T
    for form, row in zip(found[:5], true_matrix(DEVICE)[:5], strict=True):
        square = torch.zeros(N, N, dtype=torch.float64)
        square[first, second] = form / 2
        gram = (row[:, None].conj() * row).real.double()
        assert torch.corrcoef(torch.stack(((square + square.T).flatten(), gram.flatten())))[0, 1] == pytest.approx(
            1, abs=1e-3
        )
