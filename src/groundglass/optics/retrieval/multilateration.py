"""U from distances to anchors: numerical interferometry, at the device's own exposure."""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Complex128, Float, Float64, UInt8
from torch import Tensor

from groundglass.core import counting, permutation
from groundglass.core.settings import In, Settings, Tally
from groundglass.optics.retrieval.method import Design, Readings, Rows, Scale, in_blocks, own_design

# Values of the largest temporary of a block of rows: bounds memory, changes nothing.
_BLOCK = 2**20
# With fewer inputs in common the phase between two parts is not known well, however few inputs there are.
_LEAST_SHARED = 8


def planar_points(gram: Float64[Tensor, "rows k k"]) -> Complex128[Tensor, "rows k"]:
    """Points of the plane with these inner products, up to a rotation and a reflection of all of them.

    The best two-dimensional fit: the two largest eigenvalues, as in classical multidimensional scaling.
    """
    values, vectors = torch.linalg.eigh(gram)
    return torch.view_as_complex((vectors[..., -2:] * values[:, None, -2:].clamp_min(0).sqrt()).contiguous())


@dataclass(frozen=True, eq=False)
class AnchorDesign:
    """Signals x, anchors a and their differences, for parts of the inputs that overlap.

    A part is a support S of n inputs. Its signals are the rows of `blocks` random circulant matrices on S. Its anchors
    are 0 < S < ..., nested, so that a - a' and a - x are binary. Frames of a part: the differences of all pairs of
    anchors, then for every signal those with every anchor.

    Attributes:
        support: int64 [parts, n].
        columns: uint8 [parts, blocks, n], the first columns of the circulant matrices.
        anchors: uint8 [parts, k, N], the first one zero.
    """

    in_features: int
    support: Tensor
    columns: Tensor
    anchors: Tensor

    def on(self, device: torch.device) -> "AnchorDesign":
        """The same with its tensors there."""
        return AnchorDesign(self.in_features, *(part.to(device) for part in (self.support, self.columns, self.anchors)))

    @property
    def pairs(self) -> Tensor:
        """The two anchors of each frame that is a difference of anchors, int64 [2, k(k - 1)/2]."""
        count, device = self.anchors.shape[1], self.anchors.device
        return torch.triu_indices(count, count, 1, dtype=torch.int64, device=device)

    @property
    def part(self) -> int:
        """Frames of a part."""
        return _frames(self.support.shape[1], self.anchors.shape[1], self.columns.shape[1])

    def __len__(self) -> int:
        return len(self.support) * self.part

    def bits(self, start: int, stop: int) -> UInt8[Tensor, "frames n"]:
        out = []
        for part in range(len(self.support)):
            first = part * self.part
            out.append(self._bits(part, counting(self.part)[max(start - first, 0) : max(stop - first, 0)]))
        return torch.cat(out)

    def _bits(self, part: int, frames: Tensor) -> Tensor:
        support, columns, anchors = self.support[part], self.columns[part], self.anchors[part]
        small, large = self.pairs
        n, k, pairs = len(support), len(anchors), len(small)
        pair, rest = frames[frames < pairs], frames[frames >= pairs] - pairs
        signal, anchor = rest.div(k, rounding_mode="floor"), rest % k
        block, shift = signal.div(n, rounding_mode="floor"), signal % n
        x = torch.zeros(len(rest), self.in_features, dtype=torch.uint8, device="cpu")
        x[:, support] = columns[block[:, None], (shift[:, None] - counting(n)) % n]
        # The zero anchor less a signal is minus the signal: the same light.
        x = torch.where(anchor[:, None] == 0, x, anchors[anchor] - x)
        return torch.cat((anchors[large[pair]] - anchors[small[pair]], x))

    def exposures(self) -> Float[Tensor, "frames"]:
        return torch.ones(len(self), dtype=torch.float64, device="cpu")


