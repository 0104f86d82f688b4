"""A hardened process is closed to others of its own user; one that is not fails the same tests."""

import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from groundglass.core import secret_memory
from groundglass.core.hardening import Hardening, Step
from groundglass.core.secret_memory import held_secrets, secret_copy, secret_empty
from tests.users import MAY_SWITCH, SERVICE, begin, said, shared_folder

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is tested is Linux's")

HELD = """
if sys.argv[1] == "hardened":
    print("\\n".join(hardening.harden_process().lines()))
array = secret_memory.secret_empty((3, 5000), "uint8")
array[:] = 0x5e
held = secret_memory.held_secrets()
print("holds", held.held, held.locked, array.ctypes.data, flush=True)
"""
WAIT = "sys.stdin.readline()\n"
IMPORTS = ("resource", "groundglass.core.hardening as hardening", "groundglass.core.secret_memory as secret_memory")

#: What another process of the same user gets.
LOOK = """
pid, address, found = sys.argv[1], int(sys.argv[2]), []
for name in ("environ", "maps", "auxv"):
    try:
        found += [name] if open(f"/proc/{pid}/{name}", "rb").read(1) else []
    except OSError:
        pass
try:
    os.listdir(f"/proc/{pid}/fd")
    found.append("fd")
except OSError:
    pass
try:
    with open(f"/proc/{pid}/mem", "rb", 0) as file:
        file.seek(address)
        found += ["mem"] if file.read(16) == b"\\x5e" * 16 else []
except OSError:
    pass
if not ctypes.CDLL(None).ptrace(16, int(pid), None, None):  # PTRACE_ATTACH
    found.append("ptrace")
print(*found)
"""


@pytest.fixture
def folder():
    with shared_folder() as folder:
        yield folder


def holder(state: str, folder: Path, then: str = WAIT):
    process = begin(HELD + then, state, user=SERVICE, imports=IMPORTS, home=folder)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith("holds"):
            break
    return process, lines


@LINUX
@pytest.mark.parametrize("state", ["hardened", "plain"])
def test_another_process_of_the_same_user_reads_nothing(state, folder):
    process, lines = holder(state, folder)
    with process:
        found = set(said(LOOK, process.pid, lines[-1].split()[-1], user=SERVICE, home=folder).split())
        process.kill()
    if state == "hardened":
        # root may always; there the same look is no test.
        assert found == set() or (os.geteuid() == 0 and not MAY_SWITCH)
        assert not any("NOT DONE" in line for line in lines)
        assert [line.split(":")[0] for line in lines[:-1]] == ["tracing", "core dumps", "swap", "new files"]
    else:
        wanted = {"environ", "maps", "fd", "auxv"}
        assert wanted <= found
        yama = Path("/proc/sys/kernel/yama/ptrace_scope")
        assert {"mem", "ptrace"} <= found or (yama.exists() and yama.read_text().strip() != "0")


@LINUX
@pytest.mark.parametrize("state", ["hardened", "plain"])
def test_an_abort_leaves_no_core(state, folder):
    if not (pattern := Path("/proc/sys/kernel/core_pattern").read_text().strip()).startswith("core"):
        pytest.skip(f"core dumps go elsewhere here: {pattern}")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("no process here may leave a core dump")
    before = "resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)\n"
    process = begin(
        f"os.chdir({str(folder)!r})\n{before}{HELD}os.abort()\n", state, user=SERVICE, imports=IMPORTS, home=folder
    )
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGABRT
    cores = list(folder.glob("core*"))
    if state == "hardened":
        assert cores == []
    else:
        (core,) = cores
        # Not even there: the pages are marked. The address of the text proves that memory is in it.
        dumped = core.read_bytes()
        assert b"\x5e" * 5000 not in dumped
        assert b"groundglass.core.hardening" in dumped


@LINUX
def test_a_hardened_process_can_still_do_its_work(folder):
    """Whole files go through /proc/self/fd, which belongs to root then."""
    text = """
hardening.harden_process()
with files.atomic_write(pathlib.Path(sys.argv[1]) / "new", "w") as file:
    file.write("x")
print(oct(os.stat(os.path.join(sys.argv[1], "new")).st_mode & 0o777), len(os.listdir("/proc/self/fd")) > 3)
"""
    imports = (*IMPORTS, "pathlib", "groundglass.core.files as files", "tempfile", "secrets")
    assert said(text, folder, user=SERVICE, imports=imports, home=folder).split() == ["0o600", "True"]


def test_memory_for_secrets_is_memory(monkeypatch):
    made = secret_empty((3, 0, 2), np.int8), secret_empty((4, 5), np.float32)
    assert [(a.shape, a.dtype, a.any()) for a in made] == [((3, 0, 2), np.int8, False), ((4, 5), np.float32, False)]
    before = held_secrets().held
    copy = secret_copy(np.arange(6, dtype=np.int16).reshape(2, 3), np.float64)
    assert copy.dtype == np.float64
    assert copy.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert copy.flags.writeable
    grown = held_secrets().held - before
    view = copy[1]
    del copy
    assert view.tolist() == [3, 4, 5]
    assert held_secrets().held - before == grown
    del view
    assert held_secrets().held == before
    monkeypatch.delattr(secret_memory.mmap, "MADV_DONTDUMP", raising=False)
    assert secret_empty((2, 2), np.uint8).tolist() == [[0, 0], [0, 0]]
    assert held_secrets().held == before


@LINUX
def test_what_may_be_locked_is_locked_and_the_rest_is_told(folder):
    """Under a limit of 1 MiB, without rights of its own: 3 MiB of matrices do not fit, before and after."""
    text = """
early = secret_memory.secret_empty((2**19,), "uint8")
resource.setrlimit(resource.RLIMIT_MEMLOCK, (2**20 + 2**16, 2**20 + 2**16))
print(hardening.harden_process().complete, *vars(secret_memory.held_secrets()).values())
late = secret_memory.secret_empty((2**21 + 2**19,), "uint8")
held = secret_memory.held_secrets()
print(held.held, 2**19 <= held.locked < held.held, hardening.swap_step().done)
"""
    if os.geteuid() == 0 and not MAY_SWITCH:
        pytest.skip("root may lock all")
    out = said(text, user=SERVICE, imports=IMPORTS, home=folder).splitlines()
    assert out == ["True 524288 524288", f"{3 * 2**20} True False"]


def test_what_was_not_done_is_told(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    from groundglass.core import hardening

    steps = Hardening((hardening._tried("tracing", hardening._no_tracing), Step("swap", True, "locked")))
    assert not steps.complete
    assert "darwin" in steps.lines()[0]
    assert steps.lines()[0].startswith("tracing: NOT DONE")
    assert steps.lines()[1] == "swap: locked"
