"""What a client holds, and what it makes of what may come from an address: never anything but a typed error."""

import io
import json
import math
import os
import pickle
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import trustme

from groundglass.optics import RemoteOPU, SimulatedOPU
from groundglass.optics.remote import errors, wire
from groundglass.optics.remote.connection import Address
from groundglass.service.serve import kept_in_place, listen_at, listen_on, running, server
from tests.contracts.test_device_contract import M, N, draw
from tests.optics.test_forks import in_child
from tests.service import serving
from tests.service.serving import Bench


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with serving.bench() as one:
        one.serve("lab", SimulatedOPU.create(N, M, seed=1))
        yield one


def test_a_token_is_nowhere_to_be_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    token = bench.token()
    device = bench.client("lab", token)
    secret = token.split("_", 2)[2]
    assert secret not in repr(device) + repr(device._connections) + str(vars(type(device)))
    for what in (device, device._connections):
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(what)
    with pytest.raises(TypeError):
        torch.save(device, io.BytesIO())

    def shown(make: object) -> str:
        try:
            make()  # type: ignore[operator]
        except Exception as error:
            return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()) + str(
                error
            )
        raise AssertionError("no error")

    held = bench.socket

    def refused() -> None:
        RemoteOPU(f"unix://{held}#none", token=_SECRET[0])

    def gone() -> None:
        RemoteOPU(f"unix://{held}x#lab", token=_SECRET[0])

    def no_address() -> None:
        RemoteOPU("lab", token=_SECRET[0])

    def no_token() -> None:
        RemoteOPU(f"unix://{held}#lab", token=_SECRET[0] + " x")

    def broken() -> None:
        def fail(*_: object, **__: object) -> None:
            raise ValueError("in the middle")

        monkeypatch.setattr("http.client.HTTPConnection.request", fail)
        device.measure(draw(1))

    _SECRET[:] = [token]
    for make in (refused, gone, no_address, no_token, broken):
        assert secret not in shown(make), make.__name__


_SECRET = [""]


def test_where_a_token_comes_from(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text(bench.token() + "\n")
    file.chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        RemoteOPU(bench.address("lab"), token_file=file)
    file.chmod(0o600)
    assert RemoteOPU(bench.address("lab"), token_file=file).in_features == N
    with pytest.raises(errors.TokenRefusedError):
        RemoteOPU(bench.address("lab"))
    monkeypatch.setenv("GROUNDGLASS_DEVICE_TOKEN", file.read_text().strip())
    assert RemoteOPU(bench.address("lab")).out_features == M
    with pytest.raises(FileNotFoundError):
        RemoteOPU(bench.address("lab"), token_file=tmp_path / "none")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "lab",
            "https://host",
            "https://host/devices/",
            "https://host/lab",
            "unix://s#lab",
            "unix:///s",
            "unix:///s#",
        ),
        *(
            "unix:///s#a/b",
            "ftp://host/devices/lab",
            "https://user:secret@host/devices/lab",
            "https://host:x/devices/lab",
        ),
        *("http://192.0.2.1/devices/lab", "http://example.org:80/devices/lab", "https://host/devices/lab?x=1"),
        *("https://host/devices/..%2Fx", "https://host/devices/a b"),
        *("https://host/a b/devices/lab", "https://host/\xe9/devices/lab"),
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|device|token") as refused:
        RemoteOPU(text, token="x")
    assert "secret" not in str(refused.value)


def test_addresses() -> None:
    assert str(Address.of("https://h/devices/lab")) == "https://h:443/devices/lab"
    assert str(Address.of("http://[::1]:80/devices/lab")) == "http://[::1]:80/devices/lab"
    assert str(Address.of("unix:///run/a%20b/s#lab-2")) == "unix:///run/a b/s#lab-2"
    assert Address.of("https://h/lab/devices/x").path == "/lab/devices/x"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own(bench: Bench) -> None:
    device = bench.client("lab")
    right = device.measure(draw(9))
    assert len(device._connections._idle) == 1
    assert in_child(lambda: (len(device._connections._idle), device.measure(draw(9)).tolist())) == (0, right.tolist())
    assert torch.equal(device.measure(draw(9)), right)


