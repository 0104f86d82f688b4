"""What may go wrong on the way: a typed error on the client, nothing counted twice, nothing lost."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from groundglass.optics import LightOnOPU, RemoteOPU, SimulatedOPU
from groundglass.optics.remote import errors, wire
from tests.contracts.test_device_contract import M, N, StandIn, draw
from tests.service import serving
from tests.service.serving import Bench

WIDTH = -(-N // 8)


def lab() -> SimulatedOPU:
    return SimulatedOPU.create(N, M, seed=1)


@pytest.fixture
def bench() -> Iterator[Bench]:
    with serving.bench(body_seconds=0.2) as one:
        one.serve("lab", lab())
        yield one


def until(true: Callable[[], bool]) -> None:
    for _ in range(4000):
        if true():
            return
        time.sleep(0.005)
    raise AssertionError("it never came to be")


class Raw:
    """A request by hand, of which as much is sent as one likes."""

    def __init__(self, bench: Bench, token: str, device: str = "lab", **headers: object) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(bench.socket))
        told = {"Host": "x", "Authorization": f"Bearer {token}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        lines = [f"POST /devices/{device}/measure HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, Any]:
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        body = answer.read()
        self.socket.close()
        return answer.status, json.loads(body) if answer.status != 200 else body


def rows(count: int, seed: int = 0) -> bytes:
    return np.packbits(draw(count, seed).numpy(), axis=1).tobytes()


@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({"Content_Length": 5 * WIDTH}, rows(5), "wrong-inputs"),  # how many rows?
        ({wire.ROWS: "x", "Content_Length": 5 * WIDTH}, rows(5), "wrong-inputs"),
        ({wire.ROWS: 0, "Content_Length": 0}, b"", "wrong-inputs"),
        ({wire.ROWS: -1, "Content_Length": 0}, b"", "wrong-inputs"),
        ({wire.ROWS: 10**12, "Content_Length": 5}, b"", "too-large"),
        ({wire.ROWS: 5, "Content_Length": 5 * (WIDTH + 1)}, rows(5), "too-large"),
        ({wire.ROWS: 5, "Content_Length": 5 * (WIDTH - 1)}, bytes(5 * (WIDTH - 1)), "wrong-inputs"),
        ({wire.ROWS: 5, "Content_Length": 10 * 2**30}, b"", "too-large"),
        ({wire.ROWS: 5, "Content_Length": 5 * WIDTH}, b"\xff" * 5 * WIDTH, "wrong-inputs"),  # past the last bit
        ({wire.ROWS: 5, "Content_Length": 5 * WIDTH}, rows(2), "incomplete-body"),  # and then nothing
        ({wire.ROWS: 5, "Transfer_Encoding": "chunked"}, b"%x\r\n" % 2**20 + bytes(2**20), "too-large"),
        ({wire.ROWS: 5, "Transfer_Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n", "incomplete-body"),
        ({wire.ROWS: 5, wire.EXPOSURE: "nan", "Content_Length": 5 * WIDTH}, rows(5), "wrong-inputs"),
        ({wire.ROWS: 5, wire.EXPOSURE: "-1", "Content_Length": 5 * WIDTH}, rows(5), "wrong-inputs"),
        ({wire.ROWS: 5, wire.REQUEST: "a b", "Content_Length": 5 * WIDTH}, rows(5), "wrong-inputs"),
        ({wire.ROWS: 5, wire.FINGERPRINT: "0" * 32, "Content_Length": 5 * WIDTH}, rows(5), "matrix-redrawn"),
    ],
    ids=range(16),
)
def test_a_request_that_is_none(bench: Bench, headers: dict[str, Any], body: bytes, code: str) -> None:
    raw = Raw(bench, bench.token("hand"), **headers)
    try:
        raw.send(body)
    except (BrokenPipeError, ConnectionResetError):
        assert code == "too-large"  # it has been answered already
    status, told = raw.answer()
    assert told["error"] == code
    assert status == errors.ERRORS[code].status
    assert told["message"]
    assert bench.frames("hand") == 0
    until(lambda: bench.ledger._reserved.total() == 0)  # given back once the answer is on its way


def test_half_a_body_and_then_nobody(bench: Bench) -> None:
    bench.service.body_seconds = 60
    raw = Raw(bench, bench.token("hand"), **{wire.ROWS: 50, "Content_Length": 50 * WIDTH})
    raw.send(rows(20))
    raw.socket.close()
    device = bench.client("lab")
    assert torch.equal(device.measure(draw(20)), lab().measure(draw(20)))
    assert bench.frames("hand") == 0
    until(lambda: bench.ledger._reserved.total() == 0)  # given back once the answer is on its way


def test_what_an_error_shows(bench: Bench) -> None:
    """To those who need no token, and to those with one."""
    for path in ("/", "/docs", "/devices/lab/none", "/devices/../lab", "/devices", "/devices/"):
        connection = http.client.HTTPConnection("x")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(bench.socket))
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status in (401, 404)
        assert path == "/" or json.loads(body)["error"] in errors.ERRORS
        assert not any(
            word in (body + str(answer.headers).encode()).lower() for word in (b"uvicorn", b"python", b".py")
        )
        connection.close()


def slowly(bench: Bench, rate: float = 100.0) -> SimulatedOPU:
    """A noisy device of few frames a second: its noise tells in which order, and how often, rows were measured."""
    bench.serve("slow", SimulatedOPU.create(N, M, seed=2, read_noise=1.0), rate=rate)
    return SimulatedOPU.create(N, M, seed=2, read_noise=1.0)


def test_a_client_that_vanishes_gets_back_what_was_not_measured_and_goes_on_where_it_was(bench: Bench) -> None:
    here, token = slowly(bench), bench.token("alice", frames=200)
    told = {wire.ROWS: 60, "Content_Length": 60 * WIDTH, wire.REQUEST: "one"}
    raw = Raw(bench, token, "slow", **told)
    raw.send(rows(60))
    until(lambda: bench.frames("alice") > 0)
    raw.socket.close()
    until(lambda: bench.ledger._reserved.total() == 0)
    before = bench.frames("alice")
    assert 0 < before < 60
    for _ in range(2):  # the second time from memory
        raw = Raw(bench, token, "slow", **told)
        raw.send(rows(60))
        status, body = raw.answer()
        assert status == 200
        assert bench.frames("alice") == 60
        if not _:
            right = here.measure(draw(60)).numpy().tobytes()
        assert body == right
    raw = Raw(bench, token, "slow", **told)
    raw.send(rows(60, seed=1))
    assert raw.answer()[1]["error"] == "wrong-inputs"  # the id of another measurement
    other = Raw(bench, bench.token("bob"), "slow", **told)  # whose ids are his own
    other.send(rows(60))
    assert other.answer()[1] == here.measure(draw(60)).numpy().tobytes()


def test_a_question_that_is_asked_twice_at_once_is_measured_once(bench: Bench) -> None:
    here, token = slowly(bench), bench.token("alice")
    told = {wire.ROWS: 40, "Content_Length": 40 * WIDTH, wire.REQUEST: "one"}
    asked = [Raw(bench, token, "slow", **told)]
    asked[0].send(rows(40))
    until(lambda: bench.frames("alice") > 0)
    for _ in range(3):
        asked.append(Raw(bench, token, "slow", **told))
        asked[-1].send(rows(40))
    answers, broken = [], 0
    for one in asked:
        try:
            answers.append(one.answer())
        except http.client.IncompleteRead:
            broken += 1
    assert broken >= 1  # the one that was there first
    assert answers
    assert set(answers) == {(200, here.measure(draw(40)).numpy().tobytes())}
    assert bench.frames("alice") == 40


def test_a_broken_answer_is_mended_without_a_word(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks twice in the middle of an answer; the readings are those of one measurement."""
    here, device, breaks = slowly(bench), bench.client("slow", bench.token("alice")), [1, 1]
    read = http.client.HTTPResponse.readinto

    def broken(self: http.client.HTTPResponse, room: memoryview) -> int:
        got = read(self, room[:200])
        if breaks and len(room) < 60 * M:
            breaks.pop()
            raise ConnectionResetError("the line is cut")
        return got

    monkeypatch.setattr("http.client.HTTPResponse.readinto", broken)
    assert torch.equal(device.measure(draw(60)), here.measure(draw(60)))
    assert not breaks
    assert bench.frames("alice") == 60
    until(lambda: bench.ledger._reserved.total() == 0)  # given back once the answer is on its way


