"""`groundglass device top`: the figures of a service on the terminal, once or until q."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from groundglass import cli
from groundglass.optics import SimulatedOPU
from groundglass.optics.remote import errors
from groundglass.optics.remote.connection import Address
from groundglass.service.serve import listen_on, running
from groundglass.service.watch import Watch
from tests.contracts.test_device_contract import M, N, draw
from tests.service import serving
from tests.service.serving import Bench
from tests.service.test_answers import Liar, told
from tests.service.test_redraw import ONE_BIT, Sees


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with serving.bench() as one:
        one.serve("lab", SimulatedOPU.create(N, M), watch=Watch(Sees(), "refuse"), rate=2000.0)
        one.client("lab", one.token("alice", frames=1000)).measure(draw(25))
        with pytest.raises(errors.GuardedError):
            one.client("lab", one.token("mallory")).measure(ONE_BIT)
        yield one


@pytest.fixture
def token(bench: Bench, tmp_path: Path) -> Path:
    return written(tmp_path, bench.token(roles=("administer",)))


def written(folder: Path, token: str) -> Path:
    file = folder / "token"
    file.write_text(token)
    file.chmod(0o600)
    return file


def rows(text: str) -> list[list[str]]:
    """Of tables: the cells."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]


def test_once(bench: Bench, token: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["device", "top", f"unix://{bench.socket}", "--once", "--token-file", str(token)]) == 0
    shown = capfd.readouterr().out
    assert token.read_text() not in shown
    found = {tuple(row[:2]): row for row in rows(shown)}
    assert found["alice", "lab"] == ["alice", "lab", "25", "25", "25", "975", "", "good"]
    assert found["mallory", "lab"][-1] == "shut out"
    lab = found["lab", bench.service.devices["lab"].versions.fingerprint[:12]]
    assert lab[3:] == ["25", "", "2,000", "refuse", "1", "measures"]
    assert "1 guarded" in shown
    (alarm,) = (row for row in rows(shown) if len(row) == 8 and row[3] == "weight")
    assert alarm[1:] == ["mallory", "lab", "weight", "5", "4", "7", "refuse"]


def test_over_tls_and_by_the_address_of_a_device(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    listening = listen_on("127.0.0.1", 0, tls=True)
    address = f"https://127.0.0.1:{listening.getsockname()[1]}/devices/lab"
    with serving.bench() as own, running(own.service, listening, cert=tmp_path / "cert.pem"):
        token = written(tmp_path, own.token(roles=("administer",)))
        words = ["device", "top", address, "--once", "--token-file", str(token)]
        assert cli.main(words) == 1
        assert cli.main([*words, "--ca-file", str(tmp_path / "ca.pem")]) == 0


def test_addresses_of_services() -> None:
    texts = {
        "unix:///run/s": "unix:///run/s",
        "unix:///run/s#lab": "unix:///run/s",
        "https://h": "https://h:443",
        "https://h:8443/": "https://h:8443",
        "https://h/gg/devices/lab": "https://h:443/gg",
        "http://127.0.0.1:80/gg/": "http://127.0.0.1:80/gg",
    }
    assert {text: str(Address.of_service(text)) for text in texts} == texts
    for text in ("lab", "http://example.org", "ftp://h", "https://u:secret@h", "unix://s", "https://h?x=1"):
        with pytest.raises(ValueError, match="address of a service") as refused:
            Address.of_service(text)
        assert "secret" not in str(refused.value)


def test_who_may_not(bench: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    where = f"unix://{bench.socket}"
    reader = written(tmp_path, bench.token(roles=("measure",)))
    assert cli.main(["device", "top", where, "--once", "--token-file", str(reader)]) == 1
    assert "administer" in capfd.readouterr().err
    assert cli.main(["device", "top", where, "--once"]) == 1
    assert "GROUNDGLASS_DEVICE_TOKEN" in capfd.readouterr().err
    assert cli.main(["device", "top", f"{where}x", "--once", "--token-file", str(reader)]) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", json.dumps({"now": 1, "ahead": 0, "up": 0, "devices": [{}]}).encode()]
)
def test_what_is_no_status(body: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    token = written(tmp_path, "x")
    liar = Liar(tmp_path / "s", told(body))
    assert cli.main(["device", "top", f"unix://{tmp_path}/s", "--once", "--token-file", str(token)]) == 1
    liar.close()
    said = capfd.readouterr().err
    assert f"{tmp_path}/s" in said
    assert "Traceback" not in said


def test_until_q(bench: Bench, token: Path) -> None:
    mine, its = pty.openpty()
    command = [
        sys.executable,
        "-m",
        "groundglass.cli",
        "device",
        "top",
        f"unix://{bench.socket}#lab",
        "--every",
        "0.05",
    ]
    environment = os.environ | {"GROUNDGLASS_DEVICE_TOKEN": token.read_text(), "TERM": "xterm", "COLUMNS": "140"}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment) as process:
        os.close(its)
        seen, end = "", time.monotonic() + 60
        alice = bench.client("lab", bench.token("alice-later"))

        def until(pattern: str) -> None:
            nonlocal seen
            while not re.search(pattern, seen):
                assert time.monotonic() < end, seen[-2000:]
                if select.select([mine], [], [], 0.2)[0]:
                    seen += os.read(mine, 65536).decode(errors="replace")

        try:
            until("alice-later")
            alice.measure(draw(77))
            until(r"alice-later[^\n]*77")
            os.write(mine, b"q")
            assert process.wait(20) == 0
        finally:
            process.kill()
            os.close(mine)
    assert token.read_text() not in seen
