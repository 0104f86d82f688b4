"""Balls as they are named in a call."""

from typing import Any

from groundglass.attacks.balls import L2, Ball, Linf, ball_of
from groundglass.attacks.sparse_balls import L0, L1
from groundglass.core import lookup

#: The kinds of balls by the names that people write.
NORMS: dict[str, type[Ball]] = {"linf": Linf, "l2": L2, "l1": L1, "l0": L0}


def as_balls(given: Any, eps: Any) -> Ball | list[Ball]:
    """The ball that a call names, or, of a sweep, each of its balls.

    Args:
        given: a ball; a list of balls; or a kind of ball, `Linf` or "Linf", with `eps`.
        eps: a radius, or a list of radii.

    Raises:
        TypeError, ValueError: neither; a radius alone does not say in which norm.
    """
    if isinstance(given, str) and not any(letter.isdigit() for letter in given[:1]):
        given = lookup("norm", given.lower(), NORMS)
    kind = isinstance(given, type) and issubclass(given, Ball)
    if eps is not None and not kind:
        raise TypeError(f"`eps` goes with a kind of ball, as Linf, not with {given!r:.60}: give one or the other")
    if eps is None:
        return [as_ball(one) for one in given] if isinstance(given, list | tuple) else as_ball(given)
    if isinstance(eps, list | tuple) or getattr(eps, "ndim", 0) == 1:
        return [ball_of(given, one) for one in eps]
    return ball_of(given, eps)


def as_ball(given: Any) -> Ball:
    """A ball.

    Raises:
        TypeError: anything else: a radius alone does not say in which norm.
    """
    if isinstance(given, Ball):
        return given
    if isinstance(given, type) and issubclass(given, Ball):
        raise TypeError(
            f"`ball` is {given.__name__} without a radius: give eps=..., or Linf(eps=8 / 255) or L2(eps=0.5)"
        )
    if isinstance(given, int | float | str) and not isinstance(given, bool):
        raise TypeError(f"`ball` (={given!r}) is a radius without a norm: give Linf({given!r}) or L2({given!r})")
    raise TypeError(f"`ball` must be a ball, Linf(eps=8 / 255) or L2(eps=0.5), not {given!r:.60}")
