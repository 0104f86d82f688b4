"""The service on a socket: a Unix socket, this machine's loopback, or TLS."""

import errno
import logging
import os
import resource
import shutil
import socket
import ssl
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import uvicorn

from groundglass.core.settings import In, fit
from groundglass.optics.remote.connection import is_loopback
from groundglass.service.app import Service, application
from groundglass.service.client_connection import ClientConnection

# 0 is a free one.
_Port = Annotated[int, In("[0, 65535]", "a port")]
# Bytes of a path, as systems have it.
_LONGEST = 103
# Connections that wait to be taken.
_BACKLOG = 2048
# What uvicorn says of it.
_NO_NEWS = (
    "without completing response",
    "Exception in ASGI application",
    "Invalid HTTP request",
    "Unsupported upgrade request",
    "No supported WebSocket library",
)
# Files that may be open: more than there are connections, those that still shake hands included.
_FILES = 2**16
# Seconds for which a connection may rest, and in which requests may still end when the service does.
_REST, _GRACE = 60, 5


def listen_at(path: Path, *, group: str | None = None) -> socket.socket:
    """A Unix socket for its owner alone (0600), or for a group too (0660).

    Raises:
        ValueError: a path that is too long for a socket, no folder for it, or no such group.
        OSError: something else stands there, or somebody serves there.
    """
    if not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent} for the socket: make it first, or give another path")
    if len(os.fsencode(path)) > _LONGEST:
        raise ValueError(f"{path} is too long for a socket, which may have {_LONGEST} bytes: give a shorter path")
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(f"{path} is there, and is no socket: give another place")
        with socket.socket(socket.AF_UNIX) as other:
            other.setblocking(False)
            try:
                with suppress(BlockingIOError):  # it has so many clients that it lets none in now
                    other.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()  # of a service that is gone
            else:
                raise FileExistsError(f"another service listens at {path}: end it first, or give another place")
    listening = socket.socket(socket.AF_UNIX)
    try:
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        if group is not None:
            _let_in(path, group)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


@contextmanager
def kept_in_place(path: Path) -> Iterator[None]:
    """Remove a Unix socket at the end; not one that another service has put there meanwhile."""
    mine = path.lstat()
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            now = path.lstat()
            # A new one may have the number of one that was just removed.
            if os.path.samestat(now, mine) and now.st_mtime_ns == mine.st_mtime_ns:
                path.unlink()


def _let_in(path: Path, group: str) -> None:
    try:
        shutil.chown(path, group=group)
    except (LookupError, PermissionError) as error:
        path.unlink()
        why = "this user is not in it" if isinstance(error, PermissionError) else "there is none on this machine"
        raise ValueError(
            f"the group {group!r:.80} cannot be let in at the socket, as {why}: give another --group"
        ) from None
    path.chmod(0o660)


def listen_on(host: str, port: int, *, tls: bool) -> socket.socket:
    """A TCP socket: on the loopback, or with TLS on any address of this machine.

    Raises:
        ValueError: no port, or another address than the loopback without TLS.
        OSError: the port is taken, or the address is not this machine's.
    """
    port = fit(_Port, port, "port")
    if not tls and not is_loopback(host):
        raise ValueError(
            f"{host!r:.80} can be reached from other machines, and tokens and readings would go there in the open: give a "
            "certificate by --tls-cert and --tls-key, or serve on 127.0.0.1"
        )
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ValueError(f"no address of the name {host!r:.80}: give one of this machine, such as 127.0.0.1") from error
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        why = {
            errno.EADDRINUSE: "another process has it: end that one first, or give another port",
            errno.EADDRNOTAVAIL: "this machine has no such address: give one of its own",
            errno.EACCES: "this user may not: give a port above 1023",
        }.get(error.errno or 0)
        raise OSError(error.errno, f"cannot serve at {host}:{port}: {why or error.strerror}") from error
    except BaseException:
        listening.close()
        raise
    return listening


class _Quiet(logging.Filter):
    """An answer that is broken off on purpose is no error, what has failed is in our own log, without its words, and whoever
    speaks no HTTP writes no lines there."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not any(one in text for one in _NO_NEWS)


def check_certificate(cert: Path | None, key: Path | None) -> None:
    """
    Raises:
        ValueError: these are no certificate and its private key.
    """
    if cert is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
        except FileNotFoundError as error:
            raise ValueError(f"no certificate {cert}, or no key {key}") from error
        except ssl.SSLError as error:
            why = f" ({error.reason})" if error.reason else ""
            raise ValueError(
                f"{cert} and {key or 'it'} are no certificate and its private key in PEM format{why}: the "
                "certificate file holds the chain, the server's own first"
            ) from error


class _Server(uvicorn.Server):
    """One whose clients hear at once that it ends, instead of waiting for frames that will not come."""

    def __init__(self, service: Service, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.stop()
        await super().shutdown(sockets)


def allow_connections() -> None:
    """As many open files as the system lets this process have: by default they are fewer than connections may be."""
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if most != resource.RLIM_INFINITY and most < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def server(service: Service, *, cert: Path | None = None, key: Path | None = None) -> uvicorn.Server:
    """One that is not running yet: `run(sockets=[...])`.

    Raises:
        ValueError: no certificate and key, or they do not fit.
    """
    logging.getLogger("uvicorn.error").addFilter(_Quiet())
    check_certificate(cert, key)
    config = uvicorn.Config(
        application(service),
        http=ClientConnection,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_REST,
        timeout_graceful_shutdown=_GRACE,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    return _Server(service, config)


@contextmanager
def running(
    service: Service, listening: socket.socket, *, cert: Path | None = None, key: Path | None = None
) -> Iterator[None]:
    """The service in a thread of this process: for notebooks and tests. A secret is safe in a process of its own alone."""
    one = server(service, cert=cert, key=key)
    thread = threading.Thread(target=one.run, kwargs={"sockets": [listening]}, name="device service", daemon=True)
    thread.start()
    try:
        while not one.started and thread.is_alive():
            time.sleep(0.002)
        yield
    finally:
        one.should_exit = True
        thread.join()
        service.close()
        listening.close()
