"""Where a point lies in the complex plane, by its distances from points that are known, read by a camera."""

import math

import torch
from jaxtyping import Complex128, Float64
from torch import Tensor

from groundglass.core import counting

# Steps of the polish for all points, and for those with a reading at the top, whose start is poor.
_STEPS, _CUT_STEPS = 4, 25
# Starts for those.
_STARTS = 32
# Damping, as a share of the curvature that is expected: it keeps the steps of badly placed points short.
_DAMPING = 1e-3


class Lateration:
    """Points xi of the plane from squared distances |xi + b_s|^2 to the points -b_s, for each row its own b_s.

    First the linear system of multilateration, with |xi|^2 as an unknown of its own: 2 Re(conj(b_s) xi) + |xi|^2 =
    y_s - |b_s|^2, by one pseudo-inverse a row. Then Gauss-Newton steps on sum_s (y_s - |xi + b_s|^2)^2 / v + 2 |xi|^2 / e: the
    most likely point, if readings have a variance v and xi is complex Gaussian with mean square e, as a field is. A reading at
    the top says only that there is no less light than that.

    Source: the linear system is (C3) of docs/theory.md, with -b_s for the anchors: Gupta et al., arXiv 1911.01006. The
    published gradient descent (arXiv 1907.01703, "MDS-GD") has the same aim as the steps here, without noise, prior or top.

    Args:
        anchors: b, complex128 [anchors, rows]; the first is 0. With real ones all points are on the real axis.
        top: the largest reading; None for a camera without one.
        variance: v, of a reading.
    """

    def __init__(self, anchors: Complex128[Tensor, "k rows"], top: int | None, variance: float) -> None:
        self.anchors, self.top, self.variance = anchors, math.inf if top is None else float(top), variance
        system = torch.stack((2 * anchors.real, 2 * anchors.imag, torch.ones_like(anchors.real)), -1).transpose(0, 1)
        # [k, 3, rows]
        self._inverse = torch.linalg.pinv(system, rtol=1e-3 if top else 1e-9).permute(2, 1, 0).contiguous()

    def to(self, device: torch.device) -> "Lateration":
        """The same with its tensors there; itself if they are."""
        if self.anchors.device == device:
            return self
        return Lateration(self.anchors.to(device), None if self.top == math.inf else int(self.top), self.variance)

    def __call__(
        self, readings: Float64[Tensor, "k batch rows"], expected: Float64[Tensor, "batch"]
    ) -> Complex128[Tensor, "batch rows"]:
        """The points, from readings in the order of the anchors; `expected`: e, of each of the batch.

        A point does not depend on the others of its batch.
        """
        anchors, inverse = self.anchors[:, None], self._inverse[:, :, None]
        away = readings - _square(anchors)
        found = self._polish(_solved(inverse, away), readings, anchors, expected[:, None], _STEPS)
        cut = (readings >= self.top).any(0)
        if cut.any():
            at, row = cut.nonzero(as_tuple=True)
            found[at, row] = self._cut(readings[:, at, row], self.anchors[:, row], expected[at])
        return found

    def _cut(self, readings: Tensor, anchors: Tensor, expected: Tensor) -> Tensor:
        """Points that have a reading at the top: from the mean of those on a circle, each as likely as its readings are.

        The zero anchor's reading gives the circle. Where nearly all are at the top, an arc of it is as likely as can be.
        """
        radius, turns = readings[0].sqrt(), counting(_STARTS, readings.device) * (2 * math.pi / _STARTS)
        around = torch.polar(radius.expand(_STARTS, -1), turns.to(torch.float64)[:, None].expand(-1, len(radius)))
        left = torch.stack([_total(self._error(point, readings, anchors)[1].square()) for point in around])
        likely = ((left.amin(0) - left) / (2 * self.variance)).exp()
        start = _total(around * likely) / _total(likely)
        return self._polish(start, readings, anchors, expected, _CUT_STEPS)

    def _error(self, found: Tensor, readings: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Fields, and how far readings are from their light. Both are 0 where a reading and the light are at the top or above."""
        fields = found + anchors
        light = _square(fields)
        seen = (readings < self.top) | (light < self.top)
        return torch.where(seen, fields, 0.0), torch.where(seen, readings - light, 0.0)

    def _polish(self, found: Tensor, readings: Tensor, anchors: Tensor, expected: Tensor, steps: int) -> Tensor:
        pull = 2 * self.variance / expected
        damping = _DAMPING * 4 * (_total(_square(anchors)) + len(anchors) * expected)
        for _ in range(steps):
            fields, error = self._error(found, readings, anchors)
            fields = 2 * fields
            x, y = fields.real, fields.imag
            a, b, c = _total(x * x), _total(x * y), _total(y * y)
            right = _total(x * error) - pull * found.real, _total(y * error) - pull * found.imag
            a, c = a + pull + damping, c + pull + damping
            over = a * c - b * b
            found = found + torch.complex((c * right[0] - b * right[1]) / over, (a * right[1] - b * right[0]) / over)
        return found

    def unexplained(
        self, readings: Float64[Tensor, "k batch rows"], found: Complex128[Tensor, "batch rows"]
    ) -> tuple[Tensor, Tensor]:
        """What the points leave of the readings' spread over the anchors, less what noise explains; and that spread.

        Sums of squares over each of the rows, [rows], of points without a reading at the top.
        """
        whole = (readings < self.top).all(0)
        left = _square(readings - _square(found + self.anchors[:, None])).sum(0) - (len(readings) - 2) * self.variance
        spread = _square(readings - readings.mean(0)).sum(0)
        return torch.where(whole, left, 0.0).sum(0), torch.where(whole, spread, 0.0).sum(0)


def _square(values: Tensor) -> Tensor:
    """|values|^2, without a root on the way."""
    return values.real.square() + values.imag.square() if values.is_complex() else values.square()


def _total(values: Tensor) -> Tensor:
    """Sum over the first dimension, in its order: the same whatever the others are."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _solved(inverse: Tensor, away: Tensor) -> Tensor:
    """Real and imaginary part from the linear system."""
    return torch.complex(_total(inverse[:, 0] * away), _total(inverse[:, 1] * away))
