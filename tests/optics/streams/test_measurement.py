"""Measuring files: the readings are the device's, whatever interrupts it; bad input is refused before work is lost."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from groundglass.core import DamagedFileError, DiskFullError
from groundglass.optics import Camera, SimulatedOPU
from groundglass.optics.streams import measurement as measuring
from groundglass.optics.streams import reading_file
from groundglass.optics.streams.measurement import measure_file
from groundglass.optics.streams.reading_file import ReadingFile
from tests.optics.draws import draw as bits_of

N, M, ROWS = 45, 300, 60
SEED = 271828182845904523
NOISY = Camera(read_noise=2.0, shot_noise=500)
DEVICES = {
    "dense": {},
    "procedural": {"kind": "procedural"},
    "structured": {"kind": "structured"},
    "float procedural": {"kind": "procedural", "camera": Camera(bits=None)},
    "noisy dense": {"camera": NOISY},
    "noisy procedural": {"kind": "procedural", "camera": NOISY},
}


def create(name: str = "dense", seed: int = SEED) -> SimulatedOPU:
    return SimulatedOPU.create(N, M, seed=seed, **DEVICES[name])  # type: ignore[arg-type]


def draw(rows: int = ROWS, n: int = N) -> Tensor:
    return bits_of(rows, n)


def readings_of(name: str = "dense") -> np.ndarray:
    """What the device itself reads."""
    return create(name).measure(draw()).numpy()


def stopped(device: SimulatedOPU, bits: Path, out: Path, at: int) -> None:
    """Measure until Ctrl-C comes at some piece."""
    with pytest.raises(KeyboardInterrupt):
        measure_file(device, bits, out, progress=Stop(at))


@pytest.fixture
def bits(tmp_path: Path) -> Path:
    np.save(tmp_path / "bits.npy", draw().numpy())
    return tmp_path / "bits.npy"


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 25 rows, and pieces of 16 rows or 64 outputs: many, as at full size."""
    monkeypatch.setattr(measuring, "_FRAME_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "_SPAN_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "rows_at_a_time", lambda n, m: 25)


class Stop:
    """Progress that ends it at some point."""

    def __init__(self, at: int, with_: BaseException | None = None) -> None:
        self.at, self.error = at, with_ or KeyboardInterrupt()
        self.seen: list[tuple[int, int]] = []

    def __call__(self, what: str, done: int, total: int, **figures: float) -> None:
        if what == "readings":
            self.seen.append((done, total))
            if len(self.seen) == self.at:
                raise self.error


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", DEVICES)
def test_the_file_has_the_readings_of_the_device(name: str, bits: Path, tmp_path: Path) -> None:
    progress = Stop(at=0)
    done = measure_file(create(name), bits, tmp_path / "out.npy", progress=progress)
    expected = readings_of(name)
    found = np.load(tmp_path / "out.npy", mmap_mode="r")
    assert found.dtype == expected.dtype
    assert (found == expected).all()
    assert sorted(os.listdir(tmp_path)) == ["bits.npy", "out.npy"]
    assert done.rows == ROWS
    assert done.gone_on_from == 0
    assert done.saturated == (None if expected.dtype == np.float32 else (expected == 255).mean())
    # 2 spans of a batch of 25 rows, 5 and 5; or row by row, where one may be minutes; or 16 rows 4 times.
    pieces = 2 + 5 + 5 if name in ("procedural", "float procedural") else ROWS if name == "noisy procedural" else 4
    # It moves, and ends at the end.
    assert len(progress.seen) == 1 + pieces
    assert progress.seen == sorted(set(progress.seen))
    assert progress.seen[0] == (0, ROWS * M)
    assert progress.seen[-1] == (ROWS * M, ROWS * M)


