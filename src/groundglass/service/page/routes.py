"""What the operator's browser asks: the page, and its forms. By a cookie alone; a program shows its token at `/status`.

A form is answered if it comes from the page itself: it brings back a value that stands in the page, and the browser says that
it was sent from there.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import cache, wraps
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from groundglass.core.sealed import without_locals
from groundglass.core.text import duration
from groundglass.optics.remote.errors import (
    DeviceServiceError,
    IncompleteBodyError,
    NoSuchDeviceError,
    RoleRefusedError,
    TooLargeError,
    WrongInputsError,
)
from groundglass.service.alarms import HELD
from groundglass.service.answer import log
from groundglass.service.frames import Frames
from groundglass.service.ledger import Ledger
from groundglass.service.page.sessions import SECONDS, Session, Sessions
from groundglass.service.status import Overview
from groundglass.service.who import known

# A form's bytes, and the seconds in which they must have come.
_MOST, _FORM_SECONDS = 4096, 10
# Nothing from elsewhere, no script that stands in the page, in no frame of another page, kept nowhere.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_FILES = {"style.css": "text/css", "refresh.js": "text/javascript"}

Answer = Callable[[Request], Awaitable[Response]]


def routes(ledger: Ledger, overview: Overview, devices: Mapping[str, Frames]) -> list[Route]:
    """Those of the page."""
    page = _Page(ledger, overview, devices)
    return [
        Route("/", page.show),
        Route("/login", page.login, methods=["POST"]),
        Route("/logout", page.logout, methods=["POST"]),
        Route("/redraw", page.redraw, methods=["POST"]),
        *(Route(f"/{name}", _file(name, kind)) for name, kind in _FILES.items()),
    ]


def _said(
    answer: Callable[["_Page", Request], Awaitable[Response]],
) -> Callable[["_Page", Request], Awaitable[Response]]:
    """What is refused is said on the page."""

    @wraps(answer)
    async def answered(page: "_Page", request: Request) -> Response:
        request.state.began = time.monotonic()
        try:
            return await answer(page, request)
        except DeviceServiceError as error:
            log(request, error.status, error=error.code)
            return page.written(request, error.status, str(error))

    return answered


class _Page:
    def __init__(self, ledger: Ledger, overview: Overview, devices: Mapping[str, Frames]) -> None:
        self._ledger, self._overview, self._devices = ledger, overview, devices
        self._sessions = Sessions(ledger)

    @_said
    async def show(self, request: Request) -> Response:
        return self.written(request, 200)

    @_said
    @without_locals
    async def login(self, request: Request) -> Response:
        _check_from_here(request)
        given = await _form(request)
        key = self._sessions.begin(given.get("token", "").strip())
        session = self._sessions.find(key)
        assert session is not None
        known(request, session.client)
        log(request, 303)
        answer = RedirectResponse("./", 303, _HEADERS)
        answer.set_cookie(
            _cookie(request),
            key,
            max_age=SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    @_said
    async def logout(self, request: Request) -> Response:
        await self._checked(request)
        self._sessions.end(request.cookies[_cookie(request)])
        log(request, 303)
        answer = RedirectResponse("./", 303, _HEADERS)
        answer.delete_cookie(_cookie(request), httponly=True, samesite="strict", secure=request.url.scheme == "https")
        return answer

    @_said
    async def redraw(self, request: Request) -> Response:
        session, given = await self._checked(request)
        frames = self._devices.get(given.get("device", ""))
        if frames is None or not session.client.sees(frames.versions.name):
            raise NoSuchDeviceError("there is no such device")
        self._ledger.authorise(session.client, "redraw", frames.versions.name)
        await run_in_threadpool(frames.redraw)
        log(request, 303)
        return RedirectResponse("./", 303, _HEADERS)

    def written(self, request: Request, status: int, said: str = "") -> Response:
        """The page as it is now, or the form to sign in; with what went wrong."""
        session = self._session(request)
        if session is None:
            text = _template("login.html.j2").render(said=said)
            return Response(text, 401 if status == 200 else status, _HEADERS, "text/html")
        seen = self._overview.of(session.client)
        text = _template("status.html.j2").render(
            status=seen,
            client=session.client,
            form=session.form,
            said=said,
            may_redraw="redraw" in session.client.roles,
        )
        return Response(text, status, _HEADERS, "text/html")

    async def _checked(self, request: Request) -> tuple[Session, dict[str, str]]:
        """Who has sent this form, and what is in it."""
        _check_from_here(request)
        session, given = self._session(request), await _form(request)
        if session is None or not hmac.compare_digest(session.form.encode(), given.get("form", "").encode()):
            raise RoleRefusedError("this form is too old, or not this page's: nothing was done")
        return session, given

    def _session(self, request: Request) -> Session | None:
        session = self._sessions.find(request.cookies.get(_cookie(request), ""))
        if session is not None:
            known(request, session.client)
        return session


def _cookie(request: Request) -> str:
    """A browser gives one of the first name to no other host, and takes it by TLS alone."""
    return "__Host-groundglass" if request.url.scheme == "https" else "groundglass"


def _check_from_here(request: Request) -> None:
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise RoleRefusedError("this form was sent from another page: nothing was done")


@without_locals
async def _form(request: Request) -> dict[str, str]:
    body = bytearray()
    try:
        async with asyncio.timeout(_FORM_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > _MOST:
                    raise TooLargeError("a form of this page is shorter")
    except (TimeoutError, ClientDisconnect):
        raise IncompleteBodyError("the form did not come to its end: nothing was done") from None
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=8))
    except ValueError:
        raise WrongInputsError("this is no form of this page") from None


def _file(name: str, kind: str) -> Answer:
    async def answer(request: Request) -> Response:
        return Response(_read(name), 200, _HEADERS, kind)

    return answer


@cache
def _read(name: str) -> str:
    return (files("groundglass.service.page") / "templates" / name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> jinja2.Template:
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {"duration": duration, "number": "{:,}".format, "moment": _moment}
    made.filters |= filters
    made.globals |= {"HELD": HELD}
    return made.get_template(name)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
