"""Attacks on a card: the host asks on, and reads what was found every few steps."""

import numpy as np
import torch
from torch import Tensor

from groundglass.attacks.tensors import Flags
from groundglass.core import NonFiniteError

# The share of gradients that runs take after their end, before the host reads that they ended. Half of what is allowed is
# planned; the other half is for what cannot be foreseen.
_PLANNED = 0.01
#: At most.
STEPS_BETWEEN_READS = 16
# Ages whose runs are counted together.
_AGES = 4


class Unread:
    """What was wrong with answers, counted where they are, and told when the host reads it.

    Attributes:
        on: which rows of the question that is asked count; None: all.
        finite: which rows of the last answer were finite.
    """

    def __init__(self) -> None:
        self.on: Flags | None = None
        self.finite: Flags | None = None
        self._bad: dict[str, Tensor] = {}
        self._asked = 0

    def note(self, what: str, finite: Flags) -> None:
        """Whether each row of an answer, its "logits" or its "gradients", is finite."""
        self.finite = finite
        bad = ~finite if self.on is None else ~finite & self.on
        self._bad[what] = self._bad[what] + bad.sum() if what in self._bad else bad.sum()
        self._asked += len(finite)

    def read(self) -> None:
        """Look at what was noted since the last time.

        Raises:
            NonFiniteError: there were NaN or infinite logits, or gradients.
        """
        if not self._bad:
            return
        counts = dict(zip(self._bad, torch.stack(list(self._bad.values())).tolist(), strict=True))
        self._bad, self._asked, asked = {}, 0, self._asked
        for what, bad in counts.items():
            if bad:
                raise NonFiniteError(
                    f"NaN or infinite {what} at {bad} of the last {asked} images in [0, 1] that the model was asked about: "
                    "fix the model, or the backward rule"
                )


class Pace:
    """After how many steps the host reads which runs have ended, so that no more than 2% of the gradients are for nothing.

    A run that ends goes on until the next read. How many will end before it is foreseen from how many did at the same age,
    in steps, so far; those that have not been seen yet are taken to end at once. 1% is planned: the rest is for what nobody
    can foresee. What was for nothing is counted: after a surprise the host reads in every step until the share is kept again.

    Args:
        steps: of a run.
        every: read after so many steps instead, whatever that costs.

    Attributes:
        gradients: taken so far.
        wasted: those of them that runs took after their end.
    """

    def __init__(self, steps: int, *, every: int | None = None) -> None:
        self._steps, self._every = steps, every
        self._ended, self._asked = np.zeros(steps), np.zeros(steps)
        self.gradients = self.wasted = 0

    def until_read(self, ages: np.ndarray, *, stopping: bool = True) -> int:
        """How many steps to make before the next read: none beyond the end of the oldest run.

        Args:
            ages: steps that each live run has made.
            stopping: runs may end before their last step.
        """
        most = min(self._every or STEPS_BETWEEN_READS, self._steps - int(ages.max()))
        if self._every is not None or not stopping:
            return most
        hazard, alive, wasted, steps = self._hazard(), np.ones(len(ages)), float(self.wasted), 1
        while steps < most:
            alive = alive * (1 - hazard[ages + steps - 1])
            wasted += len(ages) - alive.sum()
            if wasted > _PLANNED * (self.gradients + len(ages) * (steps + 1)):
                break
            steps += 1
        return steps

    def saw(self, ages: np.ndarray, took: np.ndarray, ended: np.ndarray, steps: int) -> int:
        """What a read has shown; returns how many gradients were for nothing.

        Args:
            ages: of each run before the steps.
            took: gradients of each that count, at most `steps`.
            ended: whether it has ended, with the last of these.
        """
        for step in range(steps):
            counted = took > step
            np.add.at(self._asked, ages[counted] + step, 1)
        np.add.at(self._ended, (ages + took - 1)[ended], 1)
        wasted = int((steps - took).sum())
        self.gradients += steps * len(ages)
        self.wasted += wasted
        return wasted

    def _hazard(self) -> np.ndarray:
        """The share of runs that end with the step of each age; of ages that none has reached, that of the last ones."""
        ended, asked = (np.convolve(counts, np.ones(_AGES))[: self._steps] for counts in (self._ended, self._asked))
        reached = int(np.nonzero(self._asked)[0].max(initial=-1))
        if reached < 0:
            return np.ones(self._steps)
        share = (ended + 1) / (asked + 1)
        share[reached + 1 :] = share[reached]
        return share
