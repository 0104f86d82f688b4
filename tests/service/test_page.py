"""The operator's page: who may see it, what forms it takes; and in a real browser from signing in to another matrix."""

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from groundglass.optics import SimulatedOPU
from groundglass.optics.remote import errors
from groundglass.service.alarms import Alarm
from groundglass.service.page import sessions
from groundglass.service.page.routes import _template
from groundglass.service.page.sessions import Sessions
from groundglass.service.serve import listen_on, running
from groundglass.service.watch import Watch
from tests import browser as chromium
from tests.browser import Browser
from tests.contracts.test_device_contract import M, N, draw
from tests.service import serving
from tests.service.serving import Bench
from tests.service.test_redraw import ONE_BIT, Sees

OPERATOR = ("administer", "redraw")


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with serving.bench() as one:
        one.serve("lab", SimulatedOPU.create(N, M), watch=Watch(Sees(), "refuse"))
        one.serve("other", SimulatedOPU.create(N, M))
        yield one


@pytest.fixture
def client(bench: Bench) -> Iterator[httpx.Client]:
    with bench.http() as one:
        yield one


def sign_in(client: httpx.Client, token: str) -> str:
    """What its forms bring back."""
    assert client.post("/login", data={"token": token}).status_code == 303
    found = re.search(r'name="form" value="([0-9a-f]{64})"', client.get("/").text)
    assert found
    return found[1]


def fingerprint(bench: Bench, name: str = "lab") -> str:
    return bench.service.devices[name].versions.fingerprint


def test_nothing_is_seen_without_signing_in(bench: Bench, client: httpx.Client) -> None:
    bench.client("lab", bench.token("alice")).measure(draw(3))
    before = fingerprint(bench)
    answers = [client.get("/"), client.post("/redraw", data={"device": "lab"}), client.post("/logout")]
    answers += [client.post("/login", data={"token": token}) for token in ("", "gg_x", "x" * 3000)]
    reader = bench.token(roles=("measure", "calibrate", "redraw"))
    answers += [client.post("/login", data={"token": reader})]
    client.cookies.set("groundglass", "x" * 43)
    # A page is for browsers: no token opens it, so no link can hold one.
    answers += [client.get("/"), client.get(f"/?token={bench.token(roles=OPERATOR)}")]
    answers += [client.get("/", headers={"Authorization": f"Bearer {bench.token(roles=OPERATOR)}"})]
    assert [answer.status_code for answer in answers] == [401, 403, 403, 401, 401, 401, 403, 401, 401, 401]
    for answer in answers:
        assert not {"alice", before} & set(re.findall(r"[\w-]+", answer.text))
        assert "set-cookie" not in answer.headers
        assert reader not in answer.text
    assert fingerprint(bench) == before


def test_a_page_is_nobody_elses(bench: Bench, client: httpx.Client) -> None:
    """Not a proxy's, not a frame's, not a script's from elsewhere."""
    sign_in(client, bench.token(roles=OPERATOR))
    for answer in (client.get("/"), client.get("/refresh.js"), client.get("/style.css")):
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == policy["form-action"] == "'self'"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"https?://|<script>|style=|\son\w+=", client.get("/").text)


def test_the_cookie(bench: Bench, client: httpx.Client) -> None:
    token = bench.token(roles=OPERATOR)
    cookie = client.post("/login", data={"token": f" {token}\n"}).headers["set-cookie"].lower()
    for word in ("httponly", "samesite=strict", "path=/"):
        assert word in cookie
    assert "domain" not in cookie
    assert token.split("_", 2)[2].lower() not in cookie


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, {}),
        ({"form": "0" * 64}, {}),
        ({"form": "right"}, {"Sec-Fetch-Site": "same-site"}),
        ({"form": "right"}, {"Sec-Fetch-Site": "cross-site"}),
    ],
)
def test_a_form_from_elsewhere_does_nothing(bench: Bench, client: httpx.Client, form: Any, headers: Any) -> None:
    right, before = sign_in(client, bench.token(roles=OPERATOR)), fingerprint(bench)
    given = {name: right if value == "right" else value for name, value in form.items()}
    for path in ("/redraw", "/logout"):
        answer = client.post(path, data={"device": "lab", **given}, headers=headers)
        assert answer.status_code == 403
    assert fingerprint(bench) == before
    assert client.get("/").status_code == 200
    # What comes from the page itself does.
    assert client.post("/redraw", data={"device": "lab", "form": right}).status_code == 303
    assert fingerprint(bench) != before


