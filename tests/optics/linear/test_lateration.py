"""Points from distances: exact ones, rounded ones, ones at the top, and what noise makes of them by theory."""

import math

import pytest
import torch
from torch import Tensor

from groundglass.core import generator, normal
from groundglass.optics.linear.lateration import Lateration

ROWS, BATCH = 300, 4


def plane(*shape: int, seed: int, scale: float) -> Tensor:
    """Complex Gaussian points of this mean square."""
    random = generator(seed, "points")
    parts = (normal(*shape, generator=random).double() for _ in range(2))
    return torch.complex(*parts) * math.sqrt(scale / 2)


def around(k: int, *, seed: int = 0, scale: float = 30.0) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors [k + 1, rows], points [batch, rows] and their squared distances [k + 1, batch, rows]."""
    anchors = torch.cat((torch.zeros(1, ROWS, dtype=torch.complex128), plane(k, ROWS, seed=seed, scale=scale)))
    points = plane(BATCH, ROWS, seed=seed + 1, scale=scale)
    return anchors, points, (points + anchors[:, None]).abs().square()


EXPECTED = torch.full((BATCH,), 30.0, dtype=torch.float64)


@pytest.mark.parametrize("k", [2, 15])
def test_exact_distances_give_the_points(k: int) -> None:
    anchors, points, light = around(k)
    found = Lateration(anchors, None, 0.0)(light, EXPECTED)
    # Two anchors in a line with 0 leave a mirror image, and the closer to that, the more steps it takes.
    assert ((found - points).abs() < 1e-3).double().mean() > 0.97
    assert (found - points).abs().median() < 1e-9


def test_points_on_a_line_stay_on_it() -> None:
    anchors, points, _ = around(15)
    anchors, points = anchors.real.to(torch.complex128), points.real.to(torch.complex128)
    light = (points + anchors[:, None]).abs().square()
    found = Lateration(anchors, None, 0.0)(light, EXPECTED)
    assert not found.imag.any()
    assert (found - points).abs().max() < 1e-6


def test_the_error_under_noise_is_that_of_least_squares() -> None:
    """Gauss-Newton's covariance, v (J'J)^-1 with J = 2 (x + b): no estimator that is right on average does better."""
    anchors, points, light = around(15)
    std = 0.5
    noisy = light + std * normal(*light.shape, generator=generator(3, "noise")).double()
    found = Lateration(anchors, None, std**2)(noisy, EXPECTED)
    slopes = torch.view_as_real(2 * (points + anchors[:, None]))  # [k + 1, batch, rows, 2]
    curvature = torch.einsum("kbri,kbrj->brij", slopes, slopes)
    bound = std**2 * torch.linalg.inv(curvature).diagonal(dim1=-2, dim2=-1).sum(-1)
    assert float((found - points).abs().square().mean() / bound.mean()) == pytest.approx(1, abs=0.1)


def test_more_noise_than_light_gives_zero_not_nonsense() -> None:
    anchors, points, light = around(15)
    noisy = (light + 1e4 * normal(*light.shape, generator=generator(3, "noise")).double()).clamp_min(0)
    found = Lateration(anchors, None, 1e8)(noisy, EXPECTED)
    assert found.abs().square().mean() < 2 * points.abs().square().mean()


def test_readings_at_the_top_say_that_there_is_no_less_light() -> None:
    anchors, points, light = around(15, scale=100.0)
    read = (light + 0.5).floor().clamp(max=255)
    below = (read < 255).sum(0)
    expected = EXPECTED / 30 * 100
    away = (Lateration(anchors, 255, 1 / 12)(read, expected) - points).abs()
    # Three readings are enough.
    few = (below >= 3) & (below < 8)
    assert few.sum() > 50
    assert (away[few] > 0.3).double().mean() < 0.03
    assert away[few].median() < 3 * away[below == 16].median()
    taken_for_true = Lateration(anchors, None, 1 / 12)(read, expected)
    assert ((taken_for_true - points).abs()[few] > 0.3).double().mean() > 0.9


def test_a_point_does_not_depend_on_its_batch() -> None:
    anchors, _, light = around(15, scale=60.0)
    read = (light + 0.5).floor().clamp(max=255)
    lateration = Lateration(anchors, 255, 1 / 12)
    whole = lateration(read, EXPECTED)
    parts = [lateration(read[:, k : k + 1], EXPECTED[k : k + 1]) for k in range(BATCH)]
    assert torch.equal(torch.cat(parts), whole)


def test_what_is_unexplained_is_little_with_the_right_anchors_and_much_with_others() -> None:
    anchors, _, light = around(15)
    read = (light + 0.5).floor()
    right, wrong = Lateration(anchors, None, 1 / 12), Lateration(anchors.roll(1, 1), None, 1 / 12)
    shares = []
    for lateration in (right, wrong):
        left, spread = lateration.unexplained(read, lateration(read, EXPECTED))
        shares.append(float(left.sum() / spread.sum()))
    assert abs(shares[0]) < 1e-3
    assert shares[1] > 0.3
