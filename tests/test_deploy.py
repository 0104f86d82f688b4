"""The unit of systemd and the Dockerfile: what they run is a command of ours, and the unit keeps the service apart."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from groundglass.cli.main import _parsed
from groundglass.cli.serve import Serve

DEPLOY = Path(__file__).parents[1] / "deploy"
UNIT = "groundglass-device.service"
PROGRAM = "/opt/groundglass/bin/groundglass"
with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="NOT TESTED: the unit of systemd, as there is no systemd-analyze here",
)


def served(words: list[str]) -> Serve:
    command: Any = _parsed(words)
    assert isinstance(command.command, Serve)
    return command.command


def docker(what: str) -> list[str]:
    found = re.search(rf"^{what} (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    return list(json.loads(found[1]))


def started(text: str) -> list[str]:
    program, *words = shlex.split(re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)[-1])
    assert program == PROGRAM
    return words


def test_what_they_run_is_a_command() -> None:
    unit = served(started((DEPLOY / UNIT).read_text()))
    assert (unit.group, unit.port) == ("groundglass-clients", None)
    tls = served(started((DEPLOY / "tls.conf").read_text()))
    assert tls.socket is None
    assert tls.tls_cert is not None
    program, *words = docker("ENTRYPOINT")
    assert program == "groundglass"
    assert served([*words, *docker("CMD")]).devices == ("lab=/run/secrets/lab.device",)


def test_the_container_is_not_roots() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert re.findall(r"^USER (\d+)", text, re.MULTILINE)[-1] != "0"
    assert text.index("\nUSER") < text.index("\nENTRYPOINT")


def installed(folder: Path, *, tls: bool) -> Path:
    """Where systemd finds it, and with a program that is there."""
    unit = folder / UNIT
    unit.write_text((DEPLOY / UNIT).read_text().replace(PROGRAM, "/bin/true"))
    if tls:
        (folder / f"{UNIT}.d").mkdir()
        (folder / f"{UNIT}.d" / "tls.conf").write_text((DEPLOY / "tls.conf").read_text().replace(PROGRAM, "/bin/true"))
    return unit


def analysed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60)


@with_systemd
@pytest.mark.parametrize("tls", [False, True])
def test_systemd_takes_the_unit(tmp_path: Path, tls: bool) -> None:
    unit = installed(tmp_path, tls=tls)
    done = analysed("verify", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    # 0.8 and 1.7 of 10, the parts that systemd counts: lower is better.
    limit = 20 if tls else 10
    assert analysed("security", "--offline=true", f"--threshold={limit}", str(unit)).returncode == 0
    # Both would notice.
    unit.write_text(
        unit.read_text().replace("NoNewPrivileges=yes", "NoNewPrivileges=perhaps\nDynamicUser=no\nUser=root")
    )
    done = analysed("verify", str(unit))
    assert "perhaps" in done.stderr
    assert analysed("security", "--offline=true", f"--threshold={limit}", str(unit)).returncode != 0