def test_one_operators_form_is_not_anothers(bench: Bench, client: httpx.Client) -> None:
    with bench.http() as second:
        form = sign_in(second, bench.token(roles=OPERATOR))
        sign_in(client, bench.token(roles=OPERATOR))
        assert client.post("/redraw", data={"device": "lab", "form": form}).status_code == 403


def test_who_may_redraw_what(bench: Bench, client: httpx.Client) -> None:
    before = fingerprint(bench), fingerprint(bench, "other")
    form = sign_in(client, bench.token(roles=("administer",)))
    assert "<details>" not in client.get("/").text
    assert client.post("/redraw", data={"device": "lab", "form": form}).status_code == 403
    form = sign_in(client, bench.token(roles=OPERATOR, devices=("lab",)))
    assert fingerprint(bench, "other") not in client.get("/").text
    for name in ("other", "none", ""):
        answer = client.post("/redraw", data={"device": name, "form": form})
        assert answer.status_code == 404
        assert 'role="alert"' in answer.text
    assert (fingerprint(bench), fingerprint(bench, "other")) == before


def test_a_form_that_is_none(bench: Bench, client: httpx.Client) -> None:
    bodies = (b"token=" + b"x" * 5000, b"\xff\xfe=\xff", b"&".join(b"a=b" for _ in range(50)))
    codes = [client.post("/login", content=body).status_code for body in bodies]
    assert codes == [413, 422, 422]


def test_a_session_ends_with_its_token_and_by_itself(bench: Bench, client: httpx.Client) -> None:
    form = sign_in(client, bench.token("passing", roles=OPERATOR))
    key = client.cookies["groundglass"]
    bench.ledger.tokens.change("passing", roles=("measure",))
    assert client.get("/").status_code == 401
    bench.ledger.tokens.change("passing", roles=OPERATOR)
    client.cookies.set("groundglass", key)
    assert client.get("/").status_code == 401  # it has ended
    client.cookies.clear()
    form = sign_in(client, bench.token("leaving", roles=OPERATOR))
    key = client.cookies["groundglass"]
    assert client.post("/logout", data={"form": form}).status_code == 303
    client.cookies.set("groundglass", key)
    assert client.get("/").status_code == 401
    now = 0.0
    open_ones = Sessions(bench.ledger, now=lambda: now)
    token = bench.token(roles=OPERATOR)
    first = open_ones.begin(token)
    now = sessions.SECONDS - 1
    assert open_ones.find(first) is not None
    keys = [open_ones.begin(token) for _ in range(20)]
    assert open_ones.find(first) is None  # too many of one token
    assert open_ones.find(keys[0]) is not None
    now += sessions.SECONDS
    assert open_ones.find(keys[0]) is None
    bench.ledger.tokens.revoke(bench.ledger.authenticate(token).id)
    with pytest.raises(errors.TokenRefusedError):
        open_ones.begin(token)


def test_names_are_text(bench: Bench) -> None:
    """None of them can be more, and if one could, it would still be text."""
    bad = "<script>alert(1)</script>\"'&"
    viewer = bench.ledger.authenticate(bench.token(roles=OPERATOR))
    status = bench.service.overview.of(viewer)
    one = {"device": bad, "score": 1.0, "limit": 1.0, "frames": 1, "response": "alarm"}
    alarms = (Alarm(at=0.0, client=bad, name=bad, **one),)
    devices = tuple(replace(one, name=bad, kind=bad, fingerprint=bad, old={bad: 1.0}) for one in status.devices)
    clients = tuple(replace(one, name=bad, held={bad: "refuse"}, used=()) for one in status.clients)
    status = replace(status, devices=devices, clients=clients, alarms=alarms, ends={bad: 1}, ahead=100.0)
    text = _template("status.html.j2").render(status=status, client=viewer, form="x", said=bad, may_redraw=True)
    assert text.count("&lt;script&gt;") > 8
    assert "<script>" not in text
    assert "\"'&" not in text
    assert "<script>" not in _template("login.html.j2").render(said=bad)


