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


@dataclass(frozen=True, kw_only=True)
class SingleOut(Settings):
    """Which of several candidates is the true one? Each answer agrees with some of them.

    Of the answers with which just one of the true one and another agrees, the true one must agree, whatever was before, with a
    chance of at least 1 - `miss`: the premise of the bound, for each other. Each candidate has a weight, multiplied by 1 - miss
    when it agrees and by miss when it does not; it stops when one weighs (K - 1) / alpha times as much as every other. The ratio
    of another's weight to the true one's then never grows on average, so by Ville the chance that any of the K - 1 others ever
    leads by so much is at most alpha. It does not hold of another that agrees as often as the true one, as a near copy does.

    Source: C. W. Baum and V. V. Veeravalli, "A sequential procedure for multihypothesis testing", IEEE Transactions on
    Information Theory 1994. Difference: limits by Ville and a sum over candidates, not by a prior.

    Attributes:
        alpha: a bound of the chance to name another than the true one. If none is the true one it says nothing.
    """

    miss: Error = 0.05
    alpha: Error = 1e-3

    def decide(self, agrees: npt.NDArray[np.bool_]) -> tuple[int | None, int]:
        """Which candidate it names after these answers [n, K], K at least 2, and after how many; None: it would go on."""
        if agrees.ndim != 2 or agrees.shape[1] < 2:
            raise ValueError(f"answers must be [n, K] with two candidates or more, not {list(agrees.shape)}")
        weights = np.cumsum(np.where(agrees, math.log(1 - self.miss), math.log(self.miss)), axis=0)
        two = np.sort(weights, axis=1)[:, -2:]
        # Of equal sums one may come out larger by a rounding.
        ends = np.flatnonzero(two[:, 1] - two[:, 0] >= math.log((agrees.shape[1] - 1) / self.alpha) - 1e-9)
        return (None, len(agrees)) if not len(ends) else (int(weights[ends[0]].argmax()), int(ends[0]) + 1)