@pytest.mark.parametrize("n", [1, 8, 45])
def test_bool_and_packed_bits_read_as_bits(n: int, tmp_path: Path) -> None:
    device = SimulatedOPU.create(n, 3, seed=1, camera=Camera(density=1.0))
    x = draw(n=n)
    expected = device.measure(x).numpy()
    np.save(tmp_path / "plain.npy", x.numpy())
    np.save(tmp_path / "bool.npy", x.numpy().astype(bool))
    np.save(tmp_path / "packed.npy", np.packbits(x.numpy(), axis=1))
    if n == 1:
        # One byte for one input may be either.
        with pytest.raises(ValueError, match="packed=True or packed=False"):
            measure_file(device, tmp_path / "plain.npy", tmp_path / "out.npy")
    for name in ("plain", "bool", "packed"):
        said = {"plain": False, "bool": None, "packed": True}[name] if n == 1 else None
        measure_file(device, tmp_path / f"{name}.npy", tmp_path / f"{name}-out.npy", packed=said)
        assert (np.load(tmp_path / f"{name}-out.npy") == expected).all()


KILLED = """
import os, signal, sys
from groundglass.optics import SimulatedOPU
from groundglass.optics.streams import measurement as measuring, reading_file
measuring._FRAME_SECONDS = measuring._SPAN_SECONDS = 0.0
measuring.rows_at_a_time = lambda n, m: 25
where, left = sys.argv[4], int(sys.argv[5])
def die():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
def around(function):
    def wrapped(*args):
        die()
        return function(*args)
    return wrapped
if where == "ledger":
    reading_file.write_json = around(reading_file.write_json)
elif where == "write":
    os.pwrite = around(os.pwrite)
device = SimulatedOPU.load(sys.argv[1])
measuring.measure_file(device, sys.argv[2], sys.argv[3])
"""


@pytest.mark.one_in(5)
@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("name", "where", "after", "kept"),
    [
        # The first writing of the ledger, and of the part file, is before there are readings.
        ("procedural", "ledger", 8, 25 * M + 25 * 256),
        ("procedural", "write", 1, 0),
        ("noisy dense", "ledger", 4, 32 * M),
    ],
)
def test_a_killed_measurement_goes_on_and_nothing_tells(
    name: str, where: str, after: int, kept: int, bits: Path, tmp_path: Path
) -> None:
    device, out = tmp_path / "a.device", tmp_path / "out.npy"
    create(name).save(device)
    command = [sys.executable, "-c", KILLED, device, bits, out, where, str(after)]
    killed = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=100)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    assert (tmp_path / ".out.npy.part").exists()
    for path in tmp_path.iterdir():
        holds = f"{SEED:x}".encode() in path.read_bytes() or str(SEED).encode() in path.read_bytes()
        assert holds == (path == device)
    progress = Stop(at=0)
    done = measure_file(SimulatedOPU.load(device), bits, out, progress=progress)
    assert progress.seen[0][0] == kept
    assert done.gone_on_from == kept / (ROWS * M)
    assert (np.load(out) == readings_of(name)).all()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out.npy.part")]