@contextmanager
def from_elsewhere(address: str) -> Iterator[tuple[str, list[str]]]:
    """A page of another port of this host, to which browsers send the same cookies, with a form for ours that sends itself;
    and the cookies that it got."""
    cookies: list[str] = []
    page = f"""<form method=post action="{address}/redraw"><input name=device value=lab></form>
        <script>document.forms[0].submit()</script>""".encode()

    class Hostile(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.append(str(self.headers["Cookie"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.block_on_close = False  # browsers open connections beforehand
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", cookies
        server.shutdown()
        thread.join()


def enter(page: Browser, token: str) -> None:
    page.run("document.getElementById('token').focus()")
    page.type(token)
    with page.loading():
        page.run("document.querySelector('form button').click()")


def test_in_a_browser(bench: Bench, tmp_path: Path) -> None:
    if chromium.CHROMIUM is None:
        pytest.skip("NO CHROMIUM HERE: the operator's page was not tried in a browser")
    token, wrong = bench.token("olga", roles=OPERATOR), bench.token("reader", roles=("measure",))
    alice = bench.client("lab", bench.token("alice-in-a-browser", frames=1000))
    alice.measure(draw(123))
    with pytest.raises(errors.GuardedError):
        bench.client("lab", bench.token("mallory")).measure(ONE_BIT)
    authority, cert = trustme.CA(), tmp_path / "cert.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(cert)
    plain, tls = (listen_on("127.0.0.1", 0, tls=one) for one in (False, True))
    with running(bench.service, tls, cert=cert), running(bench.service, plain), chromium.browser() as page:
        address, secure = (f"http{s}://127.0.0.1:{one.getsockname()[1]}" for s, one in (("", plain), ("s", tls)))
        page.open(address)
        enter(page, wrong)
        assert "administer" in page.run("document.querySelector('[role=alert]').innerText")
        enter(page, token)
        assert page.run("location.pathname + location.search + document.cookie + localStorage.length") == "/0"
        (cookie,) = page.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Strict", False)

        # The figures, as they are and as they become.
        old = fingerprint(bench)
        assert old in page.text()
        row = (
            "[...document.querySelectorAll('tr')].find(one => one.innerText.startsWith('alice-in-a-browser')).innerText"
        )
        assert page.run(row).split("\t")[1:6] == ["lab", "123", "123", "123", "877 of 1,000"]
        assert "shut out at lab" in page.text()
        alice.measure(draw(100))
        page.run("refresh()")
        assert page.run(row).split("\t")[1:3] == ["lab", "223"]

        # It is readable, on a phone too: what is wide scrolls by itself.
        grounds = set()
        for width in (390, 1280):
            for dark in (False, True):
                page.look(width, dark=dark)
                assert page.run("document.documentElement.scrollWidth") <= width
                grounds.add(page.run("getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2

        # Another port of this host gets the cookie, and cannot use the form.
        with from_elsewhere(address) as (hostile, cookies):
            page.open(hostile)
            page.wait("location.pathname == '/redraw' && document.readyState == 'complete'")
        assert "groundglass=" in cookies[0]
        assert page.run("!!document.querySelector('[role=alert]')")
        assert fingerprint(bench) == old

        page.open(address)
        page.run("document.querySelector('#device-lab details').open = true")
        page.run("refresh()")  # leaves an open question alone
        with page.loading():
            page.run("document.querySelector('#device-lab details button').click()")
        new = fingerprint(bench)
        assert new != old
        assert new in page.text()
        assert old not in page.text()
        with pytest.raises(errors.MatrixRedrawnError):
            alice.measure(draw(1))

        page.open(secure)
        enter(page, token)
        assert new in page.text()
        (cookie,) = (one for one in page.cookies() if one["secure"])
        assert cookie["name"] == "__Host-groundglass"

        with page.loading():
            page.run("document.querySelector('header button').click()")
        page.open(secure)
        assert page.run("!!document.getElementById('token')")
        assert page.complaints == []
    plain.close()
    tls.close()
