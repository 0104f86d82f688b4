"""What the secret was worth: decided by intervals that are apart, for whichever way the numbers come out."""

from collections.abc import Sequence
from dataclasses import dataclass

from groundglass.old_report.retrieval_attacks import Attacked, Radius
from groundglass.old_report.retrieval_reading import Retrieval

# A retrieval has found U when no more rows than these fail.
_FEW = 0.01

WHOLE, PART, NOTHING = "whole", "part", "nothing"


def as_good(one: Attacked, radius: Radius) -> bool:
    """Whether it gets as far as the exact U: the two 95% intervals overlap, or it gets further."""
    return radius.exact is not None and not radius.exact.robust.clearly_below(one.robust)


def unaided(radius: Radius) -> list[Attacked]:
    """The attackers without U that get as far as the one who has it."""
    return [one for one in radius.without if as_good(one, radius)]


def headline(radii: Sequence[Radius]) -> Radius | None:
    """The radius to speak about: where holding U helps most. There the secret looks best.

    Of the radii where U can be worth anything; where none of them is, the largest of all.
    """
    telling = [radius for radius in radii if radius.tells and radius.without]
    if telling:
        return max(telling, key=lambda r: (worth(r), r.eps))
    telling = [radius for radius in radii if radius.tells]
    return max(telling or radii, key=lambda r: r.eps, default=None)


def worth(radius: Radius) -> float:
    """Points of accuracy between the best attacker without U and the one with it."""
    best = radius.best_without
    return 0.0 if best is None or radius.exact is None else 100 * (best.robust.share - radius.exact.robust.share)


def reach(one: Attacked, radius: Radius) -> str:
    """What a retrieved U brings: WHOLE, as far as the exact one; PART, further than without any; or NOTHING."""
    if as_good(one, radius):
        return WHOLE
    best = radius.best_without
    bar = best.robust if best is not None else one.cell.clean
    return PART if one.robust.clearly_below(bar) else NOTHING


@dataclass(frozen=True)
class Precision:
    """How exact a U must be.

    Attributes:
        enough: the largest error up to which every blurred U does as well as the exact one; None: not even the
            smallest that was tried.
        short: the first that does clearly worse; None: there is none.
    """

    enough: float | None
    short: Attacked | None


def precision(radius: Radius) -> Precision | None:
    """By the blurred matrices; None without them or without the exact one."""
    if radius.exact is None or not radius.blurred:
        return None
    enough = None
    for one in radius.blurred:
        if not as_good(one, radius):
            return Precision(enough, one)
        enough = one.matrix_error
    return Precision(enough, None)


def has_found(one: Retrieval) -> bool:
    """Whether it got practically all of its rows."""
    return one.failed is not None and one.failed <= _FEW


def best_price(retrievals: Sequence[Retrieval]) -> Retrieval | None:
    """Of the retrievals of the network's own device: the cheapest that found U; where none did, the closest to it."""
    done = [one for one in retrievals if one.purpose == "price" and one.failed is not None]
    found = [one for one in done if has_found(one)]
    if found:
        return min(found, key=lambda r: (r.frames, r.median or 0.0))
    return min(done, key=lambda r: (r.failed or 0.0, r.median or 0.0, r.frames), default=None)


def cheapest(radii: Sequence[Radius]) -> Retrieval | None:
    """The retrieval of the fewest frames whose U gets as far as the exact one, at every radius that can tell."""
    telling = [radius for radius in radii if radius.tells]
    tried = [a.retrieval for radius in telling for a in radius.retrieved if a.retrieval is not None]
    enough = [one for one in tried if all((a := r.of(one)) is not None and as_good(a, r) for r in telling)]
    return min(enough, key=lambda r: r.frames, default=None)


@dataclass(frozen=True)
class Kept:
    """A redraw period and what an attacker who measures until the next redraw has of it."""

    period: float
    frames: int
    reach: str


def periods_kept(radius: Radius) -> list[Kept]:
    """The periods that were tried with an attack, shortest first."""
    found = [
        Kept(a.retrieval.period, a.retrieval.frames, reach(a, radius))
        for a in radius.retrieved
        if a.retrieval is not None and a.retrieval.purpose == "period" and a.retrieval.period is not None
    ]
    return sorted(found, key=lambda k: k.period)
