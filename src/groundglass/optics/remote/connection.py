"""Connections to a device service: over a Unix socket, TLS, or to this machine; kept open, and given to one thread at a time.

Python's own client is enough, and it reads an answer straight into the memory that it is for: 8 MB over a Unix socket took 2 ms
that way and 5 ms with httpx.
"""

import hashlib
import hmac
import http.client
import os
import re
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from groundglass.core import forks
from groundglass.core.sealed import Sealed, without_locals
from groundglass.core.text import visible
from groundglass.core.untrusted import read_bytes
from groundglass.optics.remote.errors import DeviceGoneError
from groundglass.optics.remote.wire import MOST_JSON, is_name, is_token
from groundglass.optics.secret_file import check_private

# In the place of a device's name.
_ANY = "ANY"
_PATH = re.compile(r"[!-~]+")
# Connections that wait for the next measurement.
_MOST_IDLE = 8
#: The environment's variable that holds a token.
TOKEN = "GROUNDGLASS_DEVICE_TOKEN"
#: What may go wrong on the way.
BROKEN = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class Address:
    """Where a device is served.

    Attributes:
        device: its name there; "" for the service itself.
        socket: of a service on this machine; then there is no host.
        host, port, tls: else.
        path: of the device at the service, "/devices/NAME"; of the service itself "", or where a proxy has it.
    """

    device: str
    path: str
    socket: Path | None = None
    host: str = "localhost"
    port: int = 0
    tls: bool = False

    @classmethod
    def of(cls, text: str) -> "Address":
        """Of "https://HOST:PORT/devices/NAME", "http://127.0.0.1:PORT/devices/NAME" or "unix:///PATH/TO/SOCKET#NAME".

        Raises:
            ValueError: none of these; or http to another machine, where a token would go in the open.
        """
        form = "write https://HOST:PORT/devices/NAME, or unix:///PATH/TO/SOCKET#NAME on one machine"
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError(f"{text!r:.200} is not the address of a device: {form}") from None
        if parts.username or parts.password:
            raise ValueError(
                "an address holds no user and no password (it is not shown here): give the token as `token`"
            )
        above, _, name = (unquote(parts.fragment) if parts.scheme == "unix" else parts.path).rpartition("/")
        if not is_name(name) or parts.query:
            raise ValueError(f"{text!r:.200} does not end in the name of a device: {form}")
        if parts.scheme == "unix" and not above and not parts.netloc and parts.path.startswith("/"):
            return cls(name, f"/devices/{name}", socket=Path(unquote(parts.path)))
        if parts.scheme not in ("http", "https") or not host or not above.endswith("/devices") or parts.fragment:
            raise ValueError(f"{text!r:.200} is not the address of a device: {form}")
        if not _PATH.fullmatch(parts.path):
            raise ValueError(f"{text!r:.200} has characters that no path of an address has, or only as %XX: {form}")
        if parts.scheme == "http" and not is_loopback(host):
            raise ValueError(
                f"{host!r:.80} is not this machine, and by http the token would go there in the open: give the service a "
                "certificate (`--tls-cert`, `--tls-key`) and write https"
            )
        tls = parts.scheme == "https"
        return cls(name, parts.path, host=host, port=port or (443 if tls else 80), tls=tls)

    @classmethod
    def of_service(cls, text: str) -> "Address":
        """Of a service, "https://HOST:PORT" or "unix:///PATH/TO/SOCKET"; or of one of its devices, whose name is passed over.

        Raises:
            ValueError: neither; or http to another machine.
        """
        if text.startswith("unix:"):
            whole = f"{text.partition('#')[0]}#{_ANY}"
        else:
            whole = f"{re.sub(r'(/devices/[^/]*)?/*$', '', text)}/devices/{_ANY}"
        try:
            one = cls.of(whole)
        except ValueError:
            raise ValueError(
                "this is not the address of a service: write https://HOST:PORT, or unix:///PATH/TO/SOCKET on one machine; "
                "by http, a token goes to this machine alone"
            ) from None
        return replace(one, device="", path=one.path.removesuffix(f"/devices/{_ANY}"))

    def __str__(self) -> str:
        if self.socket is not None:
            return f"unix://{self.socket}" + (f"#{self.device}" if self.device else "")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"


