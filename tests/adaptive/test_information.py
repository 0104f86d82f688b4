"""Bits that a wrong matrix tells: closed forms, and the estimate from the numbers themselves."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from groundglass.adaptive.information import CHANCE, agreement, gaussian_bits, uniform_bits
from groundglass.core import generator, normal
from groundglass.optics.backward import draw_feedback
from groundglass.studies.cells.attack import blurred

BINS = 40


def estimate(true: torch.Tensor, seen: torch.Tensor) -> float:
    """Mutual information of two numbers, in bits, from a table of equally filled bins, less its bias (Miller 1955)."""
    ranks = [one.flatten().argsort().argsort().numpy() * BINS // one.numel() for one in (true, seen)]
    counts = np.bincount(BINS * ranks[0] + ranks[1], minlength=BINS**2)
    share = counts[counts > 0] / counts.sum()
    information = float((share * np.log2(share)).sum()) + 2 * math.log2(BINS)
    bias = ((counts > 0).sum() - 2 * BINS + 1) / (2 * counts.sum() * math.log(2))
    return information - float(bias)


def test_known_values() -> None:
    assert gaussian_bits(CHANCE) == uniform_bits(CHANCE) == 0
    assert math.isinf(gaussian_bits(0))
    assert math.isinf(uniform_bits(0))
    assert agreement(1.0) == 0.5
    assert gaussian_bits(1.0) == pytest.approx(math.log2(4 / 3))
    assert gaussian_bits(0.1) == pytest.approx(2 * gaussian_bits(0.1, parts=1))
    # Small errors: a bit more a part for each halving, 2 log2(1 / e) of a complex entry.
    assert gaussian_bits(0.01) == pytest.approx(2 * math.log2(100), rel=1e-5)
    # The entropy of a uniform number is 1/2 log2(2 pi e / 12) below that of a Gaussian one.
    assert gaussian_bits(0.001, parts=1) - uniform_bits(0.001) == pytest.approx(
        0.5 * math.log2(math.pi * math.e / 6), abs=1e-3
    )
    assert uniform_bits(1.4) == pytest.approx(gaussian_bits(1.4, parts=1), rel=1e-2)
    with pytest.raises(ValueError, match="sqrt"):
        gaussian_bits(1.5)


@pytest.mark.parametrize("error", [0.6, 1.1])
def test_the_numbers_themselves_tell_as_much(error: float) -> None:
    g = generator(0, "information")
    matrix = torch.view_as_complex(normal(400, 400, 2, generator=g))
    seen = blurred(matrix, error, 1)
    off = (seen - matrix).abs().square().sum(1).sqrt() / matrix.abs().square().sum(1).sqrt()
    assert float(off.mean()) == pytest.approx(error, rel=0.02)
    parts = estimate(matrix.real, seen.real) + estimate(matrix.imag, seen.imag)
    assert parts == pytest.approx(gaussian_bits(error), rel=0.05)
    assert estimate(matrix.real, seen.imag) < 0.01
    feedback = draw_feedback(400, 400, seed=0)
    assert estimate(feedback, blurred(feedback, error, 1)) == pytest.approx(uniform_bits(error), rel=0.06)


def test_the_ends_are_the_matrix_and_an_independent_one() -> None:
    matrix = draw_feedback(50, 200, seed=0)
    assert torch.allclose(blurred(matrix, 0.0, 1), matrix)
    other = blurred(matrix, CHANCE, 1)
    assert abs(float(torch.corrcoef(torch.stack([matrix.flatten(), other.flatten()]))[0, 1])) < 0.04
    assert not torch.equal(other, blurred(matrix, CHANCE, 2))


def test_reading_bits_takes_no_torch() -> None:
    code = "import sys, groundglass.adaptive.information; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
