"""Frames that were counted, by token and device."""

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple

from groundglass.service.clock import day_of
from groundglass.service.database import Database

#: The id of a token, and the name of a device.
Key = tuple[str, str]
_COLUMNS = "token, device, frames, day, today, second, in_second"


class Count(NamedTuple):
    """Frames in all, in the last day with any, in the last second with any.

    Attributes:
        day, second: which ones those are, counted from 1970.
    """

    frames: int = 0
    day: int = 0
    today: int = 0
    second: int = 0
    in_second: int = 0

    def plus(self, frames: int, now: float) -> "Count":
        day, second = day_of(now), int(now)
        return Count(
            self.frames + frames,
            day,
            self.on(day) + frames,
            second,
            self.within(second) + frames,
        )

    def on(self, day: int) -> int:
        """Frames of a day that is the last one, or later."""
        return self.today if self.day >= day else 0

    def within(self, second: int) -> int:
        """Frames of a second that is the last one, or later."""
        return self.in_second if self.second >= second else 0


def read_counts(database: Database) -> dict[Key, Count]:
    """All that were counted.

    Raises:
        DamagedFileError: numbers that were never counted.
    """
    found: dict[Key, Count] = {}
    for token, device, *counted in database.read(f"SELECT {_COLUMNS} FROM counts"):
        if not all(type(one) is int for one in counted) or not _possible(count := Count(*counted)):
            raise database.damaged(f"the frames of token {token!r:.80} are not a count")
        found[token, device] = count
    return found


def _possible(count: Count) -> bool:
    return 0 <= count.in_second <= count.today <= count.frames and min(count.day, count.second) >= 0


def write_counts(connection: sqlite3.Connection, counts: Mapping[Key, Count]) -> None:
    """In place of those that were there."""
    connection.executemany(
        f"INSERT OR REPLACE INTO counts ({_COLUMNS}) VALUES (?,?,?,?,?,?,?)",
        [(*key, *count) for key, count in counts.items()],
    )
