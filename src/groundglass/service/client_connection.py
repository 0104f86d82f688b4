"""A client's connection: what it may hold, and for how long."""

import asyncio
import time

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
    token gives way, the one that has been silent for longest: so whoever has none keeps nobody out."""

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
            others = (one for one in self.connections if isinstance(one, ClientConnection) and not one._is_known)
            oldest = min(others, key=lambda one: one._latest)  # at the worst this one itself
            self.connections.discard(oldest)
            oldest.transport.abort()

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
    def _is_known(self) -> bool:
        """Whether what it asks for now was asked with a token."""
        return self._is_answering and "client" in self.cycle.scope["state"]

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
