"""Balls of sparse perturbations: L1, by the sum of all changes, and L0, by the number of pixels that change."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Generator, Tensor

from groundglass.attacks.balls import Ball, like_radii
from groundglass.attacks.tensors import Flags, Images, PerImage, per_image
from groundglass.core import check_eps, counting, integers, permutation, uniform
from groundglass.core.reading import free_to_read
from groundglass.core.settings import In

# A share of the entries of a gradient that a step in L1 moves: Tramer and Boneh's 99th percentile.
_MOVED = 0.01
# Of an entry's step: what it needs to be worth a move.
_ROOM = 0.1
# Of a sum of changes, relatively; and of each change, for what a pixel of about 1 rounds.
_ROUNDING, _OF_EACH = 1e-6, 1e-7
# Of a projection's threshold; most take five.
_STEPS = 40


@dataclass(frozen=True)
class L1(Ball):
    """The absolute changes, added up over all pixels and channels, are at most eps.

    Args:
        eps: pixel units: 12 for images of 3 x 32 x 32 (Croce and Hein 2021).
    """

    eps: Annotated[float, In("[0, inf)", "a sum of absolute changes, pixel units")]

    @property
    def radius(self) -> float:
        return self.eps

    def scaled(self, factor: float) -> "L1":
        return like_radii(self, L1(self.eps * factor), factor)

    def norm(self, delta: Images) -> PerImage:
        return delta.flatten(1).abs().sum(1)

    def project(self, x: Images, centre: Images) -> Images:
        """The nearest point of the ball and of [0, 1] (Croce and Hein 2021, "Mind the box", Proposition 2.1).

        Each change u becomes min(max(|u| - t, 0), room), room being what [0, 1] leaves in its direction, with the one t at which
        they add up to eps.
        """
        return nearest_in_l1(x, centre, self._lengths(centre.flatten(1)))

    def step(self, grad: Images, size: float | PerImage) -> Images:
        """A sign step of the entries of a gradient that are largest, a hundredth of all, of equal lengths (SLIDE, Tramer and
        Boneh 2019; the steepest ascent would move the largest alone)."""
        flat = grad.flatten(1)
        count = torch.full((len(flat),), _moved(flat.shape[1]), dtype=torch.int64, device=grad.device)
        found = sparse_signs(flat, count)
        wide = size.to(grad)[:, None] if isinstance(size, Tensor) else size
        return (found * wide).view_as(grad)

    def climb(self, x: Images, grad: Images, size: float | PerImage, centre: Images) -> Images:
        """Of the entries that [0, 1] leaves room for a tenth of their step: the largest gradients' have soon none left, and of
        steps that move few entries all would be theirs."""
        wide = per_image(size.to(grad)) if isinstance(size, Tensor) else size
        room = torch.where(grad > 0, 1 - x, x)
        open_to = room > _ROOM * wide / _moved(grad[:1].numel())
        return super().climb(x, torch.where(open_to, grad, 0), size, centre)

    def contains(self, x: Images, centre: Images, *, tolerance: float = 1e-5) -> Flags:
        in_range = ((x >= -tolerance) & (x <= 1 + tolerance)).flatten(1).all(1)
        delta = (x - centre).double()
        # A sum of thousands of changes, each rounded to float32.
        slack = tolerance * max(1.0, self.radius)
        return (self.norm(delta) <= self._lengths(delta.flatten(1)) + slack) & in_range

    def check(self, images: Tensor, width: float = 1.0) -> None:
        upper = float(images[0].numel()) if len(images) else math.inf
        if self.eps > upper * (1 + _ROUNDING):
            unit = "(L1: a sum over all pixels and channels, in pixel units)"
            check_eps(self.eps * width, upper=upper * width, unit=unit)

    def _lengths(self, like: Tensor) -> PerImage:
        """The radius of each image, [b]."""
        if self._each is None:
            return torch.full_like(like[:, 0], self.eps)
        return self._each.to(like)

    def _inside(self, shape: torch.Size, generator: Generator) -> Tensor:
        """Uniform: exponential numbers over their sum and one more, with random signs."""
        return self._scattered(shape, generator, extra=True)

    def _extreme(self, shape: torch.Size, generator: Generator) -> Tensor:
        return self._scattered(shape, generator, extra=False)

    def _scattered(self, shape: torch.Size, generator: Generator, *, extra: bool) -> Tensor:
        drawn = -(1 - uniform(shape.numel() + 1, generator=generator).double()).log()
        signs = 2 * integers(2, (shape.numel(),), generator=generator).double() - 1
        whole = drawn.sum() if extra else drawn[:-1].sum()
        return (signs * drawn[:-1] * (self.eps / whole)).float().view(shape)


@dataclass(frozen=True)
class L0(Ball):
    """At most eps pixels change, each by any amount; all channels of a pixel are one.

    Args:
        eps: a whole number of pixels: 10 of the 1,024 of CIFAR's images.
    """

    eps: Annotated[int, In("[0, inf)", "a whole number of pixels")]
    is_length: ClassVar[bool] = False

    @property
    def radius(self) -> float:
        return self.eps

    def scaled(self, factor: float) -> "L0":
        """The same ball: pixels are counted."""
        return self

    def norm(self, delta: Images) -> PerImage:
        return (delta != 0).any(1).flatten(1).sum(1).float()

    def project(self, x: Images, centre: Images) -> Images:
        """The eps pixels that gain most by staying where they are, moved into [0, 1]; the others go back: the nearest point
        (Croce and Hein 2019, "Sparse and imperceivable adversarial attacks")."""
        inside = x.clamp(0, 1)
        # The square of the way back, less that of the way into [0, 1]; in float64 no change is so small that it is lost.
        moved = (inside - centre).double()
        gain = (moved * ((x - centre).double() + (x - inside))).sum(1).flatten(1)
        stays = _ranks(gain) < self._counts(gain)[:, None]
        return torch.where(stays.view(len(x), 1, *x.shape[2:]), inside, centre)

    def stride(self, steps: int, entries: int) -> float:
        """Croce and Hein's: a gradient of equal entries moves each by .15."""
        return 0.15 * entries

    def step(self, grad: Images, size: float | PerImage) -> Images:
        """Along the gradient over its L1 norm: projection keeps the largest changes."""
        wide = per_image(size.to(grad)) if isinstance(size, Tensor) else size
        return grad / per_image(grad.flatten(1).abs().sum(1).clamp_min(1e-30)) * wide

    def contains(self, x: Images, centre: Images, *, tolerance: float = 1e-5) -> Flags:
        in_range = ((x >= -tolerance) & (x <= 1 + tolerance)).flatten(1).all(1)
        delta = torch.where((x - centre).abs() > tolerance, x - centre, 0)
        return (self.norm(delta) <= self._counts(delta.flatten(1))) & in_range

    def check(self, images: Tensor, width: float = 1.0) -> None:
        upper = images[0, 0].numel() if len(images) else math.inf
        check_eps(self.eps, upper=upper, unit="pixels of an image (L0)")

    def _counts(self, like: Tensor) -> Tensor:
        if self._each is None:
            return torch.full_like(like[:, 0], self.eps, dtype=torch.int64)
        return self._each.to(like.device).long()

    def _inside(self, shape: torch.Size, generator: Generator) -> Tensor:
        """Some pixels, drawn at random, moved by up to 1 in each channel."""
        return self._some(shape, generator, 2 * uniform(*shape, generator=generator) - 1)

    def _extreme(self, shape: torch.Size, generator: Generator) -> Tensor:
        """The same, each channel to one of its ends."""
        return self._some(shape, generator, 2 * integers(2, shape, generator=generator).float() - 1)

    def _some(self, shape: torch.Size, generator: Generator, values: Tensor) -> Tensor:
        chosen = torch.zeros(shape[1:].numel(), dtype=torch.bool, device="cpu")
        chosen[permutation(len(chosen), generator=generator)[: self.eps]] = True
        return values * chosen.view(1, *shape[1:])


