"""What is served, and that it is served once."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from groundglass.cli import main
from groundglass.core.locks import HeldError
from groundglass.optics import DeviceStore, LightOnOPU, MovingDevice, RemoteOPU, SimulatedOPU
from groundglass.service.guard import NaturalBits
from groundglass.service.open import opened
from groundglass.service.policy import Redraw
from tests.contracts.test_device_contract import M, N, StandIn, draw


@pytest.fixture
def file(tmp_path: Path) -> Path:
    SimulatedOPU.create(N, M, seed=1).save(tmp_path / "lab.device")
    return tmp_path / "lab.device"


def make() -> LightOnOPU:
    return LightOnOPU.calibrate(StandIn("numpy"), N, M, fingerprint="lab-2")


def nothing() -> object:
    return object()


def test_files_stores_and_factories(file: Path, tmp_path: Path) -> None:
    moving = MovingDevice.create(N, M, count=2, seed=1)
    path = DeviceStore(tmp_path / "store").put(moving)
    sources = {"lab": str(file), "moving": str(path), "opu": f"{__name__}:make"}
    with opened(sources, tmp_path / "state", policy=Redraw(frames=100)) as service:
        found = {name: frames.versions for name, frames in service.devices.items()}
        assert {name: versions.fingerprint for name, versions in found.items()} == {
            "lab": SimulatedOPU.create(N, M, seed=1).fingerprint,
            "moving": moving.fingerprint,
            "opu": "lab-2",
        }
        assert [versions.frames_left for versions in found.values()] == [100, 100, None]
        assert all(frames.rate == 2000 for frames in service.devices.values())


def test_one_service_for_a_device_file_and_one_for_a_state_folder(file: Path, tmp_path: Path) -> None:
    with opened({"lab": str(file)}, tmp_path / "state"):
        with pytest.raises(HeldError, match=r"lab\.device"), opened({"x": str(file)}, tmp_path / "other"):
            pass
        with pytest.raises(HeldError, match="state"), opened({"opu": f"{__name__}:make"}, tmp_path / "state"):
            pass
        link = tmp_path / "link.device"
        link.symlink_to(file)
        with pytest.raises(HeldError), opened({"x": str(link)}, tmp_path / "third"):
            pass
        same = tmp_path / "elsewhere" / "same.device"
        same.parent.mkdir()
        same.hardlink_to(file)
        with pytest.raises(HeldError), opened({"x": str(same)}, tmp_path / "fourth"):
            pass
        assert file.with_name(f".{file.name}.serving").stat().st_mode & 0o077 == 0
    with opened({"lab": str(file)}, tmp_path / "state"):
        pass


def test_a_file_where_nothing_can_be_written_is_served_once_too(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credential, or a file on a disk that is read-only."""

    def refused(path: Path, **_: Any) -> Any:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("groundglass.service.open.lock", refused)
    with (
        opened({"lab": str(file)}, tmp_path / "one"),
        pytest.raises(HeldError),
        opened({"lab": str(file)}, tmp_path / "two"),
    ):
        pass
    with opened({"lab": str(file)}, tmp_path / "two") as service:
        assert service.devices.keys() == {"lab"}


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777, 0o702])
def test_a_state_folder_that_others_may_write(file: Path, tmp_path: Path, mode: int) -> None:
    """They could put a device of their own in place of one that was redrawn."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(mode)
    with pytest.raises(PermissionError, match="chmod go-w"), opened({"lab": str(file)}, state):
        pass
    state.chmod(0o755)
    with opened({"lab": str(file)}, state):
        pass


def test_a_guard_from_its_file(file: Path, tmp_path: Path) -> None:
    NaturalBits.fit(draw(150), draw(150, seed=1)).save(tmp_path / "guard")
    with opened({"lab": str(file)}, tmp_path / "state", guard=tmp_path / "guard", response="refuse") as service:
        watch = service.devices["lab"].watch
        assert watch is not None
        assert watch.response == "refuse"
    SimulatedOPU.create(N + 1, M, seed=1).save(tmp_path / "other.device")
    with (
        pytest.raises(ValueError, match="fit one of its own"),
        opened({"other": str(tmp_path / "other.device")}, tmp_path / "state", guard=tmp_path / "guard"),
    ):
        pass


@pytest.mark.parametrize(
    ("sources", "error"),
    [
        ({"a/b": "lab.device"}, ValueError),
        ({"lab": "none.device"}, FileNotFoundError),
        ({"lab": "lab.device", "again": "copy.device"}, ValueError),
        ({"lab": f"{__name__}:nothing"}, ValueError),
        ({"lab": f"{__name__}:none"}, ValueError),
        ({"lab": "no.such.module:make"}, ValueError),
    ],
)
def test_what_cannot_be_served(
    sources: dict[str, str], error: type[Exception], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    SimulatedOPU.create(N, M, seed=1).save(tmp_path / "copy.device")
    with pytest.raises(error), opened(sources, tmp_path / "state"):
        pass
    with opened({"lab": "lab.device"}, tmp_path / "state"):  # and nothing stays locked
        pass


@pytest.mark.parametrize(
    "options",
    [
        ["lab", "--socket", "s"],
        ["lab=lab.device"],
        ["lab=lab.device", "--socket", "s", "--port", "80"],
        ["lab=lab.device", "lab=lab.device", "--socket", "s"],
        ["lab=lab.device", "--port", "0", "--host", "0.0.0.0"],
        ["lab=lab.device", "--port", "0", "--tls-cert", "c.pem"],
        ["lab=lab.device", "--port", "0", "--group", "g"],
        ["lab=lab.device", "--port", "80000"],
        ["lab=lab.device", "--socket", "s", "--group", "no-such-group"],
        ["lab=lab.device", "--socket", "s", "--guard-response", "refuse"],
        ["lab=lab.device", "--socket", "s", "--tls-cert", "c.pem", "--tls-key", "k.pem"],
        ["lab=lab.device", "--socket", "s", "--frame-rate", "fast"],
        ["lab=lab.device", "--socket", "s", "--redraw-frames", "few"],
    ],
    ids=range(13),
)
def test_a_command_line_that_is_none(
    options: list[str], file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(file.parent)
    monkeypatch.setattr("groundglass.core.hardening.harden_process", lambda: pytest.fail("this process is not its own"))
    assert main(["device", "serve", *options, "--state", "state"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_command(file: Path, tmp_path: Path) -> None:
    """A process of its own: who has a token measures; SIGTERM ends it; and what it says holds no secret."""
    state, at = tmp_path / "state", tmp_path / "s"
    token = tmp_path / "token"
    assert main(["device", "token", "new", "alice", "--state", str(state), "--out", str(token)]) == 0
    options = [f"lab={file}", "--state", str(state), "--socket", str(at), "--frame-rate", "none"]
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "groundglass.cli", "device", "serve", *options]
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, **told) as process:  # type: ignore[call-overload]
        try:
            while (line := process.stdout.readline()) and not line.startswith("ready"):
                pass
            assert line, process.stderr.read()
            assert at.stat().st_mode & 0o777 == 0o600
            device = RemoteOPU(f"unix://{at}#lab", token_file=token)
            assert torch.equal(device.measure(draw(50)), SimulatedOPU.create(N, M, seed=1).measure(draw(50)))
            with pytest.raises(HeldError), opened({"lab": str(file)}, tmp_path / "other"):
                pass
        finally:
            process.send_signal(signal.SIGTERM)
        _, log = process.communicate()
    assert process.returncode == 143
    assert not at.exists()
    assert '"frames": 50' in log
    assert token.read_text().split("_", 2)[2].strip()[:8] not in log
    assert "lab.device" not in log