def test_tls_and_who_is_trusted(bench: Bench, tmp_path: Path) -> None:
    ca, other = trustme.CA(), trustme.CA()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    listening = listen_on("127.0.0.1", 0, tls=True)
    address = f"https://127.0.0.1:{listening.getsockname()[1]}/devices/lab"
    service = serving.Service(bench.ledger, bench.service.devices)
    service.close = service.stop = lambda: None  # type: ignore[method-assign]  # others use its devices
    with running(service, listening, cert=tmp_path / "both.pem"):
        device = RemoteOPU(address, token=bench.token(), ca=tmp_path / "ca.pem")
        assert torch.equal(device.measure(draw(50)), bench.client("lab").measure(draw(50)))
        for trusted in (tmp_path / "other.pem", None):
            with pytest.raises(errors.DeviceGoneError, match="certificate"):
                RemoteOPU(address, token="x", ca=trusted)
        with pytest.raises(errors.DeviceGoneError, match="write https"):
            RemoteOPU(address.replace("https", "http"), token="x", timeout=2)
        device.close()
    plain = listen_on("127.0.0.1", 0, tls=False)
    address = f"https://127.0.0.1:{plain.getsockname()[1]}/devices/lab"
    with running(service, plain), pytest.raises(errors.DeviceGoneError, match="write http,"):
        RemoteOPU(address, token="x", ca=tmp_path / "ca.pem", timeout=2)
    with pytest.raises(ValueError, match="PEM"):
        server(bench.service, cert=tmp_path / "ca.pem", key=tmp_path / "ca.pem")


def test_where_a_service_listens(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--tls-cert"):
        listen_on("0.0.0.0", 0, tls=False)
    for port in (-1, 65_536, 99_999):  # systems may take the last 16 bits
        with pytest.raises(ValueError, match="port"):
            listen_on("127.0.0.1", port, tls=False)
    with pytest.raises(ValueError, match="group"):
        listen_at(tmp_path / "s", group="no such group")
    assert not (tmp_path / "s").exists()
    (tmp_path / "file").write_text("x")
    for port in (-1, 65536, 80000):
        with pytest.raises(ValueError, match="port"):
            listen_on("127.0.0.1", port, tls=False)
    with pytest.raises(ValueError, match=r"no\.such\.invalid"):
        listen_on("no.such.invalid", 0, tls=True)
    with listen_on("127.0.0.1", 0, tls=False) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
            listen_on("127.0.0.1", port, tls=False)
    with pytest.raises(ValueError, match="no folder"):
        listen_at(tmp_path / "none" / "s")
    with pytest.raises(ValueError, match="no-such-group"):
        listen_at(tmp_path / "s", group="no-such-group")
    assert not (tmp_path / "s").exists()
    with pytest.raises(FileExistsError, match="no socket"):
        listen_at(tmp_path / "file")
    with pytest.raises(ValueError, match="too long"):
        listen_at(tmp_path / ("s" * 200))
    one = listen_at(tmp_path / "s")
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError, match="another service"):
        listen_at(tmp_path / "s")
    one.close()
    listen_at(tmp_path / "s").close()  # what a service that was killed has left
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as client:
        full.bind(str(tmp_path / "full"))
        full.listen(0)
        client.connect(str(tmp_path / "full"))
        with pytest.raises(FileExistsError, match="another service"):
            listen_at(tmp_path / "full")


def test_a_service_removes_its_own_socket_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    one = listen_at(path)
    with kept_in_place(path):
        one.close()
        other = listen_at(path)  # begun before the first has ended
    with kept_in_place(path):
        assert path.exists()
    assert not path.exists()
    other.close()


class Liar:
    """Answers each connection by the next of some bytes, and closes it."""

    def __init__(self, path: Path, *answers: bytes) -> None:
        self._socket = listen_at(path)
        self._answers = answers
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for answer in self._answers:
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(0.1)
                connection.recv(2**16)
                with suppress(OSError):  # it has heard enough
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(2**16):
                        pass

    def close(self) -> None:
        self._thread.join(5)
        self._socket.close()


