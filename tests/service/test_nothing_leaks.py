"""Nothing that a service answers, logs or keeps shows U, its seed or its file; the device files apart, which hold the secret."""

import contextlib
import io
import json
import logging
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from groundglass.optics import MovingDevice, SimulatedOPU, true_matrix
from groundglass.optics.remote import wire
from groundglass.service.app import application
from groundglass.service.policy import Redraw
from tests.service.serving import Bench, bench

SEED = 0x5EC2E75EC2E75EC2E75EC2E75EC2E7
N, M = 48, 70


def forms(device: SimulatedOPU) -> dict[str, bytes]:
    """What must not be seen: the seed, and stretches of U, as they lie in memory and as one might write them."""
    value = int(device._medium.seed.reveal(), 16)
    size = (value.bit_length() + 7) // 8
    found = {
        "seed, hex": f"{value:x}".encode(),
        "seed, decimal": str(value).encode(),
        "seed, big": value.to_bytes(size, "big"),
        "seed, little": value.to_bytes(size, "little"),
    }
    u = true_matrix(device).numpy()
    for name, part in (("real", u.real), ("imaginary", u.imag)):
        scaled = np.rint(part / np.abs(part)[part != 0].min())
        for kind in (np.float32, np.float64):
            found[f"row of U, {name}, {kind.__name__}"] = part[0, :6].astype(kind).tobytes()
            found[f"column of U, {name}, {kind.__name__}"] = part[:6, 0].astype(kind).tobytes()
        found[f"row of U, {name}, text"] = ", ".join(f"{x:.0f}" for x in scaled[0, :6]).encode()
    found["row of U, complex"] = u[0, :4].tobytes()
    tile = device._medium.tiles[0]
    found |= {
        "tile": tile[0, :16].tobytes(),
        "lanes": tile[:16, 0].tobytes(),
        "keys": device._medium.keys(np.array([0])).tobytes(),
    }
    return found


def seen(text: bytes, devices: list[SimulatedOPU], places: tuple[str, ...]) -> set[str]:
    """Which of them are there; in hex and base64 they would be found by their text forms of the seed."""
    wanted = {name: form for device in devices for name, form in forms(device).items()}
    lower = text.lower()
    found = {name for name, form in wanted.items() if form in text or form.hex().encode() in lower}
    return found | {place for place in places if place.encode() in text}


