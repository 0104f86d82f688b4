"""Frames are counted exactly: before the device measures them, on the disk, and never more than a token's budget.

A batch is all or nothing. `begin` reserves its rows, in memory; `take` counts those that go to the device next, for all batches
that share a measurement, in one transaction that is on the disk when it returns; `end` gives back what was not taken. A process
that is killed at any moment has counted every frame that was measured, and besides those only what it was about to measure. What
was reserved goes with the process.

    with Ledger(folder) as ledger:
        client = ledger.authenticate(token)
        ledger.authorise(client, "measure", "opu")
        batch = ledger.begin(client, "opu", rows=len(bits))
        try:
            ledger.take([(batch, len(bits))])
            readings = device.measure(bits)
        finally:
            ledger.end(batch)
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from groundglass.core import DamagedFileError, atomic_write
from groundglass.core.locks import lock
from groundglass.core.sealed import without_locals
from groundglass.core.settings import Count as WholeNumber
from groundglass.core.settings import fit
from groundglass.core.text import duration
from groundglass.optics.remote.errors import (
    FrameBudgetError,
    NoSuchDeviceError,
    RoleRefusedError,
    ServiceFullError,
    TokenExpiredError,
    TokenRefusedError,
)
from groundglass.service.alarms import Alarms
from groundglass.service.clock import DAY, Clock, day_of
from groundglass.service.counts import Count, Key, read_counts, write_counts
from groundglass.service.database import Database
from groundglass.service.tokens import Budgets, Client, Role, Tokens

_LOCK = "server.lock"
_REFUSED = (
    "this token is not one of the service's: it is unknown, wrong or revoked. Ask the service's operator for a new one"
)
_MINUTE = 60


@dataclass(eq=False)
class Batch:
    """The rows of one request. Only a `Ledger` changes it.

    Attributes:
        rows: that were reserved.
        left: reserved still: not taken, not given back.
        in_hand: being counted at this moment.
        ended: nothing is reserved any more.
    """

    client: Client
    device: str
    rows: int
    left: int
    in_hand: int = 0
    ended: bool = False


@dataclass(frozen=True)
class Usage:
    """Frames that a client has had of a device.

    Attributes:
        last_minute: since this server was started.
    """

    client: Client
    device: str
    frames: int
    today: int
    last_minute: int


class Ledger:
    """Tokens and counts of one service. Safe to share between threads.

    One process at a time has it; the token commands may write beside it, and it sees what they did at the next request.
    `authenticate`, `begin`, `end` and `left` take some tens of microseconds and never wait for the disk's flush; `take` does.

    Args:
        folder: the service's state folder, made with mode 0700 if it is missing.
        wall, steady: see `Clock`.

    Attributes:
        tokens: to make, change and revoke them.
        alarms: what guards have found, and whom they hold back.
        clock: the time that all is counted by.

    Raises:
        HeldError: another server has the folder.
        DamagedFileError, DiskFullError, OSError: as `Database`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        with ExitStack() as opened:
            self._database = Database(folder, create=True, wall=wall, steady=steady)
            opened.callback(self._database.close)
            # For its owner alone: whoever can open a file can lock it.
            with suppress(FileExistsError), atomic_write(folder / _LOCK, private=True, new=True):
                pass
            opened.enter_context(lock(folder / _LOCK, what=f"serving the devices of {folder}"))
            self._counts: dict[str, dict[str, Count]] = defaultdict(dict)
            for (id, device), count in read_counts(self._database).items():
                self._counts[id][device] = count
            self._database.keep_time(self._database.clock.now())  # a full disk is said now
            self._opened = opened.pop_all()
        self.tokens = Tokens(self._database)
        self.alarms = Alarms(self._database)
        self.clock: Clock = self._database.clock
        self._recent: dict[Key, Counter[int]] = defaultdict(Counter)
        # By the ids of tokens: frames of open batches that are not counted yet.
        self._reserved: Counter[str] = Counter()
        self._memory = threading.Lock()
        self._one_take = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the folder to another server. What was reserved is given up."""
        with self._one_take:
            self._opened.close()

    @without_locals
    def authenticate(self, token: str) -> Client:
        """Whose token this is.

        Raises:
            TokenRefusedError: unknown, wrong or revoked; the same answer after the same work. "" is no token.
            TokenExpiredError: it was right, and its time is over.
        """
        client = self.tokens.holder(token)
        if client is None:
            raise TokenRefusedError(_REFUSED)
        return self._unexpired(client)

    def current(self, client: Client) -> Client:
        """A client as its token is now. `begin` asks for it; so may who works on one request for long.

        Raises:
            TokenRefusedError, TokenExpiredError: as `authenticate`.
        """
        now = self.tokens.current(client.id)
        if now is None or now.revoked is not None:
            raise TokenRefusedError(_REFUSED)
        return self._unexpired(now)

    def authorise(self, client: Client, role: Role, device: str | None = None) -> None:
        """Check that a client may do this.

        Args:
            device: None for what is of no device.

        Raises:
            NoSuchDeviceError: the token is not for this device, whether there is one or not.
            RoleRefusedError: it lacks the role.
        """
        if device is not None and not client.sees(device):
            raise NoSuchDeviceError(f"this token is for no device of the name {device!r:.80}", device=device)
        if role not in client.roles:
            raise RoleRefusedError(
                f"this token is not for `{role}`: ask the service's operator for that role",
                role=role,
                roles=list(client.roles),
            )

    def begin(self, client: Client, device: str, rows: int) -> Batch:
        """Reserve the frames of a request. They are held against all of the budgets until they are taken or given back; a frame
        counts for the day and the second in which it is taken.

        Raises:
            FrameBudgetError: a budget has fewer left, and nothing was reserved. `details` has `budget` (a field of `Budgets`),
                `limit`, `left` and `rows`; `retry_after` is set where the next day or second has room for so many.
            TokenRefusedError, TokenExpiredError: it was revoked, or has expired, meanwhile.
        """
        client, rows = self.current(client), fit(WholeNumber, rows, "rows")
        with self._memory:
            now = self.clock.now()
            for name, room in self._room(client, now).items():
                if rows > room:
                    raise _over(name, rows, getattr(client.budgets, name), room, now)
            self._reserved[client.id] += rows
            return Batch(client, device, rows, left=rows)

    def take(self, taken: Sequence[tuple[Batch, int]]) -> None:
        """Count frames that the device measures next: all of them, on the disk, or none.

        Args:
            taken: batches that share a measurement, and how many frames of each.

        Raises:
            ServiceFullError: they could not be written down. None is counted, all stay reserved, and none may be measured.
            ValueError: more than a batch has left, or it has ended.
        """
        frames: Counter[Batch] = Counter()
        for batch, count in taken:
            frames[batch] += fit(WholeNumber, count, "frames")
        with self._one_take:
            with self._memory:
                for batch, count in frames.items():
                    if batch.ended or count > batch.left:
                        raise ValueError(f"{count} frames of a batch that has {0 if batch.ended else batch.left} left")
                for batch, count in frames.items():
                    batch.left -= count
                    batch.in_hand += count
            counted: dict[Key, Count] | None = None
            try:
                counted = self._write(frames)
            except (OSError, DamagedFileError) as error:  # which names files: not for clients
                raise ServiceFullError(
                    "the service cannot write down what it would measure, so it measures nothing. Its operator must look at the "
                    "disk of its state folder",
                    retry_after=10.0,
                ) from error
            finally:
                with self._memory:
                    self._settle(frames, counted)

    def end(self, batch: Batch) -> None:
        """Give back what was reserved and not taken. Again: nothing."""
        with self._memory:
            if not batch.ended:
                batch.ended = True
                self._release(batch.client.id, batch.left)
                batch.left = 0

    def left(self, client: Client) -> Budgets:
        """What a client could still begin, now."""
        with self._memory:
            return Budgets(**self._room(client, self.clock.now()))

    def usage(self) -> tuple[Usage, ...]:
        """By client and device, those with any frames; the revoked ones too."""
        clients = {client.id: client for client in self.tokens.all()}
        with self._memory:
            now = self.clock.now()
            day, then = day_of(now), now - _MINUTE
            return tuple(
                Usage(client, device, count.frames, count.on(day), self._since((id, device), then))
                for id, client in clients.items()
                for device, count in sorted(self._counts.get(id, {}).items())
            )

    def _unexpired(self, client: Client) -> Client:
        if client.expires is not None and client.expires <= self.clock.now():
            with suppress(OSError):
                self._database.keep_time(client.expires)
            raise TokenExpiredError("this token has expired: ask the service's operator for more time, or a new one")
        return client

    def _room(self, client: Client, now: float) -> dict[str, int]:
        """What is left of each budget that there is."""
        own, day, second = self._counts.get(client.id, {}).values(), day_of(now), int(now)
        held, limits, room = self._reserved[client.id], client.budgets, {}
        if limits.frames is not None:
            room["frames"] = limits.frames - sum(count.frames for count in own)
        if limits.frames_a_day is not None:
            room["frames_a_day"] = limits.frames_a_day - sum(count.on(day) for count in own)
        if limits.frames_a_second is not None:
            room["frames_a_second"] = limits.frames_a_second - sum(count.within(second) for count in own)
        return {name: max(0, left - held) for name, left in room.items()}

    def _write(self, frames: Counter[Batch]) -> dict[Key, Count]:
        """What is on the disk afterwards."""
        sums: Counter[Key] = Counter()
        for batch, count in frames.items():
            sums[batch.client.id, batch.device] += count
        with self._memory:
            now = self.clock.now()
            counted = {key: self._count(key).plus(more, now) for key, more in sums.items()}
        with self._database.write() as connection:
            write_counts(connection, counted)
        return counted

    def _settle(self, frames: Iterable[Batch], counted: dict[Key, Count] | None) -> None:
        """Frames in hand are counted, or reserved as before."""
        for batch in frames:
            if counted is not None or batch.ended:
                self._release(batch.client.id, batch.in_hand)
            else:
                batch.left += batch.in_hand
            batch.in_hand = 0
        for key, count in (counted or {}).items():
            recent = self._recent[key]
            recent[count.second] += count.frames - self._count(key).frames
            for second in [one for one in recent if one < count.second - _MINUTE]:
                del recent[second]
            self._counts[key[0]][key[1]] = count

    def _count(self, key: Key) -> Count:
        return self._counts.get(key[0], {}).get(key[1], Count())

    def _release(self, id: str, frames: int) -> None:
        self._reserved[id] -= frames
        if not self._reserved[id]:
            del self._reserved[id]

    def _since(self, key: Key, then: float) -> int:
        return sum(count for second, count in self._recent.get(key, Counter()).items() if second > then)


# How a budget is called, and the seconds after which it is whole again.
_SPANS = {"frames": ("in all", None), "frames_a_day": ("today", DAY), "frames_a_second": ("in this second", 1)}


def _over(name: str, rows: int, limit: int, left: int, now: float) -> FrameBudgetError:
    span, renewed = _SPANS[name]
    wait = None if renewed is None or rows > limit else renewed - now % renewed
    if wait is not None:
        advice = f"ask again in {duration(wait)}"
    elif renewed is None:
        advice = "ask the service's operator for more"
    else:
        advice = f"ask for at most {limit:,} at a time"
    return FrameBudgetError(
        f"{rows:,} frames are more than this token has left {span}: {left:,} of {limit:,}. None was taken; {advice}",
        retry_after=wait,
        budget=name,
        limit=limit,
        left=left,
        rows=rows,
    )
