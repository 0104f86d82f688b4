"""Whose rows are measured next, and how many of them: every client has a fair share."""

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from groundglass.optics.remote.errors import DeviceServiceError, TooFastError
from groundglass.service.ledger import Batch
from groundglass.service.tokens import Client

# Frames that a client gets before it is the next one's turn.
_TURN = 32
# Measured pieces of a request that wait to be sent: a slow reader holds up itself alone.
_UNSENT = 2
# Seconds of the frame rate that may be taken at once.
_BURST = 0.05
# Requests of a client that wait, and bytes of their bits.
_MOST_WAITING, _MOST_BYTES = 32, 2**26


@dataclass(eq=False)
class Request:
    """Rows of a client's on their way, and their readings.

    Attributes:
        client: who asks; turns go by its id.
        bits: packed, uint8 [rows, ceil(N / 8)].
        fingerprint: of the matrix that measures.
        exposure: times the device's own.
        batch: the ledger's.
        tell: called, in the measuring thread, when there is something new.
        pieces: measured so far, in order.
        measured: rows in them.
        sent: pieces that need not be kept back for their reader any more.
        error: why it goes no further.
        closing: its client is gone.
        settled: nothing more happens to it, and what was reserved and not taken is given back.
        looked: when it was last seen that the client's token is good still; of the monotonic clock.
    """

    client: Client
    bits: npt.NDArray[np.uint8]
    fingerprint: str
    exposure: float
    batch: Batch | None
    tell: Callable[[], None]
    pieces: list[memoryview] = field(default_factory=list)
    measured: int = 0
    sent: int = 0
    error: DeviceServiceError | None = None
    closing: bool = False
    settled: bool = False
    looked: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> int:
        return len(self.bits) - self.measured

    @property
    def ended(self) -> bool:
        return self.error is not None or self.closing or not self.left


class Bucket:
    """So many a second, and a twentieth of a second's worth at once. Not for several threads."""

    def __init__(self, rate: float) -> None:
        self.rate, self.most = rate, max(1.0, rate * _BURST)
        self._level, self._at = self.most, time.monotonic()

    def has(self) -> int:
        """How many there are now."""
        now = time.monotonic()
        self._level, self._at = min(self.most, self._level + (now - self._at) * self.rate), now
        return int(self._level)

    def take(self, count: int) -> None:
        self._level -= count

    def wait(self, count: int) -> float:
        """Seconds until there are so many, or as many as there can be."""
        return max(0.0, (min(count, self.most) - self._level) / self.rate)


class Turns:
    """Whose rows are measured next: each client that waits gets as many frames as the others, whatever the size of its requests.

    Deficit round robin (Shreedhar and Varghese, 1996) of requests that can be divided, so that what a turn leaves over is always
    less than a turn. Not for several threads.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[Request]] = {}
        self._ring: deque[str] = deque()
        self._over = 0  # what the first of the ring has left of its turn
        self._slowed: dict[str, Bucket] = {}

    def put(self, request: Request) -> None:
        """
        Raises:
            TooFastError: too many of this client's wait.
        """
        queue = self._waiting.setdefault(request.client.id, [])
        held = sum(one.bits.nbytes for one in queue) + request.bits.nbytes
        if queue and (len(queue) >= _MOST_WAITING or held > _MOST_BYTES):
            raise TooFastError(
                f"{len(queue)} requests of this client wait already: ask with fewer threads, or for more rows at a time",
                retry_after=0.25,
            )
        if not queue:
            self._ring.append(request.client.id)
        queue.append(request)

    def drop(self, request: Request) -> None:
        queue = self._waiting.get(request.client.id, [])
        with suppress(ValueError):
            queue.remove(request)
        if not queue and self._waiting.pop(request.client.id, None) is not None:
            if self._ring[0] == request.client.id:
                self._over = 0
            self._ring.remove(request.client.id)

    def all(self) -> list[Request]:
        return [request for queue in self._waiting.values() for request in queue]

    def slow(self, client: str, rate: float) -> None:
        """From now on the client with this id gets so many frames a second."""
        if client not in self._slowed:
            self._slowed[client] = Bucket(rate)

    def hurry(self, client: str) -> None:
        """From now on it gets what all others get."""
        self._slowed.pop(client, None)

    def wanted(self, most: int) -> int:
        """Frames that are wanted now, up to so many."""
        count = 0
        for client in self._ring:
            count += min(self._room(client), sum(r.left for r in self._waiting[client] if _ready(r)))
            if count >= most:
                return most
        return count

    def pause(self) -> float | None:
        """Seconds until one that was slowed may go on; None: nobody waits for that."""
        waits = [self._slowed[client].wait(1) for client in self._ring if client in self._slowed]
        return min(waits, default=None)

    def pick(self, most: int) -> dict[Request, int]:
        """What to measure together: requests of one matrix and one exposure, and how many rows of each."""
        picked: Counter[Request] = Counter()
        key: tuple[str, float] | None = None
        idle = 0  # clients in a row that had nothing
        while most and idle < len(self._ring):
            client = self._ring[0]
            turn = min(self._over or _TURN, most, self._room(client, picked))
            found = 0
            for request in self._waiting[client]:
                count = min(turn - found, request.left - picked[request])
                same = key in (None, (request.fingerprint, request.exposure))
                if count > 0 and same and _ready(request):
                    key = request.fingerprint, request.exposure
                    picked[request] += count
                    found += count
            most -= found
            idle = 0 if found else idle + 1
            self._over = (self._over or _TURN) - found if found and not most else 0
            if not self._over:
                self._ring.rotate(-1)
        return {request: count for request, count in picked.items() if count}

    def charge(self, picked: dict[Request, int]) -> None:
        """They are measured."""
        for request, count in picked.items():
            if request.client.id in self._slowed:
                self._slowed[request.client.id].take(count)

    def _room(self, client: str, picked: Counter[Request] | None = None) -> int:
        bucket = self._slowed.get(client)
        if bucket is None:
            return 2**62
        return max(0, bucket.has() - sum(n for r, n in (picked or {}).items() if r.client.id == client))


def _ready(request: Request) -> bool:
    return not request.ended and len(request.pieces) - request.sent < _UNSENT