def test_nothing_is_under_way_when_all_is_answered(bench: Bench) -> None:
    token = bench.token("alice", frames=5)
    device = bench.client("lab", token)
    device.measure(draw(4))
    with pytest.raises(errors.FrameBudgetError):
        device.measure(draw(4))
    for sent in (rows(2), rows(2)[:3]):
        Raw(bench, token, **{wire.ROWS: 2, "Content_Length": 2 * WIDTH}).send(sent)
    until(lambda: not bench.service.under_way._bytes)


def test_a_slow_reader_holds_up_itself_alone(bench: Bench) -> None:
    wide = SimulatedOPU.create(N, 20_000, seed=3)
    bench.serve("wide", wide)
    bench.service.reader_seconds = 0.3
    raw = Raw(bench, bench.token("slow"), "wide", **{wire.ROWS: 3000, "Content_Length": 3000 * WIDTH})
    raw.send(rows(3000))
    until(lambda: bench.frames("slow") > 0)
    quick = bench.client("wide")
    assert torch.equal(quick.measure(draw(8)), wide.measure(draw(8)))
    until(lambda: bench.ledger._reserved.total() == 0)  # it was given up
    assert bench.frames("slow") < 3000
    raw.socket.close()


class Breaks(StandIn):
    """An apparatus that fails for one input."""

    def transform(self, bits: Any) -> Any:
        if (bits.sum(1) == 0).any():
            raise OSError(5, "/dev/secret-camera: Input/output error")
        return super().transform(bits)


