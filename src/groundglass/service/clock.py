"""The time that the service counts by: it never goes backwards, whatever is done to the system's clock."""

import threading
import time
from collections.abc import Callable

#: Seconds of a day. Days and seconds are those of UTC, counted from 1970.
DAY = 86_400


class Clock:
    """Seconds since 1970 that never go backwards.

    While the system's clock is behind the latest time that was seen, time goes on from there, at the pace of the monotonic clock.
    So a clock that is set back renews no budget and revives no token; and one that is set a year ahead and back leaves the
    service a year ahead, for good: tokens that ended within that year have ended (`token set NAME --expires` mends that), and a
    new day of frames still begins every 24 hours while the service runs.

    Args:
        latest: the latest time that was seen before.
        wall: the system's clock.
        steady: one that cannot be set.
    """

    def __init__(
        self, latest: float, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._steady = wall, steady
        self._latest, self._at = latest, steady()
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            at = self._steady()
            self._latest, self._at = max(self._wall(), self._latest + max(0.0, at - self._at)), at
            return self._latest

    @property
    def ahead(self) -> float:
        """Seconds that this is ahead of the system's clock: above a few, that clock was set back, or had been ahead."""
        return max(0.0, self.now() - self._wall())


def day_of(now: float) -> int:
    """Whole days since 1970, UTC."""
    return int(now // DAY)
