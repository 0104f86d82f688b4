"""Where an adversarial image may be: within a distance of its original, in pixel units, and always in [0, 1]."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Generator, Tensor

from groundglass.attacks.tensors import Flags, Images, PerImage, per_image
from groundglass.core import check_eps, integers, normal, uniform
from groundglass.core.settings import In, Settings
from groundglass.core.text import fraction

# A point on the surface, computed in float32, may lie outside by this much, relatively.
_ROUNDING = 1e-6


class Ball(Settings, ABC):
    """All images in [0, 1] within a distance of a centre, the original image.

    Every method works row by row: what it does to an image does not depend on the others in the batch. A radius may be
    written as a fraction, "8/255".
    """

    def __post_init__(self) -> None:
        if isinstance(radius := getattr(self, "eps", None), str) and "/" in radius:
            try:
                object.__setattr__(self, "eps", fraction(radius))
            except ValueError as error:
                raise ValueError(f"`eps`: {error}") from None
        super().__post_init__()

    @property
    @abstractmethod
    def radius(self) -> float:
        """In pixel units; where channels differ, the largest."""

    @abstractmethod
    def norm(self, delta: Images) -> PerImage:
        """The length of each perturbation, in pixel units."""

    @abstractmethod
    def project(self, x: Images, centre: Images) -> Images:
        """A point of the ball and of [0, 1]; `x` itself when it is one already."""

    @abstractmethod
    def step(self, grad: Images, size: float) -> Images:
        """The move of length `size` that climbs fastest along `grad`; zero if the gradient is all zero."""

    @abstractmethod
    def contains(self, x: Images, centre: Images, *, tolerance: float = 1e-5) -> Flags:
        """Whether each image is in the ball and in [0, 1], up to `tolerance` pixel units."""

    @abstractmethod
    def _inside(self, shape: torch.Size, generator: Generator) -> Tensor:
        """A perturbation drawn uniformly from the ball, [c, h, w]."""

    @abstractmethod
    def _extreme(self, shape: torch.Size, generator: Generator) -> Tensor:
        """A perturbation drawn from the corners or the surface of the ball, [c, h, w]."""

    @abstractmethod
    def check(self, images: Tensor) -> None:
        """Refuse images that this ball is not for."""

    def random_start(self, centre: Images, generators: Sequence[Generator]) -> Images:
        """A random point of each image's ball, drawn from a generator of its own, then clamped to [0, 1]."""
        return self._draw(centre, [self._inside(centre.shape[1:], g) for g in generators])

    def random_extreme(self, centre: Images, generators: Sequence[Generator]) -> Images:
        """Like `random_start`, but as far from the centre as the ball allows: a corner of L-inf's box, L2's surface."""
        return self._draw(centre, [self._extreme(centre.shape[1:], g) for g in generators])

    def _draw(self, centre: Tensor, deltas: list[Tensor]) -> Tensor:
        if not deltas:
            return centre.clone()
        return self.project(centre + torch.stack(deltas).to(centre), centre)


@dataclass(frozen=True)
class Linf(Ball):
    """No pixel moves by more than eps.

    Args:
        eps: pixel units, in [0, 1]: 8 / 255. One number, or one a channel: a radius given in units of images that
            were normalised by a standard deviation per channel is a box that differs by channel.
    """

    eps: float | tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps == ():
            raise ValueError("`eps` is empty: give one number, or one a channel")
        for eps in self.eps if isinstance(self.eps, tuple) else (self.eps,):
            check_eps(eps, upper=1, unit="(L-inf)")

    @property
    def radius(self) -> float:
        return max(self.eps) if isinstance(self.eps, tuple) else self.eps

    def norm(self, delta: Images) -> PerImage:
        return delta.flatten(1).abs().amax(1)

    def project(self, x: Images, centre: Images) -> Images:
        eps = self._widths(centre)
        return torch.minimum(torch.maximum(x, centre - eps), centre + eps).clamp_(0, 1)

    def step(self, grad: Images, size: float) -> Images:
        """Sign steps; in a box that differs by channel so do they, and the widest channel's are `size`."""
        if isinstance(self.eps, tuple) and self.radius > 0:
            return grad.sign() * (self._widths(grad) * (size / self.radius))
        return grad.sign() * size

    def contains(self, x: Images, centre: Images, *, tolerance: float = 1e-5) -> Flags:
        near = (x - centre).abs() <= self._widths(centre) + tolerance
        return (near & (x >= -tolerance) & (x <= 1 + tolerance)).flatten(1).all(1)

    def check(self, images: Tensor) -> None:
        if isinstance(self.eps, tuple) and len(self.eps) != images.shape[1]:
            raise ValueError(
                f"`eps` has {len(self.eps)} values, one a channel, but images have {images.shape[1]} channels"
            )

    def _widths(self, like: Tensor) -> Tensor:
        return torch.tensor(self.eps, dtype=like.dtype, device=like.device).view(-1, 1, 1)

    def _inside(self, shape: torch.Size, generator: Generator) -> Tensor:
        unit = uniform(*shape, generator=generator)
        return (2 * unit - 1) * self._widths(unit)

    def _extreme(self, shape: torch.Size, generator: Generator) -> Tensor:
        bits = integers(2, shape, generator=generator).float()
        return (2 * bits - 1) * self._widths(bits)


