"""How long something took, again and again: counts in classes of width, which add up over days."""

import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from groundglass.core.settings import NotNegative, Settings, Tally

#: Upper ends of the classes, in seconds; there is one more above the last.
BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Spread(Settings):
    """
    Attributes:
        counts: of each class.
        total: seconds of all of them.
    """

    counts: tuple[Tally, ...]
    total: NotNegative


class Durations:
    """One thread adds to them, any may look."""

    def __init__(self) -> None:
        self._counts, self._total = [0] * (len(BOUNDS) + 1), 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._total += seconds

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add what the block takes, if it comes to its end."""
        began = time.perf_counter()
        yield
        self.add(time.perf_counter() - began)

    def spread(self) -> Spread:
        return Spread(tuple(self._counts), self._total)
