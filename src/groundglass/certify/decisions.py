"""What counts of classes under noise show: the decisions of Cohen, Rosenfeld and Kolter 2019, and nothing else."""

from collections.abc import Sequence
from statistics import NormalDist

from groundglass.core.binomial import fair_p, lower_limit

#: In place of a class: the counts are not clear enough.
ABSTAIN = -1


def predicted(counts: Sequence[int], *, alpha: float) -> int:
    """The class that is most probable under noise, or `ABSTAIN`: it is another one at most once in 1 / alpha times.

    Args:
        counts: draws that gave each class.

    Source: PREDICT, figure 1 there (Hung and Fithian 2019): the two most frequent classes as sides of a fair coin.
    """
    top = max(range(len(counts)), key=lambda k: counts[k])
    second = max((count for k, count in enumerate(counts) if k != top), default=0)
    return top if fair_p(counts[top], second) <= alpha else ABSTAIN


def certified_radius(count: int, draws: int, *, sigma: float, alpha: float) -> float | None:
    """The L2 radius, in the units of sigma, within which a class stays the most probable one; None: there is none to give.

    With p the lower limit of the class's probability it is sigma Phi^-1(p), where p is not below 1/2.

    Args:
        count: draws that gave the class, of `draws` that had no part in choosing it.
        alpha: how often p may be above the true probability.

    Source: CERTIFY, figure 1 there, and Theorem 1 with one minus p for the runner-up.
    """
    p = lower_limit(count, draws, alpha=alpha)
    return None if p < 0.5 else sigma * NormalDist().inv_cdf(p)