@pytest.mark.one_in(5)
@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("at", [1, 2, 4])
@pytest.mark.parametrize("name", DEVICES)
def test_ctrl_c_at_any_piece_changes_nothing(name: str, at: int, bits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    for again in (at, min(at, 2)):
        stopped(create(name), bits, out, again)
        assert not out.exists()
    done = measure_file(create(name), bits, out)
    expected = readings_of(name)
    assert (np.load(out) == expected).all()
    assert (done.gone_on_from > 0) == (at > 1)
    if expected.dtype == np.uint8:
        assert done.saturated == (expected == 255).mean()


@pytest.mark.usefixtures("small_pieces")
def test_a_dense_device_goes_on_where_its_procedural_twin_stopped(bits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    stopped(create("procedural"), bits, out, 4)
    progress = Stop(at=0)
    done = measure_file(create("dense"), bits, out, progress=progress)
    # whole frames: the batch of which it had some outputs comes again, and counts once
    assert progress.seen[0][0] == 25 * M
    assert done.saturated == np.mean(np.load(out) == 255) > 0
    assert (np.load(out) == readings_of()).all()


@pytest.mark.usefixtures("small_pieces")
def test_noise_of_another_stream_is_another_measurement(bits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    stopped(create("noisy dense"), bits, out, 2)
    other = SimulatedOPU.create(N, M, seed=SEED, camera=NOISY, noise_seed=1)
    with pytest.raises(ValueError, match="noise seed is 0, not 1"):
        measure_file(other, bits, out)


@pytest.mark.usefixtures("small_pieces")
def test_a_noisy_device_that_has_counted_frames_is_not_taken_for_a_fresh_one(bits: Path, tmp_path: Path) -> None:
    """The same object again, as in a notebook: its noise has moved on."""
    out, device = tmp_path / "out.npy", create("noisy dense")
    stopped(device, bits, out, 2)
    with pytest.raises(ValueError, match=r"frames that the device had counted.*is 0, not \d+"):
        measure_file(device, bits, out)
    measure_file(create("noisy dense"), bits, out)
    assert (np.load(out) == readings_of("noisy dense")).all()


@pytest.mark.usefixtures("small_pieces")
def test_a_part_file_of_another_device_or_input_is_refused_and_kept(bits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    stopped(create(), bits, out, 3)
    kept = {path.name: path.read_bytes() for path in tmp_path.glob(".*")}
    assert len(kept) == 2
    with pytest.raises(ValueError, match=f"device is '{create().fingerprint}', not"):
        measure_file(create(seed=1), bits, out)
    np.save(tmp_path / "other.npy", 1 - draw().numpy())
    with pytest.raises(ValueError, match=r"input \(by its SHA-256\)"):
        measure_file(create(), tmp_path / "other.npy", out)
    assert {path.name: path.read_bytes() for path in tmp_path.glob(".*")} == kept
    # The same bits elsewhere are the same input.
    bits.rename(tmp_path / "moved.npy")
    assert measure_file(create(), tmp_path / "moved.npy", out).gone_on_from > 0


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("damage", ["truncated", "header", "ledger", "json", "no ledger"])
def test_a_damaged_part_file_is_refused_with_what_to_delete(damage: str, bits: Path, tmp_path: Path) -> None:
    out, part, ledger = (tmp_path / name for name in ("out.npy", ".out.npy.part", ".out.npy.part.json"))
    stopped(create(), bits, out, 3)
    if damage == "truncated":
        os.truncate(part, part.stat().st_size - 1)
    elif damage == "header":
        part.write_bytes(b"x" + part.read_bytes()[1:])
    elif damage == "ledger":
        ledger.write_text(ledger.read_text().replace('"row": 32', '"row": 61'))
    elif damage == "json":
        os.truncate(ledger, 20)
    else:
        ledger.unlink()
    with pytest.raises((DamagedFileError, FileExistsError), match=r"delete (it|.*\.part and)"):
        measure_file(create(), bits, out)
    for path in tmp_path.glob(".*"):
        path.unlink()
    assert measure_file(create(), bits, out).gone_on_from == 0


def write(path: Path, array: np.ndarray, cut: int = 0) -> None:
    np.save(path, array)
    os.truncate(path, path.stat().st_size - cut)


@pytest.mark.parametrize(
    ("array", "cut", "error", "says"),
    [
        (np.zeros((5, N), dtype=np.float32), 0, ValueError, r"astype\('uint8'\)"),
        (np.zeros((5, N), dtype=np.int8), 0, ValueError, "uint8 or bool"),
        (np.array([None]), 0, ValueError, "holds object"),
        (np.zeros((5, N + 1), dtype=np.uint8), 0, ValueError, "45 bits, or 6 bytes"),
        (np.zeros((5, 6), dtype=bool), 0, ValueError, "another device"),
        (np.zeros(N, dtype=np.uint8), 0, ValueError, r"bits\[None\]"),
        (np.zeros((0, N), dtype=np.uint8), 0, ValueError, "no rows"),
        (np.zeros((5, N), dtype=np.uint8), 1, DamagedFileError, "cut short"),
        (np.zeros((5, N), dtype=np.uint8), 5 * N + 30, DamagedFileError, "not a .npy file"),
        (np.eye(N, dtype=np.uint8).T[:, ::-1].copy(order="F"), 0, ValueError, "ascontiguousarray"),
        (3 * np.eye(N, dtype=np.uint8)[40:], 0, ValueError, "row 0 of .* has a 3: binarise"),
        (np.full((5, 6), 255, dtype=np.uint8), 0, ValueError, "last 3 bits of a row"),
    ],
)
def test_a_file_that_does_not_hold_bits_is_refused(
    array: np.ndarray, cut: int, error: type[Exception], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bits.npy", array, cut)
    device = create()
    monkeypatch.setattr(SimulatedOPU, "measure", lambda *args: pytest.fail("a frame was taken"))
    with pytest.raises(error, match=says):
        measure_file(device, tmp_path / "bits.npy", tmp_path / "out.npy")
    assert os.listdir(tmp_path) == ["bits.npy"]


def test_a_wrong_value_far_into_a_file_is_found_with_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groundglass.optics.streams.bit_file._PIECE", 7 * N)
    array = draw().numpy()
    array[51, N - 1] = 2
    np.save(tmp_path / "bits.npy", array)
    with pytest.raises(ValueError, match=r"row 51 of .* has a 2"):
        measure_file(create(), tmp_path / "bits.npy", tmp_path / "out.npy")


def test_no_file_another_file_and_an_existing_one(bits: Path, tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("0 1 1 0\n")
    (tmp_path / "empty.npy").touch()
    (tmp_path / "mine.npy").write_bytes(b"mine")
    for source, out, error, says in [
        ("nowhere.npy", "out.npy", FileNotFoundError, r"no file of bits .*nowhere.npy"),
        ("text.npy", "out.npy", DamagedFileError, r"not a \.npy file"),
        ("empty.npy", "out.npy", DamagedFileError, r"not a \.npy file"),
        ("bits.npy", "mine.npy", FileExistsError, "is there already"),
    ]:
        with pytest.raises(error, match=says):
            measure_file(create(), tmp_path / source, tmp_path / out)
    assert (tmp_path / "mine.npy").read_bytes() == b"mine"


@pytest.mark.usefixtures("small_pieces")
def test_a_file_that_appears_meanwhile_is_not_replaced(bits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"

    def appears(what: str, done: int, total: int, **figures: float) -> None:
        out.write_bytes(b"mine") if what == "readings" and done else None

    with pytest.raises(FileExistsError):
        measure_file(create(), bits, out, progress=appears)
    assert out.read_bytes() == b"mine"
    out.unlink()
    assert measure_file(create(), bits, out).gone_on_from == 1


@pytest.mark.usefixtures("small_pieces")
def test_an_input_that_changes_meanwhile_is_noticed(bits: Path, tmp_path: Path) -> None:
    def changes(what: str, done: int, total: int, **figures: float) -> None:
        if what == "readings" and done == total:
            np.save(bits, 1 - draw().numpy())
            os.utime(bits, (1, 1))

    with pytest.raises(ValueError, match="changed while it was measured"):
        measure_file(create(), bits, tmp_path / "out.npy", progress=changes)
    assert not (tmp_path / "out.npy").exists()


class Wide:
    """A device with more outputs than any disk has bytes."""

    in_features, out_features, fingerprint, mean_reading = N, 2**50, "wide", 1.0

    def measure(self, bits: Tensor) -> Tensor:
        pytest.fail("a frame was taken")


def test_a_disk_without_room_is_met_before_a_frame_is_taken(
    bits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DiskFullError, match=r"which takes 6\.76e\+07 GB"):
        measure_file(Wide(), bits, tmp_path / "out.npy")
    assert os.listdir(tmp_path) == ["bits.npy"]

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    device = create()
    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(SimulatedOPU, "measure", lambda *args: pytest.fail("a frame was taken"))
    with pytest.raises(DiskFullError, match="no room for"):
        measure_file(device, bits, tmp_path / "out.npy")
    assert os.listdir(tmp_path) == ["bits.npy"]


@pytest.mark.usefixtures("small_pieces")
def test_a_disk_that_fills_up_after_all_loses_nothing(
    bits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*args: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    # As on a file system that takes no room beforehand.
    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    real, written = os.pwrite, 0

    def fills_up(fd: int, data: memoryview, at: int) -> int:
        nonlocal written
        if written > 20 * M:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(fd, data[:1000], at)  # and writes less than it is asked to
        written += done
        return done

    monkeypatch.setattr(os, "pwrite", fills_up)
    with pytest.raises(DiskFullError, match="run the same command again"):
        measure_file(create(), bits, tmp_path / "out.npy")
    monkeypatch.setattr(os, "pwrite", real)
    done = measure_file(create(), bits, tmp_path / "out.npy")
    assert done.gone_on_from == 16 / ROWS
    assert (np.load(tmp_path / "out.npy") == readings_of()).all()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    with ReadingFile(out, {}, (2, 3), np.uint8) as first:
        with pytest.raises(OSError, match="another process is writing"):
            ReadingFile(out, {}, (2, 3), np.uint8)
        first.add(np.ones((2, 3), dtype=np.uint8), saturated=0, seconds=0.0)
        first.finish()
    assert np.load(out).tolist() == [[1, 1, 1]] * 2


def test_a_device_whose_readings_are_not_its_cameras_is_refused(bits: Path, tmp_path: Path) -> None:
    class Floats(Wide):
        out_features = 2

        def measure(self, bits: Tensor) -> Tensor:
            return torch.zeros(len(bits), 2)

    with pytest.raises(TypeError, match="float32"):
        measure_file(Floats(), bits, tmp_path / "out.npy")


def test_a_new_ledger_is_written_with_each_piece(bits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order that makes a kill harmless: readings on the disk first, then the ledger that counts them."""
    order: list[str] = []
    fsync, write_json = os.fsync, reading_file.write_json
    monkeypatch.setattr(measuring, "_FRAME_SECONDS", 0.0)
    monkeypatch.setattr(os, "fsync", lambda fd: order.append("disk") or fsync(fd))
    monkeypatch.setattr(reading_file, "write_json", lambda *args: order.append("ledger") or write_json(*args))
    measure_file(create(), bits, tmp_path / "out.npy")
    # write_json syncs the ledger and its folder; the last folder is that of the readings, which have got their name
    assert order == ["ledger", "disk", "disk", "disk"] + 4 * ["disk", "ledger", "disk", "disk"] + ["disk"]


def test_readings_are_their_owners_alone(bits: Path, tmp_path: Path) -> None:
    """From the first byte on: whoever has the bits too can work out the matrix."""
    modes = set[int]()

    def look(what: str, done: int, total: int, **figures: float) -> None:
        modes.update(path.stat().st_mode & 0o777 for path in tmp_path.glob(".out.npy.part"))

    before = os.umask(0)
    try:
        measure_file(create(), bits, tmp_path / "out.npy", progress=look)
    finally:
        os.umask(before)
    assert modes == {0o600}
    assert (tmp_path / "out.npy").stat().st_mode & 0o777 == 0o600


def test_a_part_file_that_others_could_read_is_closed_to_them(bits: Path, tmp_path: Path) -> None:
    """As an earlier version has left one."""
    part = tmp_path / ".out.npy.part"
    part.touch(mode=0o644)
    measure_file(create(), bits, tmp_path / "out.npy")
    assert (tmp_path / "out.npy").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("trap", ["link", "second name", "pipe", "folder", "another's"])
def test_what_somebody_else_has_put_in_the_part_files_place_gets_no_readings(
    trap: str, bits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, bait = tmp_path / ".out.npy.part", tmp_path / "bait"
    bait.touch(mode=0o666)
    if trap == "link":
        part.symlink_to(bait)
    elif trap == "second name":
        os.link(bait, part)
    elif trap == "pipe":
        os.mkfifo(part)
    elif trap == "folder":
        part.mkdir()
    else:
        part.touch(mode=0o666)
        monkeypatch.setattr(os, "geteuid", lambda: part.stat().st_uid + 1)
    with pytest.raises(PermissionError, match="not a file of yours"):
        measure_file(create(), bits, tmp_path / "out.npy")
    assert not bait.read_bytes()
    assert part.is_dir() or part.is_fifo() or not part.read_bytes()
    assert not (tmp_path / "out.npy").exists()


def test_a_file_that_has_come_meanwhile_is_not_overwritten(bits: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"

    def come(what: str, done: int, total: int, **figures: float) -> None:
        if what == "readings":
            out.write_text("mine")

    with pytest.raises(FileExistsError, match="is there already"):
        measure_file(create(), bits, out, progress=come)
    assert out.read_text() == "mine"
