"""What guards have found, and whom they hold back: kept in the service's database, so that a restart forgets neither."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

from groundglass.service.database import Database
from groundglass.service.tokens import check_name

#: What follows from what a guard has seen: a line in the log; few frames a second; another matrix; no frames at all.
Response = Literal["alarm", "throttle", "redraw", "refuse"]
#: How those that hold a client back are said.
HELD: Mapping[str, str] = MappingProxyType({"throttle": "slowed down", "refuse": "shut out"})
# Of one token and device: who raises many pushes out no one else's.
_MOST = 100
_COLUMNS = "device, name, score, bound, frames, response"


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """What a guard has found.

    Attributes:
        at: seconds since 1970.
        client: its name; None: of all clients together.
        name: of the statistic.
        score, limit: its value, and the one at which the guard speaks.
        frames: that the guard had looked at.
    """

    at: float
    client: str | None
    device: str
    name: str
    score: float
    limit: float
    frames: int
    response: Response


class Alarms:
    """Those of a service. Safe to share between threads; a server sees what a command has let in at the client's next request."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, id: str | None, alarm: Alarm) -> None:
        """Keep an alarm, and that the client is held back if that is the response.

        Args:
            id: the client's; None: of all of them together, who are not held back.

        Raises:
            DiskFullError, OSError: it cannot be kept.
        """
        values = alarm.device, alarm.name, alarm.score, alarm.limit, alarm.frames, alarm.response
        key = id, alarm.device
        with self._database.write() as connection:
            connection.execute(
                f"INSERT INTO alarms (at, token, {_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)", (alarm.at, id, *values)
            )
            connection.execute(
                "DELETE FROM alarms WHERE rowid IN (SELECT rowid FROM alarms WHERE token IS ? AND device = ? "
                "ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
                (*key, _MOST),
            )
            if id is not None and alarm.response in HELD:
                connection.execute("INSERT OR REPLACE INTO held VALUES (?,?,?)", (*key, alarm.response))

    def latest(self, most: int) -> tuple[Alarm, ...]:
        """The last ones, newest first.

        Raises:
            DamagedFileError: what was never an alarm.
        """
        rows = self._database.read(
            f"SELECT at, token, (SELECT name FROM tokens WHERE id = token), {_COLUMNS} FROM alarms "
            "ORDER BY alarms.rowid DESC LIMIT ?",
            (most,),
        )
        return tuple(self._read(row) for row in rows)

    def held(self) -> dict[tuple[str, str], Response]:
        """Who is held back where, and how: by client's id and device.

        Raises:
            DamagedFileError: a response that there is not.
        """
        found: dict[tuple[str, str], Response] = {}
        for id, device, response in self._database.read("SELECT token, device, response FROM held"):
            if response not in HELD:
                raise self._database.damaged(f"{response!r:.40} holds nobody back")
            found[id, device] = response
        return found

    def holds(self, id: str, device: str) -> bool:
        """Whether this client is held back there still."""
        return bool(self._database.read("SELECT 1 FROM held WHERE token = ? AND device = ?", (id, device)))

    def let_in(self, id: str) -> int:
        """Hold a client back no more. Its alarms stay.

        Returns:
            At how many devices it was.
        """
        with self._database.write() as connection:
            return connection.execute("DELETE FROM held WHERE token = ?", (id,)).rowcount

    def _read(self, row: tuple[Any, ...]) -> Alarm:
        try:
            at, id, client, device, name, score, limit, frames, response = row
            if (
                response not in get_args(Response)
                or (id is None) != (client is None)
                or not all(math.isfinite(one) for one in (at, score, limit))
            ):
                raise ValueError(f"{response!r:.40}")
            if id is not None:
                check_name("client", client)
            check_name("device", device)
            return Alarm(
                at=float(at),
                client=client,
                device=device,
                name=str(name),
                score=float(score),
                limit=float(limit),
                frames=int(frames),
                response=response,
            )
        except (TypeError, ValueError) as error:
            raise self._database.damaged(f"an alarm is none: {error}") from error
