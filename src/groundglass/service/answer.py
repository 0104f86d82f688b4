"""Answers: readings that go out while the next ones are measured, and errors."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from groundglass.optics.remote import wire
from groundglass.optics.remote.errors import DeviceServiceError, IncompleteBodyError, TooLargeError
from groundglass.service.frames import Frames, ending
from groundglass.service.log import complain, say
from groundglass.service.turns import Request as Rows

# Bytes that are handed to the connection at a time: what it cannot take at once, it copies.
_WRITTEN = 2**18


def log(request: Request, status: int, *, error: str | None = None, frames: int | None = None) -> None:
    """A line for a request, and a count of how it ended."""
    request.app.state.overview.ended(error or "ok")
    began = getattr(request.state, "began", None)
    say(
        "request",
        method=request.method,
        client=getattr(request.state, "client", None),
        device=None if (name := request.path_params.get("name")) is None else f"{name:.80}",
        status=status,
        seconds=None if began is None else round(time.monotonic() - began, 4),
        error=error,
        frames=frames,
    )


async def refused(request: Request, error: Exception) -> Response:
    """The answer of a typed error."""
    assert isinstance(error, DeviceServiceError)
    headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooLargeError | IncompleteBodyError):
        headers["Connection"] = "close"  # what was not read is not waited for
    log(request, error.status, error=error.code)
    return Response(wire.error_answer(error), error.status, headers, "application/json")


async def nothing_there(request: Request, error: Exception) -> Response:
    """The answer at an address that the service does not have, or to a method that it does not take there. It is not logged."""
    assert isinstance(error, HTTPException)
    told = DeviceServiceError("nothing is asked by this method at this address: GET /openapi.json lists what may be")
    return Response(wire.error_answer(told), error.status_code, error.headers, "application/json")


async def failed(request: Request, error: Exception) -> Response:
    """The answer of a bug. Its words may hold what is nobody's business."""
    complain("the service failed", error)
    log(request, 500, error=type(error).__name__)
    return Response(
        wire.error_answer(DeviceServiceError("the service has failed: see its log")), 500, {}, "application/json"
    )


class Ending:
    """Around the application: a request that is broken off because the service ends is told so. The server itself would say
    500, and a client that reads this waits for the service to come back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if begun:
                raise
            await (await refused(Request(scope), ending()))(scope, receive, send)


@dataclass
class Changes:
    """What the measuring thread tells the event loop."""

    loop: asyncio.AbstractEventLoop
    event: asyncio.Event

    @classmethod
    def here(cls) -> "Changes":
        return cls(asyncio.get_running_loop(), asyncio.Event())

    def tell(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            self.loop.call_soon_threadsafe(self.event.set)


class Readings(Response):
    """The readings of a request, piece by piece as they are measured.

    Where they break off, the connection is closed: a client that asks again by the same request id gets the rest, or the reason
    why there is none.

    Args:
        seconds: for which a reader may take nothing.
        end: called at the end.
    """

    def __init__(
        self,
        request: Request,
        frames: Frames,
        rows: Rows,
        changes: Changes,
        *,
        seconds: float,
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._request, self._frames, self._rows, self._changes, self._seconds = request, frames, rows, changes, seconds
        self._end = end
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending, leaving = asyncio.create_task(self._send(scope, receive, send)), asyncio.create_task(_gone(receive))
        tasks = sending, leaving
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._end()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not self._rows.settled:
                await run_in_threadpool(self._frames.drop, self._rows)
        if sending.cancelled():
            log(self._request, 499, error="client-left", frames=self._rows.measured)
        elif (error := sending.exception()) is not None and not isinstance(error, _BrokenOff):
            raise error

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        rows, sent = self._rows, 0
        await self._more(0)
        if rows.error is not None and not rows.pieces:
            await (await refused(self._request, rows.error))(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self._told()})
        while True:
            while sent < len(rows.pieces):
                await self._hand_over(send, rows.pieces[sent])
                sent += 1
                rows.sent = sent
                self._frames.go_on()
            if not rows.left and sent == len(rows.pieces):
                break
            if rows.ended and rows.left:
                code = rows.error.code if rows.error is not None else "asked-again"
                log(self._request, 200, error=code, frames=rows.measured)
                raise _BrokenOff
            await self._more(sent)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        log(self._request, 200, frames=len(rows.bits))

    async def _more(self, sent: int) -> None:
        """Until there are more pieces than so many, or there will be none."""
        while len(self._rows.pieces) <= sent and not self._rows.ended:
            self._changes.event.clear()
            if len(self._rows.pieces) <= sent and not self._rows.ended:
                await self._changes.event.wait()

    async def _hand_over(self, send: Send, piece: memoryview) -> None:
        for start in range(0, len(piece), _WRITTEN):
            try:
                async with asyncio.timeout(self._seconds):
                    await send(
                        {"type": "http.response.body", "body": piece[start : start + _WRITTEN], "more_body": True}
                    )
            except TimeoutError:
                log(self._request, 200, error="slow-reader", frames=self._rows.measured)
                raise _BrokenOff from None

    def _told(self) -> list[tuple[bytes, bytes]]:
        versions, rows = self._frames.versions, self._rows
        told = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(versions.row_bytes * len(rows.bits)),
            "Cache-Control": "no-store",
            wire.FINGERPRINT: rows.fingerprint,
        }
        if (left := versions.seconds_left(rows.fingerprint)) is not None:
            told[wire.UNTIL] = f"{left:.3f}"
        return [(name.lower().encode(), value.encode()) for name, value in told.items()]


class _BrokenOff(Exception):
    """An answer that goes no further."""


async def _gone(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
