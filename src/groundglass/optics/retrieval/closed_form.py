"""U from inputs with one or two bits on, in closed form; for an attacker who sets the exposure."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from groundglass.core import counting
from groundglass.core.settings import Count, In, Settings, Tally
from groundglass.optics.retrieval.method import Design, Readings, Rows, Scale, in_blocks, own_design
from groundglass.optics.retrieval.multilateration import planar_points

# Values of the largest temporary of a block of rows: it stays in the processor's caches. Changes nothing.
_BLOCK = 2**17


@dataclass(frozen=True)
class PairDesign:
    """Frames e_1..e_N, then e_a + e_j for each anchor a and all j > a: N + rN - r(r + 1)/2 of them.

    Args:
        anchors: r; the first r inputs are the anchors.
        single, pair: exposures of the frames with one bit on and with two, times the device's own.
    """

    in_features: int
    anchors: int
    single: float
    pair: float

    def __len__(self) -> int:
        return _frames(self.in_features, self.anchors)

    def bits(self, start: int, stop: int) -> UInt8[Tensor, "frames n"]:
        n = self.in_features
        first, second = [counting(n)], [counting(n)]
        for a in range(self.anchors):
            first.append(torch.full((n - 1 - a,), a, dtype=torch.int64, device="cpu"))
            second.append(torch.arange(a + 1, n, dtype=torch.int64, device="cpu"))
        on = torch.stack((torch.cat(first), torch.cat(second)), 1)[start:stop]
        return torch.zeros(len(on), n, dtype=torch.uint8, device="cpu").scatter_(1, on, 1)

    def exposures(self) -> Float[Tensor, "frames"]:
        out = torch.full((len(self),), self.pair, dtype=torch.float64, device="cpu")
        out[: self.in_features] = self.single
        return out


@dataclass(frozen=True)
class SparseInputs(Settings):
    """Interference of every input with a few anchors, e_1..e_r; equations (B1) to (B6) of the theory. O(r N M).

    |u_a + u_j|^2 - |u_a|^2 - |u_j|^2 = 2 Re(conj(u_a) u_j): linear in u_j once the anchors are known, and these come from
    their own Gram matrix. Needs light: at the device's own exposure nearly all readings of one bit are 0.

    With two anchors a row is lost where one of them is dark or both have nearly the same phase, up to pi. Each further
    anchor costs N frames and makes that rarer.

    Args:
        anchors: the fewest anchors, at least 2.
        most_anchors: the most; further frames are not used.
        saturation: the share of readings that reach the top, of frames with one bit on as of those with two.
        refinements: Gauss-Newton steps, each input by itself, from the closed form to the best fit of its r + 1 readings
            without those at the top. 0: the closed form alone, where a reading at the top counts as the top.
    """

    anchors: Annotated[int, In("[2, inf)")] = 2
    most_anchors: Count = 16
    saturation: Annotated[float, In("(0, 1)", "a share, so 0.001 for 0.1 percent")] = 1e-3
    refinements: Tally = 4

    name = "closed-form"
    exposure_control = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.anchors > self.most_anchors:
            raise ValueError(f"`anchors` (={self.anchors}) must be 2 to `most_anchors` (={self.most_anchors})")

    def least(self, in_features: int) -> int:
        """N + rN - r(r + 1)/2 with r = `anchors`: 3N - 3 for two."""
        return _frames(in_features, min(self.anchors, in_features))

    def design(self, in_features: int, frames: int, scale: Scale, *, seed: int) -> PairDesign:
        """As many anchors as `frames` allows. The inputs are the same for every seed."""
        if in_features < self.anchors:
            raise ValueError(f"{in_features} inputs are fewer than the {self.anchors} anchors")
        if frames < self.least(in_features):
            raise ValueError(
                f"`frames` (={frames}) must be at least {self.least(in_features)}: "
                f"{self.anchors} anchors and {in_features} inputs"
            )
        most = min(self.most_anchors, in_features)
        anchors = max(r for r in range(self.anchors, most + 1) if _frames(in_features, r) <= frames)
        # Intensity is exponential, so a share s is above ln(1/s) times the mean; N/2 bits on have the mean reading.
        top = 255 if scale.top is None else scale.top
        bit = scale.mean_reading / (in_features / 2)
        single = (top - 0.5) / (bit * math.log(1 / self.saturation))
        return PairDesign(in_features, anchors, single, single / 2)

    def solve(self, design: Design, readings: Readings, scale: Scale, *, seed: int) -> Rows:
        """See `RetrievalMethod`. Nothing in it is random."""
        pairs = own_design(self, design, PairDesign)
        block = _BLOCK // (pairs.anchors * pairs.in_features)
        return in_blocks(lambda rows: self._solve(pairs, rows, scale), readings, block)

    def _solve(self, design: PairDesign, readings: Tensor, scale: Scale) -> Tensor:
        y = readings.to(torch.float64)
        seen = torch.ones_like(y)
        if scale.top is not None:
            seen = (y < scale.top).to(y.dtype)
            y = torch.where(y == 0, 0.25, y)  # a reading of 0 is light between 0 and 1/2
        y = y / design.exposures().to(y.device)
        single, pairs = _split(y, design)
        # conj(anchor) * other, real part; an anchor with itself is its own intensity.
        products = (pairs - single[:, None] - single[:, : design.anchors, None]) / 2
        anchors = planar_points(products[:, :, : design.anchors])
        # Rounding moves an anchor by about a hundredth of its length: anything smaller than that is not a direction.
        inverse = torch.linalg.pinv(torch.view_as_real(anchors), rtol=1e-9 if scale.top is None else 1e-2)
        u = torch.view_as_complex((inverse @ products).mT.contiguous())
        if self.refinements:
            seen_single, seen_pairs = _split(seen, design)
            # In reading steps all frames are equally uncertain; the pairs had less light.
            seen_pairs = seen_pairs * (design.pair / design.single) ** 2
            seen_pairs.diagonal(dim1=1, dim2=2).zero_()  # those of 2 e_a were not measured
            target = torch.cat((single[:, None], pairs), 1)
            weight = torch.cat((seen_single[:, None], seen_pairs), 1)
            for _ in range(self.refinements):
                u = u + _step(torch.cat((u[:, None], u[:, : design.anchors, None] + u[:, None]), 1), target, weight)
        return u.to(torch.complex64)


def _frames(in_features: int, anchors: int) -> int:
    return in_features + anchors * in_features - anchors * (anchors + 1) // 2


def _split(y: Tensor, design: PairDesign) -> tuple[Tensor, Tensor]:
    """Values of the frames e_j [rows, n], and of e_a + e_j [rows, anchors, n]; where a = j, those of 2 e_j."""
    n, r = design.in_features, design.anchors
    single = y[:, :n]
    pairs = y.new_zeros(len(y), r, n)
    at = n
    for a in range(r):
        pairs[:, a, a] = 4 * single[:, a]
        pairs[:, a, a + 1 :] = y[:, at : at + n - 1 - a]
        pairs[:, a + 1 :, a] = pairs[:, a, a + 1 : r]
        at += n - 1 - a
    return single, pairs


def _step(values: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """One Gauss-Newton step of sum_a weight_a (|value_a + s|^2 - target_a)^2 for the shift s; a is the second axis."""
    gap = (target - values.real.square() - values.imag.square()) * weight / 2
    x, y = values.real, values.imag
    xx, xy, yy = ((weight * p).sum(1) for p in (x * x, x * y, y * y))
    gx, gy = (gap * x).sum(1), (gap * y).sum(1)
    # A ridge far below the light of an input: it only stops a step where all readings point one way.
    ridge = 1e-3 * (xx + yy)
    det = (xx + ridge) * (yy + ridge) - xy * xy + 1e-300
    return torch.complex(((yy + ridge) * gx - xy * gy) / det, ((xx + ridge) * gy - xy * gx) / det)
