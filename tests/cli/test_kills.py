"""A command that is killed, or whose machine loses its power, at any moment: the same command then does what it should.

A child process is ended, without a word, at the k-th of the calls that change the disk; for each k in turn. After that no
secret may lie in an unfinished file, nothing that was whole may be gone, and the command, run again, must end as ever.
"""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundglass import cli
from groundglass.optics import SimulatedOPU
from groundglass.optics.streams import measurement
from tests.runs import RunFolder, right

pytestmark = pytest.mark.slow

SEED = 271828182845904523
N, M = 32, 24
#: The calls that change the disk, of all that the package uses.
CHANGES = ("fsync", "replace", "rename", "link", "unlink", "mkdir", "ftruncate", "pwrite", "posix_fallocate")


def counted(at_call: Callable[[], None], patch: Callable[[str, Any], None]) -> None:
    """Have `at_call` called before each call that changes the disk."""

    def before(name: str) -> None:
        real = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            at_call()
            return real(*args, **options)

        patch(name, call)

    for name in CHANGES:
        if hasattr(os, name):
            before(name)
    real_open = os.open

    def opened(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            at_call()
        return real_open(path, flags, *args, **options)

    patch("open", opened)


def killed_at(command: list[str], call: int) -> int:
    """Run the command in a child that is ended at this call; its exit code, 9 if it came so far."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code, left = 99, call
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)

        def one() -> None:
            nonlocal left
            if left == 0:
                os._exit(9)
            left -= 1

        counted(one, lambda name, value: setattr(os, name, value))
        code = cli.main(command)
    finally:
        os._exit(code)


def kills(command: list[str], step: int = 1) -> Iterator[int]:
    """Kill the command at each call, or each `step`-th after the first 20, until it is through."""
    call = 0
    while (code := killed_at(command, call)) == 9:
        yield call
        call += 1 if call < 20 else step
    assert code in (0, 1)  # 1: what a killed one had finished is there already
    assert call > 5, "the detector detects"


def holding(folder: Path, secret: str) -> list[str]:
    """Files with these digits in them."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and secret.encode() in p.read_bytes())


@pytest.fixture
def device(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    SimulatedOPU.create(N, M, seed=SEED).save(tmp_path / "keys" / "a.device")
    return tmp_path / "keys" / "a.device"


@pytest.mark.parametrize(("what", "unnamed"), [("new", True), ("new", False), ("redraw", False)])
def test_a_killed_new_device_is_whole_or_not_there(
    what: str, unnamed: bool, device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not unnamed:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    elif not hasattr(os, "O_TMPFILE"):
        pytest.skip("no files without names here")
    secret = SEED + 1
    how = ["new", "--inputs", str(N), "--outputs", str(M)] if what == "new" else ["redraw", str(device)]
    folder = tmp_path / "made" / "here"
    out = folder / "b.device"
    command = ["device", *how, "--out", str(out), "--seed", str(secret)]
    fingerprint = SimulatedOPU.create(N, M, seed=secret).fingerprint
    codes = set()
    for _ in kills(command):
        if unnamed:
            assert holding(tmp_path, f"{secret:x}") in ([], ["b.device"])
        there = out.exists()
        if there:
            assert SimulatedOPU.load(out).fingerprint == fingerprint
        code = cli.main(command)
        codes.add((there, code))
        assert SimulatedOPU.load(out).fingerprint == fingerprint
        if code == 0:
            # What a killed process left goes with the next save.
            assert [path.name for path in folder.iterdir()] == ["b.device"]
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    assert codes <= {(False, 0), (True, 1)}
    assert (False, 0) in codes
    assert SimulatedOPU.load(device).public  # the old one is as it was


def test_a_killed_retrieval_goes_on_from_every_moment(device: Path, tmp_path: Path) -> None:
    def command(out: str) -> list[str]:
        return ["retrieve", str(device), "--out", str(tmp_path / out), "--queries", "16N"]

    assert cli.main(command("whole")) == 0
    whole = (tmp_path / "whole" / "matrix.npy").read_bytes()
    count = 0
    for count in kills(command("cut"), step=29):
        # From one kill to the next in the same folder; now and then to the end.
        if count % 7 == 6:
            assert cli.main(command("cut")) == 0
            assert (tmp_path / "cut" / "matrix.npy").read_bytes() == whole
            for path in (tmp_path / "cut").iterdir():
                path.unlink()
            (tmp_path / "cut").rmdir()
    assert count
    assert (tmp_path / "cut" / "matrix.npy").read_bytes() == whole
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {"matrix.npy", "readings.npy", "retrieval.json"}


def test_a_killed_measurement_goes_on_from_every_moment(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement, "_FRAME_SECONDS", 0.0)  # small pieces
    bits = np.random.default_rng(0).integers(0, 2, (24, N), dtype=np.uint8)
    np.save(tmp_path / "bits.npy", bits)
    options = ["device", "measure", str(device), "--bits", str(tmp_path / "bits.npy"), "--out"]
    assert cli.main([*options, str(tmp_path / "whole.npy")]) == 0
    whole = (tmp_path / "whole.npy").read_bytes()
    out = tmp_path / "cut" / "readings.npy"
    for call in kills([*options, str(out)]):
        assert not out.exists() or out.read_bytes() == whole
        if call % 3 == 2 and not out.exists():
            assert cli.main([*options, str(out)]) == 0
            assert out.read_bytes() == whole
        if out.exists():
            for path in out.parent.iterdir():
                path.unlink()
            out.parent.rmdir()
    assert out.read_bytes() == whole
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


class Disk:
    """What would be there after a power cut: files whose content, and folders whose names, have been put on the disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self.content, self.folders = 0, dict[int, int](), dict[int, int]()
        self.named = dict[str, int]()
        fsync = os.fsync

        def synced(fd: int) -> None:
            fsync(fd)
            status = os.fstat(fd)
            self.now += 1
            (self.folders if stat.S_ISDIR(status.st_mode) else self.content)[status.st_ino] = self.now

        patch.setattr(os, "fsync", synced)
        for name in ("replace", "rename", "link"):
            patch.setattr(os, name, self._naming(getattr(os, name)))
        patch.setattr(os, "mkdir", self._making(os.mkdir))

    def _naming(self, real: Any) -> Any:
        def call(source: Any, target: Any, *, dst_dir_fd: int | None = None, **options: Any) -> None:
            real(source, target, dst_dir_fd=dst_dir_fd, **options)
            self.now += 1
            folder = None if dst_dir_fd is None else os.readlink(f"/proc/self/fd/{dst_dir_fd}")
            self.named[str(target if folder is None else Path(folder) / target)] = self.now

        return call

    def _making(self, real: Any) -> Any:
        def call(path: Any, *args: Any, **options: Any) -> None:
            real(path, *args, **options)
            self.now += 1
            self.named[str(path)] = self.now

        return call

    def lost(self, folder: Path) -> list[str]:
        """What stands under `folder` and would not after a power cut."""
        found = []
        for path in sorted(folder.rglob("*")):
            status = path.stat()
            written = path.is_dir() or status.st_ino in self.content
            named = self.folders.get(path.parent.stat().st_ino, 0) > self.named.get(str(path), 0)
            found += [] if written and named else [str(path.relative_to(folder))]
        return found


def run_folder(folder: Path) -> Path:
    """Of two attacks."""
    made = RunFolder(folder)
    made.network("VGG-16")
    made.attack("VGG-16", right(30))
    made.run()
    return folder


BLOCK = "<!-- groundglass tables RUN white-box -->\n\n<!-- end -->\n"


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("what", ["new", "redraw", "measure", "retrieve", "tables", "compact", "export", "report"])
def test_what_a_command_has_made_is_on_the_disk_when_it_ends(
    what: str, device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made" / "here"
    if what == "measure":
        np.save(tmp_path / "bits.npy", np.ones((4, N), dtype=np.uint8))
    if what in ("tables", "compact", "export", "report"):
        run_folder(tmp_path / "run")
    if what == "tables":
        out.mkdir(parents=True)
        (out / "page.md").write_text(BLOCK.replace("RUN", "run"))
    command = {
        "new": ["device", "new", "--inputs", str(N), "--outputs", str(M), "--out", str(out / "a.device")],
        "redraw": ["device", "redraw", str(device), "--out", str(out / "b.device")],
        "measure": [*("device", "measure", str(device), "--bits", f"{tmp_path}/bits.npy"), "--out", f"{out}/r.npy"],
        "retrieve": ["retrieve", str(device), "--queries", "16N", "--out", str(out)],
        "tables": ["tables", "--update", str(out / "page.md"), "--root", str(tmp_path)],
        "compact": ["compact", str(tmp_path / "run"), str(out)],
        "export": ["export", str(tmp_path / "run"), "--out", str(out)],
        "report": ["report", str(tmp_path / "run"), "--out", str(out)],
    }[what]
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        assert cli.main(command) == 0
    assert list(out.iterdir())
    assert disk.lost(out if what == "tables" else tmp_path / "made") == []


def test_the_disk_detects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without fsync, one whose folder has none, and one that has both."""
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        for name in ("nothing", "content", "whole"):
            (tmp_path / name).mkdir()
            with open(tmp_path / name / "part", "wb") as file:
                file.write(b"x")
                if name != "nothing":
                    os.fsync(file.fileno())
            os.replace(tmp_path / name / "part", tmp_path / name / "file")
        for folder in (tmp_path / "whole", tmp_path):
            fd = os.open(folder, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
    assert disk.lost(tmp_path) == ["content/file", "nothing/file"]
