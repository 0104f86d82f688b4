"""Where an adversarial image may be: within a distance of its original, in pixel units, and always in [0, 1]."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, TypeVar

import torch
from torch import Generator, Tensor

from groundglass.attacks.tensors import Flags, Images, PerImage, Rows, per_image
from groundglass.core import check_eps, integers, normal, uniform
from groundglass.core.reading import constant, sent
from groundglass.core.settings import In, Settings
from groundglass.core.text import fraction

# A point on the surface, computed in float32, may lie outside by this much, relatively.
_ROUNDING = 1e-6


class Ball(Settings, ABC):
    """All images in [0, 1] within a distance of a centre, the original image.

    Every method works row by row: what it does to an image does not depend on the others in the batch. A radius may be
    written as a fraction, "8/255". `Linf.each(radii)` gives every image a radius of its own.
    """

    #: The radius is a length, in pixel units; or else it counts pixels, and is the same in images of any bounds.
    is_length: ClassVar[bool] = True
    #: Radii of a batch whose images have their own, float64 [b]; see `Each`.
    _each: ClassVar[Tensor | None] = None

    @classmethod
    def each(cls, radii: Sequence[float] | Tensor) -> "Each":
        """A ball of this kind for each image of a set, in their order."""
        return Each(cls, radii)  # type: ignore[arg-type]

    def __post_init__(self) -> None:
        if hasattr(self, "eps"):
            object.__setattr__(self, "eps", _number(self.eps))
        super().__post_init__()

    @property
    @abstractmethod
    def radius(self) -> float:
        """In pixel units; where channels or images differ, the largest."""

    @property
    def radii(self) -> float | Tensor:
        """The radius; where images differ, that of each, float64 [n]."""
        return self.radius if self._each is None else self._each

    @property
    def kind(self) -> type["Ball"]:
        """Of one image's ball: `Linf`, `L2`, ..."""
        return type(self)

    def at(self, rows: Rows | slice | int) -> "Ball":
        """The ball of these images of the set."""
        return self

    def part(self, rows: Sequence[int]) -> "Ball":
        """The ball for a set that consists of these images."""
        return self

    @abstractmethod
    def scaled(self, factor: float) -> "Ball":
        """The ball of images that are so much larger."""

    def stride(self, steps: int, entries: int) -> float | Tensor:
        """The length of a step with which so many cross the ball, or of each image's; `entries`: numbers in an image."""
        return 2.5 * self.radii / steps

    @abstractmethod
    def norm(self, delta: Images) -> PerImage:
        """The length of each perturbation, in pixel units."""

    @abstractmethod
    def project(self, x: Images, centre: Images) -> Images:
        """A point of the ball and of [0, 1]; `x` itself when it is one already."""

    @abstractmethod
    def step(self, grad: Images, size: float | PerImage) -> Images:
        """The move of length `size` that climbs fastest along `grad`; zero if the gradient is all zero."""

    def climb(self, x: Images, grad: Images, size: float | PerImage, centre: Images) -> Images:
        """From `x` one step along `grad`, and back into the ball around `centre`."""
        return self.project(x + self.step(grad, size), centre)

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
    def check(self, images: Tensor, width: float = 1.0) -> None:
        """Refuse images that this ball is not for.

        Args:
            width: of the range in which the radius was given: errors speak of it as it was.
        """

    def random_start(self, centre: Images, generators: Sequence[Generator]) -> Images:
        """A random point of each image's ball, drawn from a generator of its own, then clamped to [0, 1]."""
        return self._moved(centre, [own._inside for own in self._alone(generators)], generators)

    def random_extreme(self, centre: Images, generators: Sequence[Generator]) -> Images:
        """Like `random_start`, but as far from the centre as the ball allows: a corner of L-inf's box, L2's surface."""
        return self._moved(centre, [own._extreme for own in self._alone(generators)], generators)

    def _alone(self, images: Sequence[object]) -> list["Ball"]:
        """The ball of each image of the batch, by itself."""
        return [self] * len(images) if self._each is None else [ball_of(type(self), r) for r in self._each.tolist()]

    def _moved(self, centre: Tensor, draws: Sequence[Callable[..., Tensor]], generators: Sequence[Generator]) -> Tensor:
        if not generators:
            return centre.clone()
        deltas = torch.stack([draw(centre.shape[1:], one) for draw, one in zip(draws, generators, strict=True)])
        return self.project(centre + sent(deltas, centre.device).to(centre), centre)