def sparse_signs(grad: Tensor, count: Tensor) -> Tensor:
    """The signs of the `count` largest entries of each row, and of their equals, over their number; zero elsewhere. [b, d]"""
    size = grad.abs()
    if not len(size):
        return grad
    # As many as are needed, where their number is known without waiting.
    most = int(count.max()) if free_to_read(count) else size.shape[1]
    least = size.topk(most, dim=1).values.gather(1, count[:, None] - 1)
    signs = torch.where(size >= least, grad.sign(), 0)
    return signs / signs.abs().sum(1, keepdim=True).clamp_min(1)


def _moved(entries: int) -> int:
    """How many of an image's entries a step moves."""
    return max(1, round(_MOVED * entries))


def nearest_in_l1(x: Images, centre: Images, eps: PerImage) -> Images:
    """`L1.project` with a radius for each image."""
    delta, flat = (x - centre).flatten(1), centre.flatten(1)
    size = delta.abs()
    room = torch.where(delta > 0, 1 - flat, flat)
    slack = 2 * _ROUNDING * eps + _OF_EACH * math.sqrt(size.shape[1])
    outside = torch.minimum(size, room).sum(1) > eps + torch.minimum(slack, eps)
    if not free_to_read(x):
        moved = torch.minimum((size - _threshold(size, room, eps)[:, None]).clamp_min_(0), room)
        found = (centre + (moved * delta.sign()).view_as(x)).clamp_(0, 1)
        return torch.where(per_image(outside), found, x.clamp(0, 1))
    if not bool(outside.any()):
        return x.clamp(0, 1)
    rows = outside.nonzero().squeeze(1)
    if len(rows) < len(x):
        size, room, delta = size[rows], room[rows], delta[rows]
    moved = torch.minimum((size - _threshold(size, room, eps[rows])[:, None]).clamp_min_(0), room)
    found = x.clamp(0, 1)
    found[rows] = (centre[rows] + (moved * delta.sign()).view(-1, *x.shape[1:])).clamp_(0, 1)
    return found


def _threshold(size: Tensor, room: Tensor, eps: Tensor) -> Tensor:
    """What is taken off every change so that those that are left, at most `room` each, add up to eps. [b]

    The sum is a chain of straight lines: a step of Newton's method ends on the right one, or else the interval is halved.
    """
    low, high = torch.zeros_like(eps), size.amax(1)
    at = torch.where(eps > 0, low, high)
    done = torch.zeros_like(eps, dtype=torch.bool)
    for _ in range(_STEPS):
        left = size - at[:, None]
        free = ((left > 0) & (left < room)).sum(1)
        over = torch.minimum(left.clamp_min_(0), room).sum(1) - eps
        done = over.abs() <= _ROUNDING * eps
        if free_to_read(done) and bool(done.all()):
            return at
        low, high = torch.where(over > 0, at, low), torch.where(over > 0, high, at)
        guess = at + over / free
        halved = (low + high) / 2
        at = torch.where(done, at, torch.where((guess > low) & (guess < high), guess, halved))
    return torch.where(done, at, high)


def _ranks(values: Tensor) -> Tensor:
    """The place of each entry in its row, 0 for the largest; of equals the first is before. [b, d]"""
    order = values.argsort(dim=1, descending=True, stable=True)
    return torch.empty_like(order).scatter_(1, order, counting(values.shape[1], values.device).expand_as(order))
