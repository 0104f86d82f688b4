"""Shares of images with how sure they are, and what is left when several attackers each have a go."""

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Generic, TypeVar

import numpy as np

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Proportion:
    """`count` images of `total`."""

    count: int
    total: int

    def __post_init__(self) -> None:
        if self.total <= 0 or not 0 <= self.count <= self.total:
            raise ValueError(f"{self.count} of {self.total} is not a share: 0 <= count <= total, and total >= 1")

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.count / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval."""
        return wilson(self.count, self.total)

    def clearly_below(self, other: "Proportion") -> bool:
        """Whether the two 95% intervals are apart, and this one is the lower."""
        return self.interval[1] < other.interval[0]


@dataclass(frozen=True)
class Repeated(Proportion):
    """The same images, tried `times` times: `count` of `total` trials. The interval is that of so many images, not trials."""

    times: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval of the mean trial."""
        return wilson(self.count / self.times, self.total / self.times)


def wilson(count: float, total: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a binomial proportion; sound at 0 and n of n, where the normal one has no width.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    Raises:
        ValueError: not 0 <= count <= total with total >= 1, or confidence not in (0, 1).
    """
    if total < 1 or not 0 <= count <= total:
        raise ValueError(f"count (={count}) must be in 0..total (={total}), and total at least 1")
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` (={confidence:g}) must be in (0, 1): 0.95, not 95")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = count / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # At the ends the bound is 0 or 1 exactly; the sum leaves rounding noise there.
    return (0.0 if count == 0 else centre - half, 1.0 if count == total else centre + half)


@dataclass(frozen=True)
class Paired:
    """Two outcomes of the same images: `first` are those that hold in the first alone, `second` in the second alone."""

    first: int
    second: int
    total: int

    @property
    def p(self) -> float:
        """Two-sided p of the exact McNemar test: how often chance parts `first + second` images as unevenly.

        Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
        percentages", Psychometrika 1947; exact, by the binomial distribution.
        """
        differ = self.first + self.second
        tail = sum(math.comb(differ, i) for i in range(min(self.first, self.second) + 1))
        return min(1.0, 2 * tail / 2**differ)


def paired(first: Mapping[int, bool], second: Mapping[int, bool]) -> Paired:
    """Compare two outcomes over the images that both have, image -> whether it holds."""
    shared = first.keys() & second.keys()
    return Paired(
        sum(first[i] and not second[i] for i in shared), sum(second[i] and not first[i] for i in shared), len(shared)
    )


def right_within(arrays: Mapping[str, np.ndarray], eps: float) -> Proportion:
    """The images that no perturbation found within `eps` fools: what an attack that looks for small distances leaves.

    Args:
        arrays: `success` and `clean_correct` (bool), `norm` (of the perturbation), one entry an image.
    """
    if np.isnan(arrays["norm"]).any() or math.isnan(eps):
        raise ValueError("a norm or a radius is NaN: no image is known to be nearer or farther")
    fooled = arrays["success"].astype(bool) & (arrays["norm"] <= eps)
    right = arrays["clean_correct"].astype(bool) & ~fooled
    return Proportion(int(right.sum()), len(right))


def survivors(attacks: Sequence[Mapping[str, np.ndarray]]) -> Proportion | None:
    """The images that are right before and after every one of several attacks: the worst case image by image.

    Args:
        attacks: for each, arrays of one length: `index` (which image), `success` and `clean_correct` (bool).

    Returns:
        Over the images that all the attacks have tried; None when there is no such image.
    """
    robust: dict[int, bool] | None = None
    for arrays in attacks:
        survived = arrays["clean_correct"].astype(bool) & ~arrays["success"].astype(bool)
        here = dict(zip(arrays["index"].tolist(), survived.tolist(), strict=True))
        robust = here if robust is None else {i: robust[i] and here[i] for i in robust.keys() & here.keys()}
    return Proportion(sum(robust.values()), len(robust)) if robust else None


#: Image -> whether it is right (or fooled): the outcome of one attack, to be compared with another on the same images.
Outcomes = Mapping[int, bool]


@dataclass(frozen=True)
class Difference:
    """Two shares compared, over the images that both have if `paired`; p (two-sided): how often chance alone parts them as
    far."""

    first: Proportion
    second: Proportion
    p: float
    paired: bool

    @property
    def points(self) -> float:
        """By how much the first is larger, in points of a hundred."""
        return 100 * (self.first.share - self.second.share)


def differs(first: Outcomes | Proportion, second: Outcomes | Proportion) -> Difference | None:
    """The one test of a difference: every "more", "less" or "the same" goes through it.

    On the same images (two `Outcomes`) the exact McNemar test of the images on which they differ; else Fisher's exact
    test of two proportions. Where many are compared, the p are corrected: see `Family`.

    Returns:
        None where no image is shared: nothing can be said.

    Source: Q. McNemar, Psychometrika 1947; R. A. Fisher, "Statistical methods for research workers", 1934.
    """
    if isinstance(first, Proportion) or isinstance(second, Proportion):
        one, other = (x if isinstance(x, Proportion) else _proportion(x, x.keys()) for x in (first, second))
        if one is None or other is None:
            return None
        return Difference(one, other, _fisher(one, other), paired=False)
    shared = first.keys() & second.keys()
    one, other = _proportion(first, shared), _proportion(second, shared)
    if one is None or other is None:
        return None
    return Difference(one, other, paired(first, second).p, paired=True)


def as_good(first: Outcomes, second: Outcomes, *, margin: float) -> bool:
    """Whether the first is at most `margin` (a share) below the second, with 95% confidence, on the images that both have.

    "As good" is a claim of its own: no significant difference on few images is none.
    """
    found = gain(first, second)
    return found is not None and found.interval[0] > -margin


@dataclass(frozen=True)
class Gain:
    """By how much one share is larger than another of the same images, in [-1, 1], with its 95% interval."""

    share: float
    interval: tuple[float, float]


def gain(first: Outcomes, second: Outcomes) -> Gain | None:
    """By how much the first is larger, on the images that both have; None where there is none.

    Source: the score-type interval of R. G. Newcombe, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 1998 (method 10, without continuity correction).
    """
    shared = first.keys() & second.keys()
    one, other = _proportion(first, shared), _proportion(second, shared)
    if one is None or other is None:
        return None
    both = sum(bool(first[i]) and bool(second[i]) for i in shared)
    n, a, b = len(shared), one.count, other.count
    spread = a * (n - a) * b * (n - b)
    phi = (both * (n - a - b + both) - (a - both) * (b - both)) / math.sqrt(spread) if spread else 0.0

    def reach(down: float, up: float) -> float:
        return math.sqrt(max(0.0, down**2 - 2 * phi * down * up + up**2))

    points = one.share - other.share
    low = points - reach(one.share - one.interval[0], other.interval[1] - other.share)
    return Gain(points, (low, points + reach(one.interval[1] - one.share, other.share - other.interval[0])))


def _proportion(outcomes: Outcomes, images: Collection[int]) -> Proportion | None:
    return Proportion(sum(bool(outcomes[i]) for i in images), len(images)) if images else None


def _fisher(one: Proportion, other: Proportion) -> float:
    """Two-sided p of Fisher's exact test: all tables that are no more likely than the one that was seen."""
    hits, total = one.count + other.count, one.total + other.total

    def chance(k: int) -> float:
        return math.exp(_choose(one.total, k) + _choose(other.total, hits - k) - _choose(total, hits))

    seen = chance(one.count)
    possible = range(max(0, hits - other.total), min(one.total, hits) + 1)
    return min(1.0, sum(p for k in possible if (p := chance(k)) <= seen * (1 + 1e-9)))


def _choose(n: int, k: int) -> float:
    """Logarithm of n over k."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """The p of several comparisons, corrected: below a level where the family errs less often than that.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
    """
    corrected, worst = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = worst
    return corrected


@dataclass(frozen=True)
class Family(Generic[K]):
    """Comparisons that are read together, so that their p are corrected together (Holm).

    Attributes:
        name: what is compared, for the note under a table.
        found: by what they compare; None: no image is shared.
    """

    name: str
    found: Mapping[K, Difference | None]
    level: float = 0.05

    @cached_property
    def corrected(self) -> dict[K, float]:
        """The corrected p of each."""
        known = {key: one.p for key, one in self.found.items() if one is not None}
        return dict(zip(known, holm(list(known.values())), strict=True))

    def stands(self, key: K) -> bool:
        """Whether this difference is more than chance, among all of the family."""
        return self.corrected.get(key, 1.0) < self.level

    def above(self, key: K) -> bool:
        """Whether the first is larger, by more than chance."""
        one = self.found.get(key)
        return self.stands(key) and one is not None and one.points > 0

    def below(self, key: K) -> bool:
        """Whether the first is smaller, by more than chance."""
        one = self.found.get(key)
        return self.stands(key) and one is not None and one.points < 0

    @property
    def note(self) -> str:
        """How the comparisons were made, for the note under a table."""
        tests = sorted({"exact McNemar" if one.paired else "Fisher's exact" for one in self.found.values() if one})
        of = f"{len(self.corrected)} comparisons" if len(self.corrected) != 1 else "one comparison"
        return f"{self.name}: {of}, {' and '.join(tests) or 'no'} test, Holm-corrected at {self.level:.0%}"