def is_loopback(host: str) -> bool:
    """Whether this is a name or an address of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Token(Sealed):
    """A token that is passed around without being seen."""

    __slots__ = ("_text",)

    def __init__(self, text: object) -> None:
        self._text = text

    @without_locals
    def check(self) -> Self:
        """The token itself, if it can be one.

        Raises:
            ValueError: it cannot; it is not repeated.
        """
        if isinstance(self._text, str) and is_token(self._text):
            return self
        raise ValueError("what was given is no token (it is not shown here): `groundglass device token new` makes one")

    @classmethod
    @without_locals
    def found(cls, given: "Token", file: Path | str | None) -> Self | None:
        """The one that was given; else that in the file; else that of the environment; else none.

        Raises:
            FileNotFoundError, PermissionError: no such file, or others may read it.
            ValueError: no token.
        """
        if file is not None:
            check_private(Path(file), "token file", "what lets its reader measure with the device")
            text: object = read_bytes(Path(file), most=4096).decode(errors="replace").strip()
        else:
            text = os.environ.get(TOKEN) if given._text is None else given._text
        return None if text is None else cls(text).check()

    def reveal(self) -> str:
        """For the header."""
        return str(self._text)

    @without_locals
    def sign(self, text: bytes) -> str:
        """A signature of a text (HMAC-SHA256, hex), which shows nothing of the token."""
        return hmac.new(self.reveal().encode(), b"groundglass\0" + text, hashlib.sha256).hexdigest()


class _Local(http.client.HTTPConnection):
    """Over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Connections(Sealed):
    """Those of one client with one token, which no `repr`, pickle or traceback shows.

    Args:
        ca: a file with certificates that the service's may be signed with; None: those that the system trusts.
        timeout: seconds without a byte.

    Raises:
        ValueError: what cannot be a token.
        OSError: no such file of certificates.
    """

    __slots__ = ("_address", "_idle", "_lock", "_timeout", "_tls", "_token", "ca")

    @without_locals
    def __init__(self, address: Address, token: Token | None, ca: Path | None, timeout: float) -> None:
        self._address, self._token, self._timeout, self.ca = address, token, timeout, ca
        self._tls = ssl.create_default_context(cafile=ca) if address.tls else None
        self._idle: list[http.client.HTTPConnection] = []
        self.forked(0)
        forks.watch(self)

    def forked(self, number: int) -> None:
        """A forked process shares no connection with its parent."""
        self._lock = threading.Lock()
        self.close()

    def sign(self, text: bytes) -> str:
        """A text by the token, see `Token.sign`; empty without one."""
        return "" if self._token is None else self._token.sign(text)

    def close(self) -> None:
        """Those that are open and at rest."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def __del__(self) -> None:
        if hasattr(self, "_lock"):  # else half made
            self.close()

    @contextmanager
    def ask(
        self,
        method: str,
        below: str = "",
        body: bytes | memoryview | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer, whose body is still to be read; if it is read whole, the connection is kept.

        Args:
            below: the path of the device.

        Raises:
            OSError, http.client.HTTPException: it broke; see `BROKEN`.
        """
        with self._lock:
            one = self._idle.pop() if self._idle else None
        connection = self._open() if one is None else one
        whole = False
        try:
            answer = self._send(connection, method, self._address.path + below, body, headers or {})
            yield answer
            whole = answer.isclosed() and not answer.will_close
        finally:
            with self._lock:
                if kept := whole and len(self._idle) < _MOST_IDLE:
                    self._idle.append(connection)
            if not kept:
                connection.close()

    def _open(self) -> http.client.HTTPConnection:
        address = self._address
        if address.socket is not None:
            return _Local(address.socket, self._timeout)
        if self._tls is not None:
            return http.client.HTTPSConnection(address.host, address.port, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(address.host, address.port, timeout=self._timeout)

    @without_locals
    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | memoryview | None,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        told = dict(headers)
        if self._token is not None:
            told["Authorization"] = f"Bearer {self._token.reveal()}"
        try:
            connection.request(method, path, body=body, headers=told)
        except (BrokenPipeError, ConnectionResetError):
            # It may have answered before it had read everything.
            if connection.sock is None:
                raise
        return connection.getresponse()

    def gone(self, error: BaseException) -> DeviceGoneError:
        """What a broken connection means."""
        why = visible(getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
        if isinstance(error, ssl.SSLCertVerificationError):
            return DeviceGoneError(
                f"{self._address} shows a certificate that is not trusted here ({error.verify_message}): give the file that it "
                "is signed with as `ca`, or by --ca-file"
            )
        address, other = self._address, ""
        if isinstance(error, http.client.RemoteDisconnected) and address.socket is None and not address.tls:
            other = "; write https, if it has a certificate"
        elif isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            other = "; write http, if it has no certificate"
        return DeviceGoneError(
            f"{self._address} does not answer ({why}): is `groundglass device serve` running there, and may this user reach it?"
            f"{other}"
        )


def small(answer: http.client.HTTPResponse) -> bytes:
    """The body of an answer that is a description or an error."""
    return answer.read(MOST_JSON)