def told(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


def facts(**others: object) -> bytes:
    """A description of a device, with something else in it."""
    return told(json.dumps({**wire.describe(SimulatedOPU.create(N, M, seed=1)), **others}).encode())


def test_a_description_that_is_one(tmp_path: Path) -> None:
    liar = Liar(tmp_path / "s", facts(), *[told(text, 200) for text in (b"[]", b'{"new": "\x1b"}', b"no", b"{}")])
    device = RemoteOPU(f"unix://{tmp_path}/s#lab", token="x", timeout=5)
    for _ in range(4):
        device.close()  # as the other side does
        with pytest.raises(errors.DeviceServiceError, match="which matrix"):
            device.redraw()
    liar.close()


@pytest.mark.parametrize(
    "answer",
    [
        *(
            b"",
            b"hello\r\n",
            b"HTTP/1.1 200 X\r\ncontent-length: 50\r\n\r\n{",
            told(b"<html>"),
            told(b"[1]"),
            told(b"{}"),
        ),
        *(told(b"no", 502), told(b'{"error": 3}', 429), told(b"[" * 50_000), told(b"{" + b" " * 2**17)),
        told(b'{"error": "too-fast", "message": "\x1b[31m", "details": [], "retry_after": "x"}', 429),
        told(b'{"error": "too-fast", "message": 3, "details": {}, "retry_after": 1e400}', 429),
        told(b'{"error": "matrix-redrawn", "message": "", "details": {"new": "\x1b[2J"}, "retry_after": null}', 409),
        b"\x1b[31m\r\n",
        *(
            told(b"HTTP/1.1 302 X\r\nLocation: http://192.0.2.1/\r\n\r\n"),
            facts(mean_reading=math.nan),
            facts(mean_reading=math.inf),
            facts(in_features=10**12),
            facts(rows=10**12),
            facts(camera={"bits": 99}),
            facts(fingerprint="\x1b[31m"),
            facts(kind="\x1b[31m"),
            facts(roles=["\x1b[31m"]),
            facts(budget={"\x1b[31m": 1}),
            facts(budget={"frames": -1}),
        ),
    ],
)
def test_what_is_no_answer(answer: bytes, tmp_path: Path) -> None:
    liar = Liar(tmp_path / "s", answer)
    with pytest.raises(errors.DeviceServiceError) as said:
        RemoteOPU(f"unix://{tmp_path}/s#lab", token="x", timeout=5)
    liar.close()
    assert "\x1b" not in f"{said.value} {said.value.details}"


def test_readings_that_are_none(bench: Bench, tmp_path: Path) -> None:
    """Too few, too many, of another matrix, or cut: a typed error, never readings."""
    right = bench.client("lab")
    path = tmp_path / "s"
    head = b"HTTP/1.1 200 X\r\nGroundglass-Fingerprint: %s\r\ncontent-length: %d\r\n\r\n"
    name = right.fingerprint.encode()
    for answer in (
        head % (name, 2 * M - 1),
        head % (name, 10**13),
        head % (b"other", 2 * M),
        b"HTTP/1.1 200 X\r\n\r\n",
        head[:-2] % (name, 2 * M) + b"Content-Encoding: gzip\r\n\r\n",
        head[:-2] % (name, 2 * M) + b"Groundglass-Seconds-Left: nan\r\n\r\n",
        head[:-2] % (name, 2 * M) + b"Groundglass-Seconds-Left: soon\r\n\r\n",
        told(b'{"error": "too-fast", "message": "", "details": {}, "retry_after": -1}', 429),
        told(b'{"error": "too-fast", "message": "", "details": {}, "retry_after": "nan"}', 429),
    ):
        device = bench.client("lab", timeout=0.3)
        device._connections._address = Address("lab", "/devices/lab", socket=path)
        device._connections.close()
        liar = Liar(path, answer + bytes(2 * M))
        with pytest.raises(errors.DeviceServiceError):
            device.measure(draw(2))
        liar.close()
        path.unlink()