@dataclass(frozen=True)
class L2(Ball):
    """The Euclidean length of the perturbation, over all pixels and channels, is at most eps.

    Args:
        eps: pixel units: 0.5, or 128 / 255. At most the diagonal of the image, 55.4 for 3 x 32 x 32.
    """

    eps: Annotated[float, In("[0, inf)", "a length in pixel units")]

    @property
    def radius(self) -> float:
        return self.eps

    def norm(self, delta: Images) -> PerImage:
        return torch.linalg.vector_norm(delta.flatten(1), dim=1)

    def project(self, x: Images, centre: Images) -> Images:
        """Shrunk to the ball, then clamped to [0, 1].

        That is a point of both, as clamping moves every pixel towards its original; it need not be the nearest.
        """
        delta = x - centre
        length = self.norm(delta)
        # Without the slack a point that was just put on the surface would be moved again by a rounding error.
        outside = length > self.eps * (1 + _ROUNDING)
        shrunk = centre + delta * per_image(self.eps / length.clamp_min(1e-30))
        return torch.where(per_image(outside), shrunk, x).clamp_(0, 1)

    def step(self, grad: Images, size: float) -> Images:
        # Through the largest entry first: the square of a gradient of 1e-25 is zero in float32.
        unit = grad / per_image(grad.flatten(1).abs().amax(1).clamp_min(1e-38))
        return unit * per_image(size / self.norm(unit).clamp_min(1e-30))

    def contains(self, x: Images, centre: Images, *, tolerance: float = 1e-5) -> Flags:
        in_range = ((x >= -tolerance) & (x <= 1 + tolerance)).flatten(1).all(1)
        return (self.norm(x - centre) <= self.eps + tolerance) & in_range

    def check(self, images: Tensor) -> None:
        check_eps(
            self.eps,
            upper=math.sqrt(images[0].numel()) if len(images) else math.inf,
            unit="(L2, pixel units: 128/255, not 128)",
        )

    def _inside(self, shape: torch.Size, generator: Generator) -> Tensor:
        direction = self._extreme(shape, generator)
        share = float(torch.rand((), dtype=torch.float64, generator=generator, device="cpu")) ** (1 / shape.numel())
        return direction * share

    def _extreme(self, shape: torch.Size, generator: Generator) -> Tensor:
        direction = normal(*shape, generator=generator)
        return direction * (self.eps / torch.linalg.vector_norm(direction))


def falls_short(reach: float, ball: Ball) -> bool:
    """Whether steps that lead so far from the image, pixel units, cannot reach the border of a ball."""
    return reach < ball.radius * (1 - 1e-6)


def as_ball(given: Any) -> Ball:
    """A ball.

    Raises:
        TypeError: anything else: a radius alone does not say in which norm.
    """
    if isinstance(given, Ball):
        return given
    if isinstance(given, int | float | str) and not isinstance(given, bool):
        raise TypeError(f"`ball` (={given!r}) is a radius without a norm: give Linf({given!r}) or L2({given!r})")
    raise TypeError(f"`ball` must be a ball, Linf(eps=8 / 255) or L2(eps=0.5), not {given!r:.60}")
