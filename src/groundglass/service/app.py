"""The service as an ASGI application: who asks, for what, and the answer."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Protocol

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from groundglass.optics.remote import wire
from groundglass.optics.remote.errors import (
    DeviceServiceError,
    IncompleteBodyError,
    MatrixRedrawnError,
    NoSuchDeviceError,
    RoleRefusedError,
    TokenRefusedError,
    TooLargeError,
    WrongInputsError,
)
from groundglass.optics.streams.packed import packed_width
from groundglass.service.frames import Counts, Frames
from groundglass.service.kept import Answers
from groundglass.service.turns import Request as Rows

LOG = logging.getLogger("groundglass.service")
# Seconds in which a body must have come, and in which a reader must take something.
_BODY, _READER = 30.0, 60.0
# Bytes that are handed to the connection at a time: more are copied once more.
_WRITTEN = 2**18


class Ledger(Counts, Protocol):
    """What the application needs of the ledger; see `ledger.py`."""

    def authenticate(self, token: str) -> Any: ...

    def begin(self, client: Any, device: str, rows: int) -> Any: ...

    def left(self, client: Any) -> Any: ...


@dataclass
class Service:
    """All that is served, and the ledger.

    Attributes:
        body_seconds: in which the body of a measurement must have come.
        reader_seconds: in which a reader must take something.
    """

    ledger: Ledger
    devices: dict[str, Frames] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    body_seconds: float = _BODY
    reader_seconds: float = _READER

    def close(self) -> None:
        for frames in self.devices.values():
            frames.close()


def application(service: Service) -> Starlette:
    """The routes."""
    door = _Door(service)
    return Starlette(
        routes=[
            Route("/health", door.health),
            Route("/devices", door.devices),
            Route("/devices/{name}", door.facts),
            Route("/devices/{name}/measure", door.measure, methods=["POST"]),
            Route("/devices/{name}/redraw", door.redraw, methods=["POST"]),
        ],
        exception_handlers={DeviceServiceError: _refused, Exception: _failed},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, DeviceServiceError)
    headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooLargeError | IncompleteBodyError):
        headers["Connection"] = "close"  # what was not read is not waited for
    log(request, error.status, error=error.code)
    return Response(wire.error_answer(error), error.status, headers, "application/json")


async def _failed(request: Request, error: Exception) -> Response:
    log(request, 500, error=type(error).__name__)
    # Its words may hold what is nobody's business.
    return Response(
        wire.error_answer(DeviceServiceError("the service has failed: see its log")), 500, {}, "application/json"
    )


def log(request: Request, status: int, **told: object) -> None:
    """One line of JSON a request: who, which device, how many frames. No bits, no readings, no token."""
    about = {
        "time": round(time.time(), 3),
        "client": getattr(request.state, "client", None),
        "what": f"{request.method} {request.scope.get('route_path', '')}".strip(),
        "device": request.path_params.get("name"),
        "status": status,
        "seconds": round(time.monotonic() - getattr(request.state, "began", time.monotonic()), 4),
    }
    LOG.info(json.dumps(about | told))


class _Door:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def devices(self, request: Request) -> Response:
        client = self._who(request)
        return JSONResponse({"devices": [name for name in self._service.devices if _may_see(client, name)]})

    async def facts(self, request: Request) -> Response:
        client = self._who(request)
        frames = self._find(request, client)
        told = frames.versions.facts(roles=tuple(sorted(client.roles)))
        left = self._service.ledger.left(client)
        told["budget"] = asdict(left) if is_dataclass(left) and not isinstance(left, type) else left
        log(request, 200)
        return JSONResponse(told)

    async def redraw(self, request: Request) -> Response:
        client = self._who(request)
        frames = self._find(request, client)
        _check_role(client, "redraw")
        old = frames.versions.current.device.fingerprint
        await run_in_threadpool(frames.redraw)
        log(request, 200)
        return JSONResponse({"old": old, "new": frames.versions.current.device.fingerprint})

    async def measure(self, request: Request) -> Response:
        client = self._who(request)
        frames = self._find(request, client)
        _check_role(client, "measure")
        rows, key, exposure, fingerprint = self._asked(request, client, frames)
        bits = await self._body(request, rows, packed_width(frames.versions.in_features))
        _check_padding(bits, frames.versions.in_features)
        frames.check(client.name)
        loop, changed = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(changed.set)

        one = Rows(client.name, bits, fingerprint, exposure, None, tell)
        if key is not None:
            await self._take_over(key, frames, one)
        if one.left and one.error is None:
            one.batch = await run_in_threadpool(self._service.ledger.begin, client, _device(request), one.left)
            try:
                frames.put(one)
            except DeviceServiceError:
                await run_in_threadpool(self._service.ledger.end, one.batch)
                raise
        if key is not None:
            self._service.answers.keep(key, one)
        return _Answer(self._service, request, frames, one, changed)

    def _who(self, request: Request) -> Any:
        request.state.began = time.monotonic()
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not wire.is_token(token):
            raise TokenRefusedError("this token is not known here: ask who runs the service for one")
        client = self._service.ledger.authenticate(token)
        request.state.client = client.name
        return client

    def _find(self, request: Request, client: Any) -> Frames:
        name = _device(request)
        frames = self._service.devices.get(name)
        if frames is None or not _may_see(client, name):
            raise NoSuchDeviceError(
                "this token may use no device of that name here: GET /devices lists those that it may"
            )
        return frames

    def _asked(
        self, request: Request, client: Any, frames: Frames
    ) -> tuple[int, tuple[str, str, str] | None, float, str]:
        """What the headers say."""
        told, versions = request.headers, frames.versions
        fingerprint = told.get(wire.FINGERPRINT) or versions.current.device.fingerprint
        facts = versions.facts()
        versions.find(fingerprint)
        rows = _number(told, wire.ROWS, int, "the rows of bits in the body")
        if rows < 1:
            raise WrongInputsError(f"`{wire.ROWS}` (={rows}) must be at least 1")
        if rows > facts["rows"]:
            raise TooLargeError(f"{rows} rows are more than this device takes at once, {facts['rows']}: ask in parts")
        exposure = _number(told, wire.EXPOSURE, float, "times the device's own") if wire.EXPOSURE in told else 1.0
        if not 0 < exposure < math.inf:
            raise WrongInputsError(f"`{wire.EXPOSURE}` (={exposure}) must be above 0: times the device's own")
        if exposure != 1:
            _check_role(client, "calibrate")
            if not hasattr(versions.current.device, "measure_at"):
                raise RoleRefusedError("the exposure of this device cannot be set from here")
        name = told.get(wire.REQUEST)
        if name is not None and not wire.is_request(name):
            raise WrongInputsError(f"`{wire.REQUEST}` must be 1 to 64 letters, digits and hyphens")
        return rows, None if name is None else (client.name, versions.name, name), exposure, fingerprint

    async def _body(self, request: Request, rows: int, width: int) -> Any:
        """Packed bits, [rows, width]."""
        wanted = rows * width
        told = request.headers.get("content-length")
        if told is not None and int(told) != wanted:
            kind = TooLargeError if int(told) > wanted else WrongInputsError
            raise kind(
                f"{int(told)} bytes are not {rows} rows of {width} bytes, 8 of the device's inputs a byte: is this a device of "
                "another size?"
            )
        body = bytearray()
        try:
            async with asyncio.timeout(self._service.body_seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > wanted:
                        raise TooLargeError(
                            f"the body has more than {rows} rows of {width} bytes: it was not read further"
                        )
        except TimeoutError:
            raise IncompleteBodyError(
                f"{len(body)} of {wanted} bytes had come after {self._service.body_seconds:g} s, and no frame was taken: ask for "
                "fewer rows at a time, or over a faster line"
            ) from None
        except ClientDisconnect:
            raise IncompleteBodyError("the client has left before its body was there: no frame was taken") from None
        if len(body) != wanted:
            raise IncompleteBodyError(f"the body ended after {len(body)} of {wanted} bytes: no frame was taken")
        return np.frombuffer(body, dtype=np.uint8).reshape(rows, width)

    async def _take_over(self, key: tuple[str, str, str], frames: Frames, one: Rows) -> None:
        """What was measured for the same request before, if its client asks again."""
        before = self._service.answers.find(key, one)
        if before is None:
            return
        await run_in_threadpool(frames.drop, before)
        async with asyncio.timeout(_READER):
            while not before.settled:  # it is in the device's hands
                await asyncio.sleep(0.005)
        one.pieces, one.measured, one.error = before.pieces, before.measured, before.error


class _Answer(Response):
    """Readings, piece by piece as they are measured. Where they break off, the connection is closed: whoever asks again gets the
    rest, or why there is none."""

    def __init__(self, service: Service, request: Request, frames: Frames, rows: Rows, changed: asyncio.Event) -> None:
        self._service, self._request, self._frames, self._rows, self._changed = service, request, frames, rows, changed
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rows = self._rows
        sending, left = asyncio.ensure_future(self._send(scope, receive, send)), asyncio.ensure_future(_leaves(receive))
        try:
            await asyncio.wait((sending, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, left):
                if not task.done():
                    task.cancel()
            await asyncio.gather(sending, left, return_exceptions=True)
            if not rows.settled and rows.batch is not None:
                await run_in_threadpool(self._frames.drop, rows)
        if sending.cancelled():
            log(self._request, 499, error="client-left", frames=rows.measured)
        elif (error := sending.exception()) is not None and not isinstance(error, _BrokenOff):
            raise error

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        rows, sent = self._rows, 0
        await self._wait(0)
        if rows.error is not None and not rows.pieces:
            await (await _refused(self._request, rows.error))(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": self._told()})
        while True:
            for piece in rows.pieces[sent:]:
                for start in range(0, len(piece), _WRITTEN):
                    await self._hand_over(send, piece[start : start + _WRITTEN], more=True)
                sent += 1
                rows.sent = sent
                self._frames.go_on()
            if not rows.left and sent == len(rows.pieces):
                break
            await self._wait(sent)
            if rows.error is not None and sent == len(rows.pieces):
                log(self._request, rows.error.status, error=rows.error.code, frames=rows.measured)
                raise _BrokenOff
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        log(self._request, 200, frames=len(rows.bits))

    async def _wait(self, sent: int) -> None:
        """Until there are more pieces than so many, or there will be none."""
        while len(self._rows.pieces) <= sent and not self._rows.ended:
            self._changed.clear()
            if len(self._rows.pieces) <= sent and not self._rows.ended:
                await self._changed.wait()

    async def _hand_over(self, send: Send, piece: memoryview, *, more: bool) -> None:
        try:
            async with asyncio.timeout(self._service.reader_seconds):
                await send({"type": "http.response.body", "body": piece, "more_body": more})
        except TimeoutError:
            log(self._request, 408, error="slow-reader", frames=self._rows.measured)
            raise _BrokenOff from None

    def _told(self) -> list[tuple[bytes, bytes]]:
        versions, rows = self._frames.versions, self._rows
        told = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(versions.row_bytes * len(rows.bits)),
            wire.FINGERPRINT: rows.fingerprint,
            "Cache-Control": "no-store",
        }
        with suppress(MatrixRedrawnError):
            if (until := versions.find(rows.fingerprint).until) is not None:
                told[wire.UNTIL] = f"{max(0.0, until - time.time()):.3f}"
        return [(name.lower().encode(), value.encode()) for name, value in told.items()]


class _BrokenOff(Exception):
    """An answer that goes no further."""


async def _leaves(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _device(request: Request) -> str:
    return str(request.path_params["name"])


def _may_see(client: Any, name: str) -> bool:
    return "*" in client.devices or name in client.devices


def _check_role(client: Any, role: str) -> None:
    if role not in client.roles:
        raise RoleRefusedError(
            f"this token does not have the role {role}: ask who runs the service for one that has it"
        )


def _check_padding(bits: Any, in_features: int) -> None:
    unused = 8 * bits.shape[1] - in_features
    if unused and int((bits[:, -1] & (2**unused - 1)).max()):
        raise WrongInputsError(
            f"the last {unused} bits of a row must be 0: they are past the last of {in_features} inputs. Pack with the first bit "
            "highest, as numpy.packbits(bits, axis=1) does"
        )


def _number(told: Mapping[str, str], name: str, kind: Callable[[str], Any], what: str) -> Any:
    try:
        return kind(told[name])
    except (KeyError, ValueError):
        raise WrongInputsError(f"the header {name} is missing or no number: it says {what}") from None
