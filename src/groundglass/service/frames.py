"""The frames of one device: who gets them, in what order, and how fast. One thread measures, for all clients at once."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from groundglass.optics.device import known_bits
from groundglass.optics.remote.errors import (
    DeviceGoneError,
    DeviceServiceError,
    GuardedError,
)
from groundglass.optics.streams.packed import rows_at_a_time
from groundglass.service.policy import Versions
from groundglass.service.turns import Bucket, Request, Turns


class Counts(Protocol):
    """What the frames need of the ledger."""

    def take(self, taken: Sequence[tuple[Any, int]]) -> None:
        """Count frames, durably, before they are measured.

        Raises:
            ServiceFullError: that is not possible: nothing is measured.
        """
        ...

    def end(self, batch: Any) -> None:
        """Give back what was reserved and not taken."""
        ...


class Guard(Protocol):
    """Looks at what clients ask."""

    def look(self, client: str, bits: npt.NDArray[np.uint8]) -> Any: ...


class Frames:
    """The measuring thread of one device, and what waits for it.

    Args:
        versions: the matrices under the device's name.
        counts: the ledger.
        rate: frames a second; None: as many as it can.
        guard, response: what looks at the bits, and what follows from what it finds.
        alarm: called with a client's name and what was found.
    """

    def __init__(
        self,
        versions: Versions,
        counts: Counts,
        *,
        rate: float | None = 2000.0,
        guard: Guard | None = None,
        response: str = "alarm",
        alarm: Callable[[str, Any], None] = lambda client, found: None,
    ) -> None:
        self.versions = versions
        self._counts, self._guard, self._response, self._alarm = counts, guard, response, alarm
        self._bucket = None if rate is None else Bucket(rate)
        self._turns = Turns()
        self._changed = threading.Condition()
        self._closed = False
        self._in_hand: dict[Request, int] = {}
        self._asked: list[Callable[[], None]] = []
        self._shut: dict[str, str] = {}
        #: Measured since the start.
        self.frames = 0
        self._thread = threading.Thread(target=self._run, name=f"frames of {versions.name}", daemon=True)
        self._thread.start()

    def put(self, request: Request) -> None:
        """
        Raises:
            TooFastError: too many of this client's wait.
            MatrixRedrawnError: its matrix is gone.
            GuardedError: the client is shut out.
            DeviceGoneError: the service ends.
        """
        with self._changed:
            if self._closed:
                raise _ending()
            self.check(request.client)
            self.versions.find(request.fingerprint)
            self._turns.put(request)
            self._changed.notify()

    def check(self, client: str) -> None:
        """Raises GuardedError for a client that is shut out."""
        if (why := self._shut.get(client)) is not None:
            raise GuardedError(
                f"this client is shut out: its inputs look like a retrieval of the matrix ({why}). Who runs the service can "
                "let it in again"
            )

    def drop(self, request: Request) -> None:
        """Its client is gone: what is not measured is given back. Safe to call at any time, and more than once."""
        with self._changed:
            if request.closing or request.settled:
                return
            request.closing = True
            in_hand = request in self._in_hand
        if not in_hand:
            self._settle(request)

    def go_on(self) -> None:
        """A reader has read."""
        with self._changed:
            self._changed.notify()

    def redraw(self) -> None:
        """Another matrix, from the next measurement on; returns when it is there.

        Raises:
            DeviceServiceError, OSError, TypeError: there can be none: the old one stays.
        """
        ready = threading.Event()
        failed: list[BaseException] = []

        def now() -> None:
            try:
                self.versions.redraw()
            except BaseException as error:
                failed.append(error)
            finally:
                ready.set()

        with self._changed:
            if self._closed:
                raise _ending()
            self._asked.append(now)
            self._changed.notify()
        ready.wait()
        if failed:
            raise failed[0]

    def close(self) -> None:
        """End the thread after what it measures now; what waits gets an error."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (picked := self._next()) is not None:
            if picked:
                self._told(picked, self._measure(picked))
        with self._changed:
            waiting, asked = self._turns.all(), self._asked
        for act in asked:
            act()
        self._told(waiting, _ending())

    def _next(self) -> dict[Request, int] | None:
        """What to measure now; None at the end."""
        with self._changed:
            while not self._closed:
                if self._asked:
                    asked, self._asked = self._asked, []
                    self._changed.release()
                    try:
                        for act in asked:
                            act()
                    finally:
                        self._changed.acquire()
                    continue
                most = rows_at_a_time(self.versions.in_features, self.versions.out_features)
                wanted = self._turns.wanted(most)
                wait = self._turns.pause() if not wanted else None
                if wanted and self._bucket is not None:
                    most = min(most, self._bucket.has())
                    wait = self._bucket.wait(wanted)
                    if wait and most < wanted and most < self._bucket.most:
                        self._changed.wait(wait)
                        continue
                if wanted:
                    self._in_hand = self._turns.pick(most)
                    return self._in_hand
                self._changed.wait(_sooner(wait, self.versions.until_due()))
                if self.versions.until_due() == 0:
                    return {}
            return None

    def _measure(self, picked: dict[Request, int]) -> DeviceServiceError | None:
        """Readings for these; or why there are none."""
        pieces = [request.bits[request.measured :][:count] for request, count in picked.items()]
        one = next(iter(picked))
        bits = np.unpackbits(np.concatenate(pieces), axis=1, count=self.versions.in_features)
        try:
            device = self.versions.find(one.fingerprint).device
            self._counts.take([(request.batch, count) for request, count in picked.items()])
        except DeviceServiceError as error:
            return error
        try:
            with known_bits():
                given = torch.from_numpy(bits)
                readings = device.measure(given) if one.exposure == 1 else device.measure_at(given, one.exposure)
        except Exception as error:
            return _broken(error)
        finally:
            if self._bucket is not None:
                self._bucket.take(len(bits))
            self.frames += len(bits)
        rows, start = memoryview(readings.numpy()).cast("B"), 0
        width = len(rows) // len(bits)
        for request, count in picked.items():
            request.pieces.append(rows[start * width : (start + count) * width])
            request.measured += count
            start += count
        return None

    def _told(self, picked: Iterable[Request], error: DeviceServiceError | None) -> None:
        """They have their readings, or an error."""
        with self._changed:
            self._in_hand = {}
            for request in picked:
                request.error = request.error or error
        for request in picked:
            request.tell()
            if request.ended:
                self._settle(request)

    def _settle(self, request: Request) -> None:
        with self._changed:
            if request._settling:
                return
            request._settling = True
            self._turns.drop(request)
        self._counts.end(request.batch)
        request.settled = True
        request.tell()


def _sooner(*waits: float | None) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)


def _ending() -> DeviceServiceError:
    return DeviceGoneError("the service ends: ask again when it is back", retry_after=1.0)


def _broken(error: Exception) -> DeviceServiceError:
    # Its words may hold what is nobody's business: a path, or bits.
    return DeviceGoneError(f"the device has failed ({type(error).__name__}): see to it, and ask again")