def everything(one: Bench, token: str) -> list[bytes]:
    """Each endpoint that there is, with each method and token, asked well and badly: all that comes back, headers too."""
    heard = []
    name_of = {"name": "lab", "path": "x"}
    tokens = (None, "gg_nobody_x", token)
    good = {wire.ROWS: "2", wire.EXPOSURE: "2.0"}
    bodies = [b"", bytes(2 * (N // 8)), b"\xff" * 999]
    heads = [{}, good, {**good, wire.ROWS: "-1"}, {**good, wire.EXPOSURE: "nan"}, {**good, wire.FINGERPRINT: "0" * 32}]
    heads += [{**good, wire.ROWS: "9" * 30}, {**good, wire.REQUEST: "/etc/passwd"}]
    paths = [route.path.format_map(name_of) for route in application(one.service).routes]  # type: ignore[attr-defined]
    paths += ["/devices/nobody", "/devices/../state", "/devices/lab.device", "/nowhere", "/devices/lab/measure?x=%00"]
    transport = httpx.HTTPTransport(uds=str(one.socket))
    with httpx.Client(transport=transport, base_url="http://service", timeout=20) as client:
        for path in paths:
            for method in ("GET", "POST", "DELETE", "OPTIONS"):
                if path.endswith("redraw") and method == "POST":
                    continue  # at the end: it draws another
                for shown in tokens:
                    for head in heads if path.endswith("measure") and method == "POST" else heads[:1]:
                        for body in bodies if method == "POST" else bodies[:1]:
                            headers = head | ({} if shown is None else {"authorization": f"Bearer {shown}"})
                            with contextlib.suppress(httpx.HTTPError):
                                answer = client.request(method, path, headers=headers, content=body)
                                heard.append(repr(answer.headers.raw).encode() + answer.content)
        headers = {"authorization": f"Bearer {token}"}
        answer = client.post("/devices/lab/redraw", headers=headers)
        assert answer.status_code == 200
        heard.append(repr(answer.headers.raw).encode() + answer.content)
    return heard


@pytest.fixture
def logged():
    """All that anybody logs meanwhile, with tracebacks."""
    stream, root = io.StringIO(), logging.getLogger()
    handler, ours = logging.StreamHandler(stream), logging.getLogger("groundglass.service")
    before = [(log, log.level) for log in (root, ours)]
    for log, _ in before:
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
    yield stream
    for log, level in before:
        log.removeHandler(handler)
        log.setLevel(level)


def of_state(folder: Path) -> bytes:
    """All files but those of devices, which are for their owner alone."""
    kept = b""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".device", ".draws"):
            kept += str(path.relative_to(folder)).encode() + path.read_bytes()
        elif path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path
    return kept


def test_nothing_that_a_service_says_or_keeps_shows_the_secret(logged, capfd, tmp_path) -> None:
    device = SimulatedOPU.create(N, M, seed=SEED)
    device.save(tmp_path / "very-secret-place.device")
    loaded = SimulatedOPU.load(tmp_path / "very-secret-place.device")
    with bench() as one:
        frames = one.serve("lab", loaded, policy=Redraw(overlap=60))
        one.serve("moving", MovingDevice.create(N, M, count=2, seed=SEED))
        token = one.token("everybody")
        client = one.client("lab", token)
        client.measure(torch.ones(3, N, dtype=torch.uint8))
        heard = everything(one, token)
        new = frames.versions.find(frames.versions.fingerprint).device
        assert new.fingerprint != device.fingerprint
        # What fails inside: an error of the device that names all that it should not.
        broken = f"seed {SEED:x} of {tmp_path}/very-secret-place.device"
        kept = of_state(one.folder)
        heard += fails(one, token, broken)
    told = capfd.readouterr()
    everywhere = b"\n".join(
        [*heard, kept, logged.getvalue().encode(), told.out.encode(), told.err.encode(), repr(client).encode()]
    )
    places = ("very-secret-place", str(tmp_path))
    assert len(heard) > 150
    assert b"matrix-redrawn" in everywhere or b"token" in everywhere
    assert seen(everywhere, [device, new], places) == set()


def fails(one: Bench, token: str, words: str) -> list[bytes]:
    """The answer when measuring raises an error with these words."""

    class Broken:
        in_features, out_features, fingerprint, mean_reading = N, M, "ab" * 16, 50.0

        def measure(self, bits):
            raise RuntimeError(words)

    one.serve("broken", Broken())  # type: ignore[arg-type]
    transport = httpx.HTTPTransport(uds=str(one.socket))
    with httpx.Client(transport=transport, base_url="http://service", timeout=20) as client:
        headers = {"authorization": f"Bearer {token}", wire.ROWS: "2"}
        heard = []
        with contextlib.suppress(httpx.HTTPError):
            answer = client.post("/devices/broken/measure", headers=headers, content=bytes(2 * (N // 8)))
            heard.append(repr(answer.headers.raw).encode() + answer.content)
    return heard


def test_the_search_finds_what_is_there() -> None:
    device = SimulatedOPU.create(N, M, seed=SEED)
    for name, form in forms(device).items():
        assert name in seen(b"x" + form + b"y", [device], ())
        assert name in seen(json.dumps({"u": form.hex()}).encode(), [device], ())
    assert seen(b"at /a/very-secret-place", [device], ("very-secret-place",)) == {"very-secret-place"}
    other = SimulatedOPU.create(N, M)
    assert not seen(b"".join(forms(other).values()), [device], ())