@dataclass(frozen=True)
class Linf(Ball):
    """No pixel moves by more than eps.

    Args:
        eps: pixel units, at most 1 for images in [0, 1]: 8 / 255. One number, or one a channel: a radius given in units of
            images that were normalised by a standard deviation per channel is a box that differs by channel.
    """

    eps: float | tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps == ():
            raise ValueError("`eps` is empty: give one number, or one a channel")
        for eps in self.eps if isinstance(self.eps, tuple) else (self.eps,):
            check_eps(eps, upper=math.inf, unit="(L-inf)")

    @property
    def radius(self) -> float:
        return max(self.eps) if isinstance(self.eps, tuple) else self.eps

    def norm(self, delta: Images) -> PerImage:
        return delta.flatten(1).abs().amax(1)

    def project(self, x: Images, centre: Images) -> Images:
        eps = self._widths(centre)
        return torch.minimum(torch.maximum(x, centre - eps), centre + eps).clamp_(0, 1)

    def step(self, grad: Images, size: float | PerImage) -> Images:
        """Sign steps; in a box that differs by channel so do they, and the widest channel's are `size`."""
        if isinstance(self.eps, tuple) and self.radius > 0:
            return grad.sign() * (self._widths(grad) * _broadcast(size / self.radius, grad))
        return grad.sign() * _broadcast(size, grad)

    def scaled(self, factor: float) -> "Linf":
        eps = tuple(e * factor for e in self.eps) if isinstance(self.eps, tuple) else self.eps * factor
        return like_radii(self, Linf(eps), factor)

    def contains(self, x: Images, centre: Images, *, tolerance: float = 1e-5) -> Flags:
        near = (x - centre).abs() <= self._widths(centre) + tolerance
        return (near & (x >= -tolerance) & (x <= 1 + tolerance)).flatten(1).all(1)

    def check(self, images: Tensor, width: float = 1.0) -> None:
        # Here, not before: of images in [0, 255] a radius is 8. It may be scaled from there, and rounded.
        if self.radius > 1 + _ROUNDING:
            check_eps(self.radius * width, upper=width, unit="(L-inf)")
        if isinstance(self.eps, tuple) and len(self.eps) != images.shape[1]:
            raise ValueError(
                f"`eps` has {len(self.eps)} values, one a channel, but images have {images.shape[1]} channels"
            )

    def _widths(self, like: Tensor) -> Tensor:
        if self._each is not None:
            return per_image(self._each.to(like))
        eps = self.eps if isinstance(self.eps, tuple) else (self.eps,)
        return constant(eps, like.dtype, like.device).view(-1, 1, 1)

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
        eps = self.eps if self._each is None else self._each.to(x)
        outside = length > eps * (1 + _ROUNDING)
        shrunk = centre + delta * per_image(_over(eps, length.clamp_min(1e-30)))
        return torch.where(per_image(outside), shrunk, x).clamp_(0, 1)

    def scaled(self, factor: float) -> "L2":
        return like_radii(self, L2(self.eps * factor), factor)

    def step(self, grad: Images, size: float | PerImage) -> Images:
        # Through the largest entry first: the square of a gradient of 1e-25 is zero in float32.
        unit = grad / per_image(grad.flatten(1).abs().amax(1).clamp_min(1e-38))
        size = size.to(unit) if isinstance(size, Tensor) else size
        return unit * per_image(_over(size, self.norm(unit).clamp_min(1e-30)))

    def contains(self, x: Images, centre: Images, *, tolerance: float = 1e-5) -> Flags:
        in_range = ((x >= -tolerance) & (x <= 1 + tolerance)).flatten(1).all(1)
        eps = self.eps if self._each is None else self._each.to(x)
        return (self.norm(x - centre) <= eps + tolerance) & in_range

    def check(self, images: Tensor, width: float = 1.0) -> None:
        upper = math.sqrt(images[0].numel()) if len(images) else math.inf
        if self.eps > upper * (1 + _ROUNDING):
            example = ": 128/255, not 128" if width == 1 else ""
            check_eps(self.eps * width, upper=upper * width, unit=f"(L2, pixel units{example})")

    def _inside(self, shape: torch.Size, generator: Generator) -> Tensor:
        direction = self._extreme(shape, generator)
        share = float(torch.rand((), dtype=torch.float64, generator=generator, device="cpu")) ** (1 / shape.numel())
        return direction * share

    def _extreme(self, shape: torch.Size, generator: Generator) -> Tensor:
        direction = normal(*shape, generator=generator)
        return direction * (self.eps / torch.linalg.vector_norm(direction))