@dataclass(frozen=True)
class Multilateration(Settings):
    """Numerical interferometry with binary inputs; equations (C1) to (C7) of the theory. O(k N M + N M log N).

    Source: Gupta, Gribonval, Daudet, Dokmanic, "Fast optical system identification by numerical interferometry", ICASSP
    2020 (arXiv 1911.01006), after "Don't take it lightly: phasing optical random projections with unknown operators",
    NeurIPS 2019 (arXiv 1907.01703).

    Differences from the published code (lightonai/phase-retrieval-opu), most of them for an exposure that is set for other
    inputs than these:
        - four parts of the inputs with little overlap, not two halves with much, and anchors that share out some of the
          inputs outside of the support evenly (`brightest`): else the anchors are too bright, or too near to each other;
        - an anchor with a reading at the top is left out of its row; a signal's reading at the top is replaced by what
          the estimate predicts, if that is more (`imputations`);
        - the columns of the circulant matrices are the best of some random ones, and the linear system is solved by least
          squares over its blocks, not by the mean of the blocks' inverses;
        - parts are aligned by their inner product over the overlap, and averaged there.

    Frames: two circulant blocks a part and as many anchors as fit, up to `most_anchors`; where fewer than five anchors
    would fit, one block. More frames than that are not used.

    Args:
        parts: how many parts, at least 2.
        overlap: the share of all inputs that two neighbouring parts have in common; not fewer than 8 inputs.
        brightest: the share of all inputs that are on in the largest anchor. 0.65 lets 3% of its readings reach the top
            where 1% of half-on inputs do; 1 lets 10%.
        most_anchors: the most anchors, the zero one included.
        imputations: rounds of replacing readings at the top.
    """

    parts: Annotated[int, In("[2, inf)", "an anchor is larger than its part")] = 4
    overlap: Annotated[float, In("(0, 1)", "a share of the inputs")] = 1 / 16
    brightest: Annotated[float, In("(0, 1]", "a share of the inputs")] = 0.65
    most_anchors: Annotated[int, In("[3, inf)", "a plane has no fewer")] = 21
    imputations: Tally = 4

    name = "multilateration"
    exposure_control = False

    def _support(self, in_features: int) -> int:
        shared = max(_LEAST_SHARED, math.ceil(self.overlap * in_features))
        return math.ceil((in_features + (self.parts - 1) * shared) / self.parts)

    def least(self, in_features: int) -> int:
        """Three anchors, one circulant matrix a part."""
        return self.parts * _frames(self._support(in_features), 3, 1)

    def design(self, in_features: int, frames: int, scale: Scale, *, seed: int) -> AnchorDesign:
        """The draws of the supports, the columns and the anchors come from `seed`."""
        n = self._support(in_features)
        room = int(self.brightest * in_features) - n
        if room < 1:
            raise ValueError(
                f"{in_features} inputs are too few for {self.parts} parts of {n} with anchors of at most "
                f"{int(self.brightest * in_features)}: raise `brightest` or change `parts`"
            )
        if frames < self.least(in_features):
            raise ValueError(
                f"`frames` (={frames}) must be at least {self.least(in_features)} for {in_features} inputs"
            )
        most, each = min(self.most_anchors, room + 2), frames // self.parts
        blocks = 2 if most >= 5 and _frames(n, 5, 2) <= each else 1
        count = max(k for k in range(3, most + 1) if _frames(n, k, blocks) <= each)
        random = torch.Generator(device="cpu").manual_seed(seed)
        order = permutation(in_features, generator=random)
        starts = [round(p * (in_features - n) / (self.parts - 1)) for p in range(self.parts)]
        columns = torch.stack([_columns(n, blocks, random) for _ in starts])
        anchors = torch.zeros(self.parts, count, in_features, dtype=torch.uint8, device="cpu")
        for part, at in enumerate(starts):
            outwards = order.roll(-at)  # the support first
            for k in range(1, count):
                anchors[part, k, outwards[: n + room * (k - 1) // (count - 2)]] = 1
        return AnchorDesign(in_features, torch.stack([order[at : at + n] for at in starts]), columns, anchors)

    def solve(self, design: Design, readings: Readings, scale: Scale, *, seed: int) -> Rows:
        """See `RetrievalMethod`. Nothing in it is random."""
        own = own_design(self, design, AnchorDesign).on(readings.device)
        return in_blocks(lambda rows: self._solve(own, rows, scale), readings, _BLOCK // own.part)

    def _solve(self, design: AnchorDesign, readings: Tensor, scale: Scale) -> Tensor:
        total = torch.zeros(len(readings), design.in_features, dtype=torch.complex128, device=readings.device)
        times = torch.zeros(design.in_features, dtype=torch.float64, device=readings.device)
        top = math.inf if scale.top is None else float(scale.top)
        for part, y in enumerate(readings.split(design.part, 1)):
            support = design.support[part]
            signals = _laterate(design, y.to(torch.float64), top, self.imputations)
            new = _deconvolve(signals, design.columns[part])
            # The sum is zero where there was no part before, so that the products see the overlap alone.
            same, mirrored = (total[:, support] * new.conj()).sum(1), (total[:, support] * new).sum(1)
            turned = same.abs() < mirrored.abs()
            new = torch.where(turned[:, None], new.conj(), new)
            if part:
                new = new * torch.sgn(torch.where(turned, mirrored, same))[:, None]
            total[:, support] += new
            times[support] += 1
        return (total / times).to(torch.complex64)


def _frames(support: int, anchors: int, blocks: int) -> int:
    return anchors * (anchors - 1) // 2 + anchors * blocks * support


def _columns(n: int, blocks: int, random: torch.Generator) -> Tensor:
    """Random binary first columns, uint8 [blocks, n]: of 64 draws those whose inverse amplifies noise least."""
    draws = torch.randint(0, 2, (64, blocks, n), dtype=torch.uint8, generator=random, device="cpu")
    power = torch.fft.rfft(draws.to(torch.float64)).abs().square().sum(1)
    return draws[(1 / power.clamp_min(1e-12)).sum(1).argmin()]


def _laterate(design: AnchorDesign, y: Tensor, top: float, imputations: int) -> Tensor:
    """Complex values of the signals of a part, complex128 [rows, blocks, n], up to a rotation and a reflection a row."""
    k, (small, large) = design.anchors.shape[1], design.pairs
    far = y[:, len(small) :].unflatten(1, (-1, k)).mT  # squared distances [rows, anchors, signals]
    between = y.new_zeros(len(y), k, k)
    between[:, small, large] = between[:, large, small] = y[:, : len(small)]
    # Of a pair at the top the larger anchor is blamed: its own light is more likely to be too much.
    good = ~(torch.tril(between, -1) >= top).any(2, keepdim=True)
    # Without three of them there is no plane: then better all, clipped.
    good = (good | (good.sum(1, keepdim=True) < 3)).to(y.dtype)
    anchors = _scaling(between, far[:, :, 0], good[..., 0], top)
    system = torch.stack((-2 * anchors.real, -2 * anchors.imag, torch.ones_like(anchors.real)), 2) * good
    # Bright anchors close to each other are 1:100 and still of use; a direction below what rounding moves them by is none.
    inverse = torch.linalg.pinv(system, rtol=1e-9 if top == math.inf else 1e-3)
    target = (far - between[:, :, :1]) * good
    solution = inverse @ target
    for _ in range(imputations if top < math.inf else 0):
        # The linear prediction: a projection, so that the rounds settle.
        solution = inverse @ torch.where(far >= top, torch.maximum(target, system @ solution), target)
    return torch.complex(solution[:, 0], solution[:, 1]).unflatten(1, design.columns.shape[1:])


def _scaling(between: Tensor, signal: Tensor, good: Tensor, top: float) -> Tensor:
    """Places of the anchors, complex128 [rows, k], the zero anchor at 0: multidimensional scaling with the first signal.

    `between`: squared distances of anchors [rows, k, k]; `signal`: of the first signal to them [rows, k]; `good`: 1 or 0.
    """
    rows, k = signal.shape
    squares = between.new_zeros(rows, k + 1, k + 1)
    squares[:, :k, :k] = between
    squares[:, :k, k] = squares[:, k, :k] = signal
    whole = (signal < top).all(1, keepdim=True)
    weight = torch.cat((good, whole.to(good.dtype)), 1)
    share = weight / weight.sum(1, keepdim=True)
    # Doubly centred with these weights; a point of weight 0 has no say.
    mean = (squares * share[:, None]).sum(2)
    gram = -(squares - mean[:, :, None] - mean[:, None] + (mean * share).sum(1)[:, None, None]) / 2
    points = planar_points(gram * weight[:, :, None] * weight[:, None])[:, :k]
    return (points - points[:, :1]) * good


def _deconvolve(signals: Tensor, columns: Tensor) -> Tensor:
    """Least squares of circulant systems: signals [rows, blocks, n], columns [blocks, n] -> [rows, n]."""
    spectrum = torch.fft.fft(columns.to(torch.complex128))
    power = spectrum.abs().square().sum(0)
    return torch.fft.ifft((torch.fft.fft(signals) * spectrum.conj()).sum(1) / power)
