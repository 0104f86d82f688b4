"""Whoever has no token keeps nobody out: by silence, without end, by reading nothing, or by coming in numbers."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import torch

from groundglass.optics.remote import wire
from tests.contracts.test_device_contract import draw
from tests.service import serving
from tests.service.serving import Bench
from tests.service.test_faults import WIDTH, Raw, lab, rows, slowly, until


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving.bench(body_seconds=0.2) as one:
        one.serve("lab", lab())
        yield one


def opened(bench: Bench, said: bytes = b"") -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(20)
    one.connect(str(bench.socket))
    one.sendall(said)
    return one


def heard(one: socket.socket) -> bytes:
    """All that comes until the service ends the connection."""
    found = b""
    with one, suppress(ConnectionError):
        while got := one.recv(2**16):
            found += got
    return found


def again(one: socket.socket, piece: bytes) -> None:
    for _ in range(10_000):
        one.sendall(piece)


_HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"POST /dev",
        _HEALTH + b"\r\nGET /hea",
        _HEALTH + b"Content-Length: 100\r\n\r\nx",  # that is not read
        b"POST /devices/lab/measure HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",  # without a token
    ],
    ids=range(5),
)
def test_who_does_not_go_on_is_not_waited_for(bench: Bench, said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundglass.service.client_connection._SECONDS", 0.1)
    assert (b'"ok"' in heard(opened(bench, said))) == said.startswith(b"GET")


def test_a_blank_line_is_no_beginning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundglass.service.client_connection._SECONDS", 0.1)
    one = opened(bench, _HEALTH + b"\r\n")
    assert b"200" in one.recv(2**16)
    one.sendall(b"\n")
    assert heard(one) in (b"", b'{"status":"ok"}')


@pytest.mark.parametrize(
    "ending", [b"GET /health HTTP/1.1\r\nX: ", _HEALTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: "], ids=range(2)
)
def test_headers_without_end(bench: Bench, ending: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundglass.service.client_connection._MOST_BYTES", 2**17)
    one = opened(bench, ending)
    with pytest.raises(ConnectionError):
        again(one, bytes([121]) * 2**16)
    one.close()


def test_who_does_not_read_is_not_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundglass.service.client_connection._READER", 0.1)
    one = opened(bench)
    with pytest.raises(ConnectionError):
        again(one, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
    one.close()


def test_more_connections_than_there_may_be(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have shown no token give way to those who have; who is being answered does not."""
    slowly(bench)
    monkeypatch.setattr("groundglass.service.client_connection.MOST", 3)
    token = bench.token("alice")
    raw = Raw(bench, token, "slow", **{wire.ROWS: 30, "Content_Length": 30 * WIDTH})
    raw.send(rows(30))
    until(lambda: bench.frames("alice") > 0)
    login = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ntok"
    held = [opened(bench, said) for said in (b"", login, login, b"GET /", b"", login)]
    device = bench.client("lab", token)
    assert torch.equal(device.measure(draw(2)), lab().measure(draw(2)))
    assert raw.answer()[0] == 200
    for one in held:
        one.close()


def test_one_client_has_all_connections_that_there_may_be(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are its own that give way, though all have shown its token and wait for frames."""
    slowly(bench, rate=20.0)
    monkeypatch.setattr("groundglass.service.client_connection.MOST", 3)
    greedy, held = bench.token("greedy"), []
    device = bench.client("lab", timeout=1)
    for _ in range(5):
        held.append(Raw(bench, greedy, "slow", **{wire.ROWS: 30, "Content_Length": 30 * WIDTH}))
        held[-1].send(rows(30))
        time.sleep(0.02)
    assert torch.equal(device.measure(draw(2)), lab().measure(draw(2)))
    for one in held:
        one.socket.close()
