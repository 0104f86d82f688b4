"""Attacks that may be called without a ball: they look for the nearest image that fools the model."""

import math
from abc import ABC
from typing import Literal, cast

from groundglass.attacks.attack import Attack
from groundglass.attacks.balls import Ball, Linf, ball_of
from groundglass.attacks.norms import NORMS
from groundglass.attacks.tensors import Images

#: In which an attack without a ball measures.
Norm = Literal["Linf", "L2", "L1"]


class NearestImageAttack(Attack, ABC):
    """Without a ball, any image that fools the model is a success, and `norm` of the result says how near it is. With one, only
    an image inside it is.

    Attributes:
        norm: in which distances are measured; None for that of the ball.
    """

    norm: str | None

    def check_ball(self, ball: Ball | None) -> None:
        name = type(self).__name__
        if ball is None:
            if self.norm is None:
                raise ValueError(
                    f"{name} without a ball needs a norm: {name}(norm={self.kinds[0].__name__!r}), or give a ball"
                )
            return
        super().check_ball(ball)
        if self.norm not in (None, ball.kind.__name__):
            raise ValueError(f"{name}(norm={self.norm!r}) does not measure in {ball!r}: leave out `norm`")

    def _measure(self, ball: Ball | None) -> Ball:
        return ball if ball is not None else ball_of(NORMS[cast(str, self.norm).lower()], 1)

    def _everywhere(self, images: Images) -> Ball:
        """A ball that holds every image in [0, 1], for a call without one."""
        kind = self._measure(None).kind
        return ball_of(kind, 1 if kind is Linf else math.sqrt(images[:1].numel()))