def test_an_apparatus_that_fails(bench: Bench) -> None:
    bench.serve("opu", LightOnOPU.calibrate(Breaks("numpy"), N, M))
    device, nothing = bench.client("opu", bench.token("alice")), torch.zeros(2, N, dtype=torch.uint8)
    right = device.measure(draw(3))
    with pytest.raises(errors.DeviceGoneError) as gone:
        device.measure(nothing)
    assert "secret" not in str(gone.value)
    assert torch.equal(device.measure(draw(3)), right)
    assert bench.frames("alice") == 8


def test_a_full_disk_measures_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    device = bench.client("lab", bench.token("alice"), timeout=0.3)
    measured: list[int] = []
    monkeypatch.setattr(SimulatedOPU, "measure", lambda self, bits: measured.append(len(bits)))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(bench.ledger._database, "write", full)
        with pytest.raises(errors.ServiceFullError):
            device.measure(draw(3))
    assert not measured
    assert bench.frames("alice") == 0
    until(lambda: bench.ledger._reserved.total() == 0)  # given back once the answer is on its way
    monkeypatch.undo()
    assert torch.equal(device.measure(draw(3)), lab().measure(draw(3)))


def test_a_token_that_is_revoked_ends_what_it_has_begun(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundglass.service.frames._LOOK", 0.0)
    slowly(bench)
    device, failed = bench.client("slow", bench.token("alice")), []

    def work() -> None:
        try:
            device.measure(draw(2000))
        except errors.DeviceServiceError as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: bench.frames("alice") > 0)
    bench.ledger.tokens.revoke("alice")
    thread.join()
    assert isinstance(failed[0], errors.TokenRefusedError)
    assert bench.frames("alice") < 2000
    until(lambda: bench.ledger._reserved.total() == 0)  # given back once the answer is on its way


