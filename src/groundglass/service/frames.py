"""The frames of one device: one thread measures, for all clients at once, and counts before it does."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from groundglass.optics.device import known_bits
from groundglass.optics.remote.errors import CannotRedrawError, DeviceGoneError, DeviceServiceError, GuardedError
from groundglass.optics.streams.packed import rows_at_a_time
from groundglass.service.alarms import HELD, Alarm
from groundglass.service.durations import Durations
from groundglass.service.guard import Finding
from groundglass.service.ledger import Ledger
from groundglass.service.log import complain, say
from groundglass.service.policy import Versions
from groundglass.service.turns import Bucket, Request, Turns
from groundglass.service.watch import Watch

# Seconds after which a request's token is looked at again, a redraw that failed is tried again, an alarm is raised again.
_LOOK, _AGAIN, _QUIET = 1.0, 2.0, 60.0


class Frames:
    """The measuring thread of one device, and what waits for it.

    Args:
        versions: the matrices under the device's name.
        rate: frames a second; None: as many as it can.
        watch: who looks at the bits.

    Attributes:
        frames, alarms: measured, and raised, since the start.
        seconds: of "count" and of "measure", the two halves of a shared measurement.
    """

    def __init__(
        self, versions: Versions, ledger: Ledger, *, rate: float | None = 2000.0, watch: Watch | None = None
    ) -> None:
        self.versions, self.rate, self.watch = versions, rate, watch
        self.frames = self.alarms = 0
        self.seconds = {"count": Durations(), "measure": Durations()}
        self._ledger = ledger
        self._bucket = None if rate is None else Bucket(rate)
        self._turns, self._changed = Turns(), threading.Condition()
        self._closed = False
        self._in_hand: dict[Request, int] = {}
        self._asked: list[Callable[[], None]] = []
        # Whom the guard holds back, and whose name is on the disk for that.
        held = ledger.alarms.held()
        self._held = {id: response for (id, device), response in held.items() if device == versions.name}
        self._kept = set(self._held)
        self._hold_back(*self._held)
        self._raised: dict[tuple[str | None, str], float] = {}
        self._forced: set[str] = set()  # who has had the matrix drawn again by what the guard saw
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
                raise ending()
            self.check(request.client.id)
            self.versions.find(request.fingerprint)
            self._turns.put(request)
            self._changed.notify()

    @property
    def alive(self) -> bool:
        return not self._closed and self._thread.is_alive()

    def check(self, client: str) -> None:
        """Raises GuardedError for a client that is shut out."""
        if client in self._kept:
            with self._changed:
                if client in self._kept and not self._ledger.alarms.holds(client, self.versions.name):
                    self._kept.remove(client)  # the operator has let it in
                    del self._held[client]
                    self._asked.append(lambda: self._let_in(client))
                    self._changed.notify()
        if self._held.get(client) == "refuse":
            raise GuardedError(
                "this client is shut out, as its inputs look like a retrieval of the matrix: the service's operator can let it "
                "in again"
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

    def waiting(self) -> tuple[int, int]:
        """Requests that wait or are being measured, and their rows."""
        with self._changed:
            left = [request.left for request in self._turns.all() if not request.ended]
        return len(left), sum(left)

    def go_on(self) -> None:
        """A reader has read."""
        with self._changed:
            self._changed.notify()

    def redraw(self) -> None:
        """Another matrix, from the next measurement on; returns when it is there.

        Raises:
            CannotRedrawError, ServiceFullError: there can be none: the old one stays.
            DeviceGoneError: the service ends.
        """
        ready = threading.Event()
        failed: list[DeviceServiceError] = []

        def now() -> None:
            try:
                if self._closed:
                    raise ending()
                self.versions.redraw()
            except DeviceServiceError as error:
                failed.append(error)
            except Exception as error:
                failed.append(_broken(error))
            finally:
                ready.set()

        with self._changed:
            if self._closed:
                raise ending()
            self._asked.append(now)
            self._changed.notify()
        ready.wait()
        if failed:
            raise failed[0]

    def stop(self) -> None:
        """End the thread after what it measures now; what waits gets an error. Does not wait."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def close(self) -> None:
        """`stop`, and wait until it is done."""
        self.stop()
        self._thread.join()

    def _run(self) -> None:
        while (picked := self._next()) is not None:
            try:
                error = self._measure(picked)
            except Exception as bug:  # the thread must go on
                complain("the measuring thread failed", bug, device=self.versions.name)
                error = _broken(bug)
            self._told(picked, error)
        with self._changed:
            waiting, asked = self._turns.all(), self._asked
        for act in asked:
            act()
        self._told(waiting, ending())

    def _next(self) -> dict[Request, int] | None:
        """What to measure now; None at the end."""
        with self._changed:
            while not self._closed:
                if self._asked:
                    asked, self._asked = self._asked, []
                    self._outside(*asked)
                elif self.versions.until_due() == 0:
                    self._outside(self._redraw_as_due)
                else:
                    most, wait = self._room()
                    if most:
                        self._in_hand = self._turns.pick(most)
                        return self._in_hand
                    self._changed.wait(wait)
            return None

    def _room(self) -> tuple[int, float | None]:
        """How many frames to take now; or how long to wait for the first of them."""
        versions = self.versions
        most, left = rows_at_a_time(versions.in_features, versions.out_features), versions.frames_left
        wanted = self._turns.wanted(most if left is None else min(most, left))
        if not wanted:
            return 0, _sooner(self._turns.pause(), versions.until_due())
        if self._bucket is None:
            return wanted, None
        has = self._bucket.has()
        # Few at a time would cost the device more than they are.
        if has < min(wanted, self._bucket.most):
            return 0, self._bucket.wait(wanted)
        return min(wanted, has), None

    def _outside(self, *acts: Callable[[], None]) -> None:
        """Do something long without the lock, which this thread holds."""
        self._changed.release()
        try:
            for act in acts:
                act()
        finally:
            self._changed.acquire()

    def _redraw_as_due(self) -> None:
        """A matrix that is due measures no more, even where there can be no other."""
        try:
            self.versions.redraw()
        except DeviceServiceError as error:
            complain("no redraw: nothing is measured", error.__cause__ or error, device=self.versions.name)
            with self._changed:
                waiting = self._turns.all()
            self._told(waiting, error)
            time.sleep(_AGAIN)

    def _measure(self, picked: dict[Request, int]) -> DeviceServiceError | None:
        """Readings for these; or why there are none."""
        n = self.versions.in_features
        pieces = {
            request: np.unpackbits(request.bits[request.measured :][:count], axis=1, count=n)
            for request, count in picked.items()
        }
        for request, bits in list(pieces.items()):
            if not self._may(request, bits):
                del pieces[request]
        if not pieces:
            return None
        one, rows = next(iter(pieces)), [*pieces.values()]
        bits = rows[0] if len(rows) == 1 else np.concatenate(rows)
        try:
            device = self.versions.find(one.fingerprint).device
            with self.seconds["count"].timed():
                self._ledger.take([(_held(request), len(piece)) for request, piece in pieces.items()])
        except DeviceServiceError as error:
            if error.__cause__ is not None:
                complain("frames cannot be counted: nothing is measured", error.__cause__, device=self.versions.name)
            return error
        self.versions.count(len(bits))
        self._turns.charge({request: len(piece) for request, piece in pieces.items()})
        if self._bucket is not None:
            self._bucket.take(len(bits))
        self.frames += len(bits)
        try:
            with known_bits(), self.seconds["measure"].timed():
                given = torch.from_numpy(bits)
                readings = device.measure(given) if one.exposure == 1 else device.measure_at(given, one.exposure)
        except Exception as error:
            complain("the device failed", error, device=self.versions.name)
            return _broken(error)
        answer, start = memoryview(readings.numpy()).cast("B"), 0
        for request, piece in pieces.items():
            end = start + len(piece) * self.versions.row_bytes
            # A part of its own: a small one would keep the memory of all the others.
            request.pieces.append(answer if len(pieces) == 1 else memoryview(bytes(answer[start:end])))
            request.measured += len(piece)
            start = end
        return None

    def _may(self, request: Request, bits: npt.NDArray[np.uint8]) -> bool:
        """Whether these rows may still be measured: the token may have been revoked, and the guard looks."""
        try:
            if time.monotonic() - request.looked > _LOOK:
                self._ledger.current(request.client)
                request.looked = time.monotonic()
            if self.watch is not None and (found := self.watch.guard.look(request.client.id, bits)) is not None:
                self._respond(self.watch, request, found)
            self.check(request.client.id)
        except DeviceServiceError as error:
            request.error = error
        return request.error is None

    def _respond(self, watch: Watch, request: Request, found: Finding) -> None:
        now, id = time.monotonic(), None if found.together else request.client.id
        last = self._raised.get((id, found.name))
        # A redraw holds up all clients. A client that could force one after another would keep the device from the others.
        response = "refuse" if watch.response == "redraw" and id in self._forced else watch.response
        if last is not None and now - last < _QUIET and (watch.response != "redraw" or id is None):
            return
        self._raised[id, found.name] = now
        self.alarms += 1
        alarm = Alarm(
            at=self._ledger.clock.now(),
            client=None if id is None else request.client.name,
            device=self.versions.name,
            name=found.name,
            score=_finite(found.score),
            limit=_finite(found.limit),
            frames=found.frames,
            response=response,
        )
        say("alarm", level=logging.WARNING, **{name: value for name, value in asdict(alarm).items() if name != "at"})
        kept = True
        try:
            self._ledger.alarms.put(id, alarm)
        except OSError as error:  # it holds until the service ends
            complain("an alarm cannot be kept", error, device=self.versions.name)
            kept = False
        if id is not None and response in HELD:
            with self._changed:
                self._held[id] = response
                self._kept |= {id} if kept else set()
            self._hold_back(id)
        if response == "redraw":
            self._forced |= set() if id is None else {id}
            try:
                self.versions.redraw(overlap=0.0)
            except CannotRedrawError as error:
                complain("no redraw", error, device=self.versions.name)

    def _hold_back(self, *clients: str) -> None:
        for client in clients:
            if self._held[client] == "throttle" and self.watch is not None:
                self._turns.slow(client, self.watch.slow)

    def _let_in(self, client: str) -> None:
        self._raised = {key: at for key, at in self._raised.items() if key[0] != client}
        self._forced.discard(client)
        with self._changed:
            self._turns.hurry(client)

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
            self._turns.drop(request)
        if request.batch is not None:
            self._ledger.end(request.batch)
        request.settled = True
        request.tell()


def _held(request: Request) -> Any:
    assert request.batch is not None
    return request.batch


def _finite(score: float) -> float:
    """For records, which hold finite numbers."""
    return float(np.nan_to_num(score))


def _sooner(*waits: float | None) -> float | None:
    return min((wait for wait in waits if wait is not None), default=None)


def ending() -> DeviceServiceError:
    """What is asked of a service that ends."""
    return DeviceGoneError("the service ends: ask again when it is back", retry_after=1.0)


def _broken(error: Exception) -> DeviceServiceError:
    # Its words may hold what is nobody's business: a path, or bits.
    return DeviceGoneError(f"the device has failed ({type(error).__name__}): its operator must look at it")
