"""A client's connection: what it may hold, and for how long."""

import asyncio
import time
from collections import Counter

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from groundglass.optics.remote.wire import MOST_BODY

#: Connections at a time.
MOST = 1000
# Seconds in which what was begun to be asked must be there, apart from what an answer waits for; and for which a reader may take
# nothing: more than `Service.reader_seconds`, which says why.
_SECONDS, _READER = 10.0, 90.0
# Bytes of a request before its body, and in all: a body in small chunks takes more than it holds.
_MOST_HEADERS, _MOST_BYTES = 2**16, 2 * MOST_BODY


class ClientConnection(HttpToolsProtocol):
    """One that must ask in some seconds, not without end, and take its answer. Where there are too many, one that has shown no
    token gives way, or one of the client that has most of them: so nobody keeps the others out."""

    _next_look: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    _in_headers, _in_message = True, False
    _heard = 0
    _latest = _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._latest = self._since = time.monotonic()
        self._look_later()
        if len(self.connections) > MOST:
            one = self._gives_way()
            self.connections.discard(one)
            one.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._latest = time.monotonic()
        self._heard += len(data)
        super().data_received(data)
        if self._heard > (_MOST_HEADERS if self._in_headers else _MOST_BYTES):
            self.transport.abort()
        self._look_later()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers, self._in_message, self._heard, self._since = True, True, 0, time.monotonic()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_headers, self._in_message, self._heard = True, False, 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._since = time.monotonic()

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(_READER, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next_look is not None:
            self._next_look.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _client(self) -> str | None:
        """Whose token it has shown for what it asks for now."""
        return self.cycle.scope["state"].get("client") if self._is_answering else None

    def _gives_way(self) -> "ClientConnection":
        """The one that has been silent for longest, of those without a token, else of the client that has most of them."""
        others = [one for one in self.connections if isinstance(one, ClientConnection) and one is not self]
        most, _ = Counter(one._client for one in others).most_common(1)[0]
        name = None if any(one._client is None for one in others) else most
        return min((one for one in others if one._client == name), key=lambda one: one._latest)

    def _look_later(self) -> None:
        if self._next_look is None:
            self._next_look = self.loop.call_later(_SECONDS, self._look)

    def _look(self) -> None:
        """While it answers, that has limits of its own; while it rests, uvicorn's timer runs; else it is late."""
        self._next_look = None
        if not self.transport.is_closing():
            if self._is_answering or time.monotonic() - self._since < 0.99 * _SECONDS:
                return self._look_later()
            if self.timeout_keep_alive_task is not None and not self._in_message:
                return None
        self.transport.abort()  # to close it would wait for its reader
        return None
