"""Bits that a wrong matrix tells: closed forms, and the estimate from the numbers themselves."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from groundglass.adaptive.channel import blurred
from groundglass.adaptive.information import CHANCE, agreement, gaussian_bits, uniform_bits
from groundglass.core import generator, normal
from groundglass.optics import DeviceAccess, SimulatedOPU, draw_feedback, entry_size, feedback_size, true_matrix
from groundglass.optics.medium import MatrixKind

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


@pytest.mark.parametrize("real", [True, False])
def test_at_the_length_of_the_law_no_row_tells_how_long_it_is(real: bool) -> None:
    """At sqrt(2) a matrix is independent of the true one, its length included; at the length of each row it is not."""
    g = generator(1, "information")
    matrix = normal(4000, 16, generator=g) if real else torch.view_as_complex(normal(4000, 16, 2, generator=g)) / 2**0.5
    lengths = matrix.abs().square().sum(1)
    found = {size: blurred(matrix, CHANCE, 3, size=size).abs().square().sum(1) for size in (None, 1.0)}
    told = {size: float(torch.corrcoef(torch.stack([lengths, one]))[0, 1]) for size, one in found.items()}
    assert abs(told[1.0]) < 0.05
    assert told[None] > 0.5
    # And it is as long as the others, on average, and as far off as it says.
    assert float(found[1.0].mean() / lengths.mean()) == pytest.approx(1, rel=0.03)
    off = (blurred(matrix, 0.6, 3, size=1.0) - matrix).abs().square().sum(1).mean()
    assert float((off / lengths.mean()) ** 0.5) == pytest.approx(0.6, rel=0.03)


@pytest.mark.parametrize("matrix", ["complex", "real"])
def test_the_size_of_an_entry_is_that_of_its_law(matrix: MatrixKind) -> None:
    device = SimulatedOPU.create(256, 512, seed=3, matrix=matrix)
    assert float(true_matrix(device).abs().square().mean().sqrt()) == pytest.approx(entry_size(device), rel=0.02)
    assert float(draw_feedback(50, 400, seed=0).square().mean().sqrt()) == pytest.approx(feedback_size(400), rel=0.02)
    # Of the law, not of one draw: another device with the same exposure has the same.
    other = SimulatedOPU.create(256, 512, seed=4, matrix=matrix)
    per_gain = [entry_size(one) / one.exposure.gain**0.5 for one in (device, other)]
    assert per_gain[0] == pytest.approx(per_gain[1], rel=1e-12)
    with pytest.raises(TypeError, match="not known"):
        entry_size(DeviceAccess(device))


def test_reading_bits_takes_no_torch() -> None:
    code = "import sys, groundglass.adaptive.information; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
