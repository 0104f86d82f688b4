"""The service as an ASGI application: who asks, for what, and whether it may be."""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from groundglass.core.schema import plain
from groundglass.optics.remote import wire
from groundglass.optics.remote.errors import (
    DeviceServiceError,
    IncompleteBodyError,
    NoSuchDeviceError,
    RoleRefusedError,
    TooLargeError,
    WrongInputsError,
)
from groundglass.optics.streams.packed import packed_width
from groundglass.service.answer import Changes, Ending, Readings, failed, log, nothing_there, refused
from groundglass.service.frames import Frames
from groundglass.service.kept import Answers, Key
from groundglass.service.ledger import Ledger
from groundglass.service.metrics import exposition
from groundglass.service.openapi import DESCRIPTION
from groundglass.service.page.routes import routes as page
from groundglass.service.policy import Versions
from groundglass.service.status import Overview
from groundglass.service.tokens import Client
from groundglass.service.turns import Request as Rows
from groundglass.service.under_way import UnderWay
from groundglass.service.who import holder

# Seconds between two looks at a request that is in the device's hands.
_LOOK = 0.005


@dataclass
class Service:
    """All that is served, and the ledger.

    Attributes:
        devices: by their names.
        body_seconds: in which the body of a measurement must have come.
        reader_seconds: for which a reader may take nothing.
        overview: how it stands.
    """

    ledger: Ledger
    devices: dict[str, Frames] = field(default_factory=dict)
    answers: Answers = field(default_factory=Answers)
    body_seconds: float = 30.0
    reader_seconds: float = 60.0
    under_way: UnderWay = field(default_factory=UnderWay)
    overview: Overview = field(init=False)

    def __post_init__(self) -> None:
        self.overview = Overview(self.ledger, self.devices)

    def stop(self) -> None:
        """What waits gets an error, and nothing more is measured. Does not wait."""
        for frames in list(self.devices.values()):
            frames.stop()

    def close(self) -> None:
        """`stop`, and wait until it is done."""
        self.stop()
        for frames in list(self.devices.values()):
            frames.close()


def application(service: Service) -> Starlette:
    """The routes; `openapi.py` describes them, but for those of the operator's page."""
    door = _Door(service)
    application = Starlette(
        routes=[
            Route("/health", door.health),
            Route("/openapi.json", door.description),
            Route("/devices", door.devices),
            Route("/devices/{name}", door.facts),
            Route("/devices/{name}/measure", door.measure, methods=["POST"]),
            Route("/devices/{name}/redraw", door.redraw, methods=["POST"]),
            Route("/status", door.status),
            Route("/metrics", door.metrics),
            *page(service.ledger, service.overview, service.devices),
        ],
        exception_handlers={DeviceServiceError: refused, HTTPException: nothing_there, Exception: failed},
        middleware=[Middleware(Ending)],
    )
    application.router.redirect_slashes = False
    application.state.overview = service.overview
    return application


