"""A client with a shell as its own user gets readings, and nothing else; nor does another process of the service's user."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from groundglass.optics import SimulatedOPU
from groundglass.service.ledger import Ledger
from groundglass.service.serve import listen_at
from groundglass.service.tokens import Budgets
from tests.users import CLIENT, MAY_SWITCH, SERVICE, begin, said, shared_folder

pytestmark = pytest.mark.skipif(
    not MAY_SWITCH, reason="NOT TESTED: a service and a client as two users need Linux, and tests that run as root"
)
N, M = 64, 40

WARM = """
import numpy, uvicorn.lifespan.off, uvicorn.loops.asyncio, uvicorn.protocols.http.httptools_impl, encodings.idna
import groundglass.cli.serve, groundglass.service.open, groundglass.service.serve
from groundglass.cli import main
from groundglass.optics import SimulatedOPU
SimulatedOPU.create(64, 40).measure(numpy.ones((3, 64), dtype=numpy.uint8))
"""
SERVE = """
home = sys.argv[1]
at = ["lab=" + home + "/lab.device", "--state", home + "/state", "--port", "0", "--frame-rate", "none"]
sys.exit(main(["device", "serve", *at]))
"""

ASK = """
device = RemoteOPU(sys.argv[1], token=sys.argv[2], timeout=20)
bits = numpy.random.default_rng(0).integers(0, 2, (5, device.in_features), dtype=numpy.uint8)
print(device.measure(bits).tobytes().hex())
for token in (sys.argv[2], "gg_x_y"):
    request = urllib.request.Request(sys.argv[1] + "/redraw", method="POST", headers={"Authorization": "Bearer " + token})
    try:
        urllib.request.urlopen(request)
    except urllib.error.HTTPError as error:
        print(error.code)
"""
ASK_WARM = "import encodings.idna, httpx, numpy, urllib.request, urllib.error\nfrom groundglass.optics import RemoteOPU"

#: PID HOME ...: each thing that this user can read, list, write or attach to.
LOOK = """
pid, home = sys.argv[1:]
def may(name, act):
    try:
        act()
    except OSError:
        return
    print(name)
def read(path):
    with open(path, "rb") as file:
        file.read(1)
for name in ("mem", "environ", "maps", "auxv", "stack", "syscall"):
    may("/proc/" + name, lambda: read(f"/proc/{pid}/{name}"))
may("/proc/fd", lambda: os.listdir(f"/proc/{pid}/fd"))
if not ctypes.CDLL(None).ptrace(16, int(pid), None, None):
    print("ptrace")
for path in sys.stdin.readline().split():
    may("list " + path, lambda: os.listdir(os.path.join(home, path)))
    may("read " + path, lambda: read(os.path.join(home, path)))
    may("write " + path, lambda: os.close(os.open(os.path.join(home, path), os.O_WRONLY)))
    may("put into " + path, lambda: os.mkdir(os.path.join(home, path, "x")))
"""


@pytest.fixture(scope="module")
def served():
    """A service as its own user, whose home others may look into: what keeps them out is what the service makes."""
    with shared_folder() as folder:
        home, device = folder / "home", SimulatedOPU.create(N, M)
        home.mkdir(mode=0o755)
        device.save(home / "lab.device")
        with Ledger(home / "state") as ledger:
            token = ledger.tokens.new("client", roles=("measure",), devices=("*",), budgets=Budgets())[1]
        for path in (home, *home.rglob("*")):
            os.chown(path, SERVICE, SERVICE)
        process = begin(SERVE, home, user=SERVICE, imports=("resource", "os"), before=WARM, home=home)
        assert process.stdout is not None
        lines, address = [], ""
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"lab: (http://\S+), fingerprint", line):
                address = found[1]
            if line.startswith("ready"):
                break
        assert address, lines
        try:
            yield process, home, device, address, token, lines
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def looked(user: int, process, home: Path) -> set[str]:
    paths = ["lab.device", *(str(p.relative_to(home)) for p in home.rglob("*") if p.name != "lab.device")]
    with begin(LOOK, process.pid, home, user=user, home=home) as look:
        out, _ = look.communicate(" ".join(paths) + "\n", timeout=60)
    assert look.returncode == 0, out
    return set(out.splitlines())


def test_a_client_of_another_user_measures_and_may_do_nothing_else(served) -> None:
    process, home, device, address, token, _ = served
    out = said(ASK, address, token, user=CLIENT, imports=("sys",), before=ASK_WARM, home=home).split()
    bits = np.random.default_rng(0).integers(0, 2, (5, N), dtype=np.uint8)
    assert out == [device.measure(bits).tobytes().hex(), "403", "401"]
    assert process.poll() is None
    assert looked(CLIENT, process, home) == set()


def test_another_process_of_the_services_user_reads_files_and_no_memory(served) -> None:
    """The control: the same look finds what may be found. Files are the user's; the process is closed."""
    process, home, *_ = served
    found = looked(SERVICE, process, home)
    assert {"read lab.device", "list state"} <= found
    assert not {one for one in found if one.startswith("/proc")}
    assert "ptrace" not in found


def test_the_service_says_how_it_is_hardened(served) -> None:
    *_, lines = served
    said_of = "".join(lines)
    assert said_of.count('"hardened"') == 4
    assert '"memory"' in said_of
    assert "NOT DONE" not in said_of


def test_a_socket_is_for_its_owner_alone() -> None:
    text = """
sock = socket.socket(socket.AF_UNIX)
try:
    sock.connect(sys.argv[1])
    print("in")
except PermissionError:
    print("refused")
"""
    with shared_folder() as folder, listen_at(folder / "s"):
        # Its mode is what `listen_at` has given it; here root makes it for the user, which takes no process of theirs.
        os.chown(folder / "s", SERVICE, SERVICE)
        for user, found in ((CLIENT, "refused"), (SERVICE, "in")):
            assert said(text, folder / "s", user=user, imports=("socket",), home=folder).strip() == found
