"""Anchors that a device of 0 and 1 can show: where they lie on the inputs, and where their fields lie in the complex plane."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex128, UInt8
from torch import Tensor

from groundglass.core import derive_seed, generator, integers, permutation, uniform
from groundglass.core.budget import BudgetExceededError
from groundglass.optics.access import DeviceAccess
from groundglass.optics.camera import Camera
from groundglass.optics.retrieval.fixed_exposure import FixedExposure
from groundglass.optics.retrieval.plan import OVERHEAD
from groundglass.optics.retrieval.retrieve import Retrieved, retrieve

#: Blocks of a region. More are darker each, and their number times `_FRAMES` is what the anchors cost.
BLOCKS = 8
#: Share of its region's blocks that an anchor has: with half of a signal's bits on, its frames are as bright as calibration's.
SHARE = 3 / 8
# One anchor in so many has one block alone.
_DARK = 4
# Frames for each block: the error of a field of blocks is then a few tenths of that of a signal.
_FRAMES = 40
# Draws of the anchors, of which the one is taken whose anchors differ most.
_DRAWS = 64
# Without a camera in the way the fields of blocks are exact to float32.
_METHOD = FixedExposure(tolerance=1e-6, polish=1000)


@dataclass(frozen=True)
class Part:
    """A region of the inputs, and the anchors for what is on in it; they lie outside of it.

    Attributes:
        region: uint8 [N], 1 in it.
        own: the blocks that make the region, bool [blocks].
        anchors: which blocks are on in each, uint8 [k + 1, blocks]; the first has none: the zero anchor.
    """

    region: Tensor
    own: Tensor
    anchors: Tensor


@dataclass(frozen=True)
class AnchorDesign:
    """Disjoint blocks of inputs, in two regions, and anchors that are unions of them.

    Attributes:
        blocks: uint8 [blocks, N]; every input is in one.
        parts: one that has the signals, with anchors in the other; or both, each with anchors in the other.
    """

    blocks: UInt8[Tensor, "blocks n"]
    parts: tuple[Part, ...]

    @classmethod
    def draw(cls, in_features: int, inputs: int, anchors: int, *, seed: int) -> "AnchorDesign":
        """Regions, blocks and anchors by lot.

        Args:
            in_features: N.
            inputs: what signals may have on: the first so many of the N. With all of them there are two parts.
            anchors: k of a part, the zero one not counted.

        Raises:
            ValueError: too few inputs for so many anchors.
        """
        spare, random = in_features - inputs, generator(seed, "anchors")
        first = inputs if spare else in_features // 2
        order = permutation(first if spare else in_features, generator=random)
        if spare:
            order = torch.cat((order, first + permutation(spare, generator=random)))
        regions = order[:first], order[first:]
        if min(map(len, regions)) < 2:
            raise ValueError(
                f"{in_features} inputs of the device, {inputs} of them for signals, leave no room for anchors: at least 2 "
                "must be on either side"
            )
        pieces = [region.tensor_split(min(BLOCKS, len(region))) for region in regions]
        fewest = min(len(piece) for piece in pieces[1 if spare else 0 :])
        if anchors > (most := _most(fewest)):
            raise ValueError(
                f"`anchors` (={anchors}) must be at most {most} here: there are no more sets of {_size(fewest)} of {fewest} "
                "blocks. Measure every input several times and take the mean instead"
            )
        blocks = torch.zeros(sum(map(len, pieces)), in_features, dtype=torch.uint8, device="cpu")
        for block, piece in zip(blocks, (*pieces[0], *pieces[1]), strict=True):
            block[piece] = 1
        second = torch.arange(len(blocks), device="cpu", dtype=torch.int64) >= len(pieces[0])
        parts = []
        for own in (~second,) if spare else (~second, second):
            chosen = torch.zeros(anchors + 1, len(blocks), dtype=torch.uint8, device="cpu")
            chosen[1:, ~own] = _unions(int((~own).sum()), anchors, random)
            parts.append(Part(blocks[own].sum(0, dtype=torch.uint8), own, chosen))
        return cls(blocks, tuple(parts))


def _size(blocks: int) -> int:
    """Blocks of an anchor, most of them."""
    return max(1, round(SHARE * blocks))


def _alone(blocks: int, count: int) -> int:
    """How many of so many anchors have one block."""
    return min(count // _DARK, blocks) if _size(blocks) > 1 else 0


def _most(blocks: int) -> int:
    """The largest number of anchors, which are all different."""
    sets = math.comb(blocks, _size(blocks))
    return max(count for count in range(sets + blocks + 1) if count - _alone(blocks, count) <= sets)


def most_anchors(in_features: int) -> int:
    """The largest number of anchors of a part, if there are no spare inputs."""
    return _most(min(BLOCKS, in_features // 2))


def _unions(blocks: int, count: int, random: torch.Generator) -> UInt8[Tensor, "count blocks"]:
    """So many different sets of blocks: of some draws the one whose nearest two differ most.

    A few are of one block: in a row in which the region is bright by chance all larger ones are at the top.
    """
    size, alone = _size(blocks), _alone(blocks, count)
    every = torch.combinations(torch.arange(blocks, dtype=torch.int64, device="cpu"), size)
    sets = torch.zeros(len(every), blocks, dtype=torch.uint8, device="cpu").scatter_(1, every, 1)
    single = torch.eye(blocks, dtype=torch.uint8, device="cpu")

    def drawn() -> Tensor:
        return torch.cat(
            (
                sets[permutation(len(sets), generator=random)[: count - alone]],
                single[permutation(blocks, generator=random)[:alone]],
            )
        )

    def apart(draw: Tensor) -> tuple[float, float]:
        distances = torch.pdist(draw.to(torch.float32), p=1)
        return float(distances.min()), float(distances.mean())

    return max((drawn() for _ in range(_DRAWS)), key=apart)


class _BlockDevice:
    """A device whose inputs are the blocks of another one, at one exposure."""

    def __init__(self, access: DeviceAccess, blocks: Tensor, exposure: float) -> None:
        self._access, self._blocks, self._exposure = access, blocks, exposure
        self.in_features, self.out_features = len(blocks), access.out_features
        self.fingerprint, self.mean_reading = access.fingerprint, access.mean_reading
        self.camera = Camera(bits=None if access.top is None else access.top.bit_length())

    def measure(self, bits: Tensor) -> Tensor:
        # Blocks are disjoint: no sum is above 1.
        on = (bits.to(torch.float32) @ self._blocks.to(bits.device, torch.float32)).to(torch.uint8)
        return self._access.measure(on, exposure=self._exposure)


def locate(access: DeviceAccess, design: AnchorDesign, *, exposure: float, seed: int) -> Retrieved:
    """The fields of the blocks, up to phase and conjugation of a row: the matrix of the device whose inputs they are.

    Raises:
        BudgetExceededError: the access has fewer frames left than that takes; none was taken.
        ExposureError, MatrixChangedError: as `retrieve`.
        ValueError: readings that are not intensities.
    """
    access.check_intensity("a linear projection")
    frames = _FRAMES * len(design.blocks) + OVERHEAD
    if access.remaining is not None and access.remaining < frames:
        raise BudgetExceededError(f"the anchors take {frames} frames, and {access.remaining} are left of the budget")
    blocks = DeviceAccess(_BlockDevice(access, design.blocks, exposure))
    return retrieve(blocks, _METHOD, frames=frames, seed=derive_seed(seed, "blocks"))


def turned(fields: Tensor, *, seed: int) -> tuple[Complex128[Tensor, "rows blocks"], bool]:
    """The fields with a phase and a conjugation for each row that were drawn by lot, and whether U is real.

    What a retrieval leaves open it settles by the row itself, so that real parts would have another law than imaginary
    ones. A real U has rows on a line: those are turned onto the real axis, and only their sign is drawn.
    """
    fields, random = fields.to(torch.complex128), generator(seed, "phases")
    square, count = fields.square().sum(1), len(fields)
    # Of real fields r = |sum of squares| / sum of |squares| is 1, and less with noise. Of b i.i.d. complex ones
    # P(r^2 > t) = (1 - t)^((b - 1) / 2), so that the evidence has mean 1; noise of half the light makes that 4.
    ratio = square.abs() / fields.abs().square().sum(1).clamp_min(1e-300)
    evidence = -(fields.shape[1] - 1) / 2 * (1 - ratio.square()).clamp_min(1e-12).log()
    real = bool(ratio.median() > 0.95 or evidence.mean() > 5.5 + 10 / count)
    if real:
        signs = 2 * integers(2, (count,), generator=random) - 1
        fields = fields * (square.sgn().conj().sqrt() * signs)[:, None]
        return fields.real.to(torch.complex128), True
    phases = 2 * math.pi * uniform(count, generator=random).to(torch.float64)
    mirrored = integers(2, (count,), generator=random) == 1
    fields = torch.where(mirrored[:, None], fields.conj(), fields)
    return fields * torch.polar(torch.ones_like(phases), phases)[:, None], False