@dataclass(frozen=True, repr=False)
class Each(Ball):
    """A ball of one kind around every image, each of a radius of its own: `Linf.each(radii)`.

    An attack treats each image as it would in a ball of that radius, bit for bit, whatever the batch.

    Args:
        of: `Linf`, `L2`, ...
        eps: pixel units, one an image of the set that is attacked, in its order.
    """

    of: type[Ball]
    eps: tuple[Annotated[float, In("[0, inf)", "a length in pixel units")], ...]

    def __post_init__(self) -> None:
        if isinstance(self.eps, Tensor | list | tuple | range):
            given = self.eps.tolist() if isinstance(self.eps, Tensor) else self.eps
            object.__setattr__(self, "eps", tuple(_number(eps) for eps in given))
        super().__post_init__()
        for eps in set(self.eps):
            ball_of(self.of, eps)

    def __repr__(self) -> str:
        low, high = (min(self.eps), max(self.eps)) if self.eps else (0.0, 0.0)
        contents = hashlib.sha256(repr(self.eps).encode()).hexdigest()[:12]
        return f"{self.of.__name__}.each({len(self.eps)} radii from {low:g} to {high:g}, {contents})"

    @property
    def kind(self) -> type[Ball]:
        return self.of

    @cached_property
    def radius(self) -> float:
        return max(self.eps, default=0.0)

    @cached_property
    def radii(self) -> Tensor:
        return self._radii_on(torch.device("cpu"))

    def at(self, rows: Rows | slice | int) -> Ball:
        if isinstance(rows, int):
            return ball_of(self.of, self.eps[rows])
        found = ball_of(self.of, self.radius)
        radii = self._radii_on(rows.device) if isinstance(rows, Tensor) else self.radii
        object.__setattr__(found, "_each", radii[rows])
        return found

    def _radii_on(self, device: torch.device) -> Tensor:
        if device not in self._sent:
            self._sent[device] = torch.tensor(self.eps, dtype=torch.float64, device=device)
        return self._sent[device]

    @cached_property
    def _sent(self) -> dict[torch.device, Tensor]:
        """The radii on each device that has asked for them."""
        return {}

    def part(self, rows: Sequence[int]) -> Ball:
        return Each(self.of, tuple(self.eps[row] for row in rows))

    def scaled(self, factor: float) -> "Each":
        of = ball_of(self.of, 1)
        return Each(self.of, tuple(eps * of.scaled(factor).radius for eps in self.eps))

    def stride(self, steps: int, entries: int) -> float | Tensor:
        found = self.at(slice(None)).stride(steps, entries)
        return found if isinstance(found, Tensor) else torch.full_like(self.radii, found)

    def norm(self, delta: Images) -> PerImage:
        return self.at(slice(None)).norm(delta)

    def project(self, x: Images, centre: Images) -> Images:
        return self.at(slice(None)).project(x, centre)

    def step(self, grad: Images, size: float | PerImage) -> Images:
        return self.at(slice(None)).step(grad, size)

    def climb(self, x: Images, grad: Images, size: float | PerImage, centre: Images) -> Images:
        return self.at(slice(None)).climb(x, grad, size, centre)

    def contains(self, x: Images, centre: Images, *, tolerance: float = 1e-5) -> Flags:
        return self.at(slice(None)).contains(x, centre, tolerance=tolerance)

    def random_start(self, centre: Images, generators: Sequence[Generator]) -> Images:
        return self.at(slice(None)).random_start(centre, generators)

    def random_extreme(self, centre: Images, generators: Sequence[Generator]) -> Images:
        return self.at(slice(None)).random_extreme(centre, generators)

    def check(self, images: Tensor, width: float = 1.0) -> None:
        if len(self.eps) != len(images):
            raise ValueError(f"{len(self.eps)} radii for {len(images)} images: one an image")
        ball_of(self.of, self.radius).check(images, width)

    def _inside(self, shape: torch.Size, generator: Generator) -> Tensor:
        raise NotImplementedError

    _extreme = _inside


def _number(eps: Any) -> Any:
    """A radius that is written as a fraction, as a number; anything else as it is."""
    if isinstance(eps, tuple):
        return tuple(map(_number, eps))
    if not isinstance(eps, str) or "/" not in eps:
        return eps
    try:
        return fraction(eps)
    except ValueError as error:
        raise ValueError(f"`eps`: {error}") from None


def ball_of(kind: type[Ball], eps: float) -> Ball:
    """A ball of this kind and radius."""
    found: Ball = kind(eps)  # type: ignore[call-arg]
    return found


B = TypeVar("B", bound=Ball)


def like_radii(one: Ball, scaled: B, factor: float) -> B:
    """`scaled`, with the radii of a batch if `one` has any."""
    if one._each is not None:
        object.__setattr__(scaled, "_each", one._each * factor)
    return scaled


def _broadcast(size: float | Tensor, like: Tensor) -> float | Tensor:
    return per_image(size.to(like)) if isinstance(size, Tensor) else size


def _over(size: float | Tensor, length: Tensor) -> Tensor:
    """`size / length`, as torch divides a number by a tensor: the same bits for one size, and for one an image."""
    return length.reciprocal() * size


def falls_short(reach: float, ball: Ball) -> bool:
    """Whether steps that lead so far from the image, pixel units, cannot reach the border of a ball."""
    return ball.kind.is_length and reach < ball.radius * (1 - 1e-6)
