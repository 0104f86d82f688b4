"""Shares of images with how sure they are, and what is left when several attackers each have a go."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Proportion:
    """`count` images of `total`."""

    count: int
    total: int

    def __post_init__(self) -> None:
        if self.total <= 0 or not 0 <= self.count <= self.total:
            raise ValueError(f"{self.count} of {self.total} is no share: 0 <= count <= total, and total >= 1")

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