class _Door:
    """The endpoints."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._ledger = service.ledger

    async def health(self, request: Request) -> Response:
        alive = all(frames.alive for frames in self._service.devices.values())
        return JSONResponse({"status": "ok" if alive else "ending"}, 200 if alive else 503)

    async def description(self, request: Request) -> Response:
        return JSONResponse(DESCRIPTION)

    async def devices(self, request: Request) -> Response:
        client = self._who(request)
        log(request, 200)
        return JSONResponse({"devices": [name for name in self._service.devices if client.sees(name)]})

    async def facts(self, request: Request) -> Response:
        client = self._who(request)
        told = self._find(request, client).versions.facts(roles=tuple(sorted(client.roles)))
        # More at a time could never be begun. More than a day allows is not cut: its second part would wait for tomorrow.
        limits = told["rows"], client.budgets.frames_a_second
        told["rows"] = max(1, min(limit for limit in limits if limit is not None))
        told["budget"] = {name: left for name, left in asdict(self._ledger.left(client)).items() if left is not None}
        log(request, 200)
        return JSONResponse(told)

    async def redraw(self, request: Request) -> Response:
        client = self._who(request)
        frames = self._find(request, client)
        self._ledger.authorise(client, "redraw")
        old = frames.versions.fingerprint
        await run_in_threadpool(frames.redraw)
        log(request, 200)
        return JSONResponse({"old": old, "new": frames.versions.fingerprint})

    async def status(self, request: Request) -> Response:
        told = plain(self._service.overview.of(self._operator(request)), "status")
        log(request, 200)
        return JSONResponse(told)

    async def metrics(self, request: Request) -> Response:
        text, kind = exposition(self._service.overview.of(self._operator(request)))
        log(request, 200)
        return Response(text, headers={"Content-Type": kind})

    async def measure(self, request: Request) -> Response:
        client = self._who(request)
        frames = self._find(request, client)
        self._ledger.authorise(client, "measure")
        frames.check(client.id)
        count, fingerprint, exposure, name = self._asked(request, client, frames.versions)
        size = count * frames.versions.row_bytes
        end = self._service.under_way.begin(client.id, count * packed_width(frames.versions.in_features) + size)
        try:
            bits = await self._body(request, count, frames.versions.in_features)
            changes = Changes.here()
            rows = Rows(client, bits, fingerprint, exposure, None, changes.tell)
            key = None if name is None else (client.id, frames.versions.name, name)
            if key is not None:
                await self._go_on(key, frames, rows)
            self._begin(frames, rows)
        except BaseException:
            end()
            raise
        if key is not None:
            self._service.answers.keep(key, rows, size)
        return Readings(request, frames, rows, changes, seconds=self._service.reader_seconds, end=end)

    def _begin(self, frames: Frames, rows: Rows) -> None:
        """What is left of these is measured."""
        if not rows.left:
            rows.settled = True
            return
        rows.batch = self._ledger.begin(rows.client, frames.versions.name, rows.left)
        try:
            frames.put(rows)
        except DeviceServiceError:
            self._ledger.end(rows.batch)
            raise

    def _who(self, request: Request) -> Client:
        return holder(request, self._ledger)

    def _operator(self, request: Request) -> Client:
        client = self._who(request)
        self._ledger.authorise(client, "administer")
        return client

    def _find(self, request: Request, client: Client) -> Frames:
        name = str(request.path_params["name"])
        frames = self._service.devices.get(name)
        if frames is None or not client.sees(name):
            seen = ", ".join(filter(client.sees, self._service.devices)) or "none of those that are served here"
            raise NoSuchDeviceError(f"this token is for no device of the name {name!r:.80}: it is for {seen:.400}")
        return frames

    def _asked(self, request: Request, client: Client, versions: Versions) -> tuple[int, str, float, str | None]:
        """What the headers say: rows, fingerprint, exposure, and the request's id."""
        told = request.headers
        version = versions.find(told.get(wire.FINGERPRINT) or versions.fingerprint)
        rows = _number(told, wire.ROWS, int, "the rows of bits in the body")
        if rows < 1:
            raise WrongInputsError(f"`{wire.ROWS}` (={rows}) must be at least 1")
        if rows > versions.rows:
            raise TooLargeError(f"{rows} rows are more than this device takes at once, {versions.rows}: ask in parts")
        exposure = _number(told, wire.EXPOSURE, float, "times the device's own") if wire.EXPOSURE in told else 1.0
        if not 0 < exposure < math.inf:
            raise WrongInputsError(f"`{wire.EXPOSURE}` (={exposure}) must be above 0: times the device's own")
        if exposure != 1:
            self._ledger.authorise(client, "calibrate")
            if not hasattr(version.device, "measure_at"):
                raise RoleRefusedError("the exposure of this device cannot be set from here")
        name = told.get(wire.REQUEST)
        if name is not None and not wire.is_request(name):
            raise WrongInputsError(f"`{wire.REQUEST}` must be 1 to 64 letters, digits and hyphens")
        return rows, version.device.fingerprint, exposure, name

    async def _body(self, request: Request, rows: int, in_features: int) -> npt.NDArray[np.uint8]:
        """Packed bits, [rows, ceil(N / 8)]."""
        width, seconds = packed_width(in_features), self._service.body_seconds
        wanted = rows * width
        told = int(request.headers.get("content-length", wanted))
        if told != wanted:
            kind = TooLargeError if told > wanted else WrongInputsError
            raise kind(
                f"{told} bytes are not {rows} rows of {width} bytes, 8 of the device's {in_features} inputs a byte: is this a "
                "device of another size?"
            )
        body = bytearray()
        try:
            async with asyncio.timeout(seconds):
                async for piece in request.stream():
                    body += piece
                    if len(body) > wanted:
                        raise TooLargeError(
                            f"the body has more than {rows} rows of {width} bytes: it was not read further"
                        )
        except TimeoutError:
            raise IncompleteBodyError(
                f"{len(body)} of {wanted} bytes had come after {seconds:g} s, and no frame was taken: ask for fewer rows at a "
                "time, or over a faster line"
            ) from None
        except ClientDisconnect:
            raise IncompleteBodyError("the client has left before its body was there: no frame was taken") from None
        if len(body) != wanted:
            raise IncompleteBodyError(f"the body ended after {len(body)} of {wanted} bytes: no frame was taken")
        bits = np.frombuffer(body, dtype=np.uint8).reshape(rows, width)
        unused = 8 * width - in_features
        if unused and int((bits[:, -1] & (2**unused - 1)).max()):
            raise WrongInputsError(
                f"the last {unused} bits of a row must be 0: they are past the last of {in_features} inputs. Pack with the first "
                "bit highest, as numpy.packbits(bits, axis=1) does"
            )
        return bits

    async def _go_on(self, key: Key, frames: Frames, rows: Rows) -> None:
        """From what was measured already, if a client asks for the same again."""
        while (before := self._service.answers.find(key, rows)) is not None and not before.settled:
            await run_in_threadpool(frames.drop, before)
            await asyncio.sleep(
                _LOOK
            )  # it may be in the device's hands; and another may have taken its place meanwhile
        if before is None:
            return
        if before.error is not None and before.error.retry_after is None:
            raise before.error
        rows.pieces, rows.measured = [*before.pieces], before.measured


def _number(told: Mapping[str, str], name: str, kind: Callable[[str], Any], what: str) -> Any:
    try:
        return kind(told[name])
    except (KeyError, ValueError):
        raise WrongInputsError(f"the header {name} is missing or no number: it says {what}") from None