def test_nobody_answers(bench: Bench) -> None:
    device = bench.client("lab", timeout=0.2)
    with pytest.raises(errors.DeviceGoneError, match="device serve"):
        RemoteOPU(f"unix://{bench.socket}x#lab", token="x")
    bench.close()
    with pytest.raises(errors.DeviceGoneError):
        device.measure(draw(1))


def test_a_restart_under_load_is_waited_out() -> None:
    """Every answer is right, and every frame that was answered is counted."""
    with serving.bench() as first:
        token, found, wrong = first.token("alice"), [], []
        address = first.address("lab")
        first.serve("lab", lab())

        def work(seed: int) -> None:
            device = RemoteOPU(address, token=token, timeout=30)
            for k in range(15):
                bits = draw(20, seed=100 * seed + k)
                if not torch.equal(device.measure(bits), lab().measure(bits)):
                    wrong.append(k)
                found.append(len(bits))

        threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
        for thread in threads:
            thread.start()
        until(lambda: len(found) > 5)
        first.close()
        again = serving.Bench(first.folder, {"lab": lab()})
        for thread in threads:
            thread.join()
        assert not wrong
        assert sum(found) == 3 * 15 * 20 <= again.frames("alice")
        assert again.ledger._reserved.total() == 0
        again.close()


def test_a_service_that_ends_before_a_measurement_does_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those whose rows are in the device's hands, and those who wait: they ask again when it is back."""
    monkeypatch.setattr("groundglass.service.serve._GRACE", 0.1)
    ready, begun, measure = threading.Event(), threading.Event(), SimulatedOPU.measure

    def slowly(device: SimulatedOPU, bits: torch.Tensor) -> torch.Tensor:
        begun.set()
        assert ready.wait(20)
        return measure(device, bits)

    with serving.bench() as bench:
        bench.serve("lab", lab())
        devices = [bench.client("lab", timeout=0.5) for _ in range(4)]
        found: list[BaseException] = []

        def work(device: RemoteOPU) -> None:
            try:
                device.measure(draw(5))
            except errors.DeviceServiceError as error:
                found.append(error)

        with monkeypatch.context() as slow:
            slow.setattr(SimulatedOPU, "measure", slowly)
            threads = [threading.Thread(target=work, args=(device,)) for device in devices]
            for thread in threads:
                thread.start()
            assert begun.wait(20)
            until(lambda: bench.service.devices["lab"].waiting()[0] == 4)
            closing = threading.Thread(target=bench._opened.close)
            closing.start()
            for thread in threads:
                thread.join()
            ready.set()
            closing.join()
        assert [type(error) for error in found] == 4 * [errors.DeviceGoneError]
        until(lambda: bench.ledger._reserved.total() == 0)


def test_frames_come_at_the_stated_rate(bench: Bench) -> None:
    """Never more than the rate lets, and what may be taken at once: a twentieth of a second's worth."""
    slowly(bench, rate=400.0)
    device, began = bench.client("slow"), time.monotonic()
    for count in (1, 30, 40):
        device.measure(draw(count))
        took = time.monotonic() - began
        assert bench.service.devices["slow"].frames <= 20 + 400 * took


def test_a_log_shows_no_secret(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    token = bench.token("alice")
    with caplog.at_level("INFO", "groundglass.service"):
        bench.client("lab", token).measure(draw(4))
        with pytest.raises(errors.TokenRefusedError):
            bench.client("lab", token[:-2])
    lines = [json.loads(record.message) for record in caplog.records]
    (one,) = (line for line in lines if line.get("frames"))
    assert (one["client"], one["device"], one["frames"], one["status"]) == ("alice", "lab", 4, 200)
    assert one["seconds"] >= 0
    assert any(line["status"] == 401 for line in lines)
    assert token.split("_", 2)[2][:8] not in caplog.text
    assert "Bearer" not in caplog.text
