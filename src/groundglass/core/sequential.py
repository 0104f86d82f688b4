"""Sequential tests: they look after every event, and stop when they are sure. Their error bounds hold however long they go on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from groundglass.core.settings import In, Settings

Chance = Annotated[float, In("(0, 1)", "a probability")]
Error = Annotated[float, In("(0, 0.5)", "how often it may be wrong: 0.001 for once in a thousand")]


@dataclass(frozen=True, kw_only=True)
class SequentialTest(Settings):
    """Does an event happen seldom, with a probability of at most `rare`, or with one of at least `often`?

    After each event the ratio of the likelihoods of `often` and `rare` is multiplied by often / rare, and after each that does
    not happen by (1 - often) / (1 - rare). If it happens seldom, given whatever was before, the ratio never grows on average, so
    by Ville it ever reaches 1 / alpha with a chance of at most alpha; if often, so does its inverse with 1 / beta. Between `rare`
    and `often` either answer may come.

    Source: A. Wald, "Sequential tests of statistical hypotheses", Annals of Mathematical Statistics 1945; J. Ville, "Étude
    critique de la notion de collectif", 1939. Difference from Wald's limits, (1 - beta) / alpha and the like:
    these bounds are exact.

    Attributes:
        alpha: a bound of the chance to say "often" of what is seldom, at any time.
        beta: of the chance to say "seldom" of what is often.

    Raises:
        ValueError: `rare` is not below `often`.
    """

    rare: Chance
    often: Chance
    alpha: Error = 1e-3
    beta: Error = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rare >= self.often:
            raise ValueError(f"`rare` (={self.rare:g}) must be below `often` (={self.often:g})")

    def path(self, events: Sequence[bool] | npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """The natural logarithm of the ratio after each event, whether it had stopped or not."""
        up, down = math.log(self.often / self.rare), math.log((1 - self.often) / (1 - self.rare))
        return np.cumsum(np.where(np.asarray(events, bool), up, down))

    def decide(self, events: Sequence[bool] | npt.NDArray[np.bool_]) -> tuple[bool | None, int]:
        """What it says of these events in their order, and after how many of them.

        Returns:
            True: often; False: seldom; None: it would go on, after all of them.
        """
        ratio = self.path(events)
        ends = np.flatnonzero((ratio >= -math.log(self.alpha)) | (ratio <= math.log(self.beta)))
        return (None, len(ratio)) if not len(ends) else (bool(ratio[ends[0]] > 0), int(ends[0]) + 1)


# Chances of a disagreement that a rejected candidate may have: spread evenly, so that none need be chosen.
_CHANCES = 32


@dataclass(frozen=True, kw_only=True)
class SingleOut(Settings):
    """Which of several candidates is the true one? Each answer agrees with some of them, and all but one are rejected.

    The premise is about the true one alone: it disagrees with an answer, whatever was before, with a chance of at most `miss`.

    Each candidate is tested by itself. For a chance q above `miss` its ratio of likelihoods is multiplied by q / miss when it
    disagrees, and by (1 - q) / (1 - miss) when it agrees. If the true one disagrees with a chance p, the mean of that factor is

        p q / miss + (1 - p) (1 - q) / (1 - miss),

    which rises with p and is 1 at p = miss. So the ratio of the true one never grows on average, nor does the mean of its ratios
    for many q, and by Ville the chance that this mean ever reaches 1 / alpha is at most alpha. A candidate that reaches it is
    rejected, for good. Another than the true one can be named only when that was rejected: the chance of an error is at most
    alpha, however many others there are and whatever they do. One that disagrees as seldom as the true one, as a near copy
    does, is not rejected; nothing is named then. That the true one is among them is taken for granted: else the last left
    is named.

    Source: J. Ville, "Étude critique de la notion de collectif", 1939; the mean over q: H. Robbins, "Statistical methods
    related to the law of the iterated logarithm", Annals of Mathematical Statistics 1970.

    Attributes:
        alpha: a bound of the chance that the true one is ever rejected, and so that another is named.
    """

    miss: Error = 0.05
    alpha: Error = 1e-3

    def paths(self, agrees: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """The natural logarithm of each candidate's ratio [n, K] after each answer: it is rejected at -log(alpha)."""
        q = self.miss + (1 - self.miss) * (np.arange(_CHANCES) + 0.5) / _CHANCES
        disagreed, agreed = np.cumsum(~agrees, axis=0)[..., None], np.cumsum(agrees, axis=0)[..., None]
        each = disagreed * np.log(q / self.miss) + agreed * np.log((1 - q) / (1 - self.miss))
        most = each.max(2)
        found: npt.NDArray[np.float64] = most + np.log(np.exp(each - most[..., None]).mean(2))
        return found

    def decide(self, agrees: npt.NDArray[np.bool_]) -> tuple[tuple[int, ...], int]:
        """Which candidates are left of these answers [n, K], K at least 2, when it stops, and after how many answers.

        Returns:
            One: it is named. None: all were rejected. More: it would go on.
        """
        if agrees.ndim != 2 or agrees.shape[1] < 2:
            raise ValueError(f"answers must be [n, K] with two candidates or more, not {list(agrees.shape)}")
        left = np.logical_and.accumulate(self.paths(agrees) < -math.log(self.alpha), axis=0)
        ends = np.flatnonzero(left.sum(1) < 2)
        used = int(ends[0]) + 1 if len(ends) else len(agrees)
        return tuple(np.flatnonzero(left[used - 1]).tolist() if used else range(agrees.shape[1])), used
