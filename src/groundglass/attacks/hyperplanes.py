"""Distances in the norm of a ball, and the shortest way to a hyperplane inside [0, 1]."""

from dataclasses import dataclass

import torch
from torch import Tensor

from groundglass.attacks.balls import L2, Ball, Linf
from groundglass.attacks.tensors import Images, PerImage
from groundglass.core.reading import constant, free_to_read

# Of Newton's method on a chain of straight lines; most take ten. In float64, to this share of what is wanted.
_STEPS, _CLOSE = 60, 1e-12
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Metric:
    """What is near, in the norm of a ball; its radius is of no consequence. A box that differs by channel is measured by its
    widths: a length is that of the widest channel.

    Args:
        ball: `Linf`, `L2` or `L1`, or one of each image.
    """

    ball: Ball

    def length(self, delta: Images) -> PerImage:
        """Of each perturbation."""
        if self.ball.kind is not Linf:
            return self.ball.norm(delta)
        speed = self._speeds(delta)
        return torch.where(speed > 0, delta.flatten(1).abs() / speed, 0).amax(1)

    def dual(self, grad: Images) -> PerImage:
        """The most that a move of length 1 climbs along a gradient, float64."""
        size = grad.flatten(1).double().abs()
        if self.ball.kind is Linf:
            return (size * self._speeds(grad)).sum(1)
        return size.square().sum(1).sqrt() if self.ball.kind is L2 else size.amax(1)

    def to_plane(self, x: Images, grad: Images, rise: PerImage) -> Images:
        """The shortest move delta with grad . delta = rise and x + delta in [0, 1]; where [0, 1] does not reach so far, the move
        into the corner that comes nearest.

        Croce and Hein 2020 ("Minimally distorted adversarial examples"), Section 2.2, solve the same three problems. In
        L-inf and L2 an entry moves by min(t s, room), s being 1 or its slope, with the one t that gives the rise: a concave
        chain of straight lines, which Newton's method climbs from the left without ever going too far. In L1 the steepest entries
        move as far as they can, one after the other.
        """
        flat, slope = x.flatten(1).double(), grad.flatten(1).double()
        signs = slope.sign() * rise.double().sign()[:, None]
        room, slope, wanted = torch.where(signs > 0, 1 - flat, flat), slope.abs(), rise.double().abs()
        if self.ball.kind in (Linf, L2):
            speed = self._speeds(grad).double() if self.ball.kind is Linf else slope
            moved = torch.minimum(_time(slope, speed, room, wanted)[:, None] * speed, room)
        else:
            moved = _steepest_first(slope, room, wanted)
        return (signs * moved).to(x.dtype).view_as(x)

    def _speeds(self, like: Images) -> Tensor:
        """How far each entry goes in a move of length 1, [1 or d]."""
        eps = getattr(self.ball, "eps", None)
        if not isinstance(self.ball, Linf) or not isinstance(eps, tuple) or not self.ball.radius:
            return torch.ones(1, dtype=like.dtype, device=like.device)
        share = constant(eps, like.dtype, like.device) / self.ball.radius
        return share.repeat_interleave(like[0, 0].numel())


def _time(slope: Tensor, speed: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    """The t at which the sum of slope min(t speed, room) is what is wanted, or at which nothing has room. [b]"""
    t = torch.zeros_like(wanted)
    for _ in range(_STEPS):
        gone = t[:, None] * speed
        short = wanted - (slope * torch.minimum(gone, room)).sum(1)
        pull = torch.where(gone < room, slope * speed, 0).sum(1)
        done = (short <= _CLOSE * wanted) | (pull <= _TINY)
        if free_to_read(done) and bool(done.all()):
            break
        t = torch.where(done, t, t + short / pull.clamp_min(_TINY))
    return t


def _steepest_first(slope: Tensor, room: Tensor, wanted: Tensor) -> Tensor:
    order = slope.argsort(dim=1, descending=True, stable=True)
    steep, wide = slope.gather(1, order), room.gather(1, order)
    gain = steep * wide
    left = (wanted[:, None] - (gain.cumsum(1) - gain)).clamp_min(0)
    moved = torch.where(steep > _TINY, torch.minimum(wide, left / steep.clamp_min(_TINY)), 0)
    return torch.zeros_like(slope).scatter_(1, order, moved)
