"""`groundglass device`: files made, looked at, measured with and redrawn, and no secret shown on the way."""

import io
import json
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from groundglass import cli
from groundglass.cli.options import count_of
from groundglass.cli.terminal import Terminal
from groundglass.core.sealed import Seed
from groundglass.core.text import size
from groundglass.optics import Camera, SimulatedOPU
from groundglass.optics.streams import measurement as measuring

SEED = 271828182845904523


def new(path: Path, *options: str) -> list[str]:
    return ["device", "new", "--out", str(path), "--inputs", "45", "--outputs", "30", *options]


@pytest.fixture
def device(tmp_path: Path) -> Path:
    SimulatedOPU.create(45, 30, seed=SEED).save(tmp_path / "a.device")
    return tmp_path / "a.device"


@pytest.fixture
def bits(tmp_path: Path) -> Path:
    np.save(tmp_path / "bits.npy", np.random.default_rng(0).integers(0, 2, (50, 45), dtype=np.uint8))
    return tmp_path / "bits.npy"


@pytest.fixture(autouse=True)
def no_secret_is_shown(capfd: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of every test here: nothing that is printed, and no file but device files, has the seed, in either notation."""
    shown: list[str] = []
    read = capfd.readouterr

    def recorded() -> Any:
        found = read()
        shown.extend(found)
        return found

    monkeypatch.setattr(capfd, "readouterr", recorded)
    yield
    recorded()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".device"]
    for text in [*(part.encode() for part in shown), *(path.read_bytes() for path in files)]:
        assert str(SEED).encode() not in text
        assert f"{SEED:x}".encode() not in text.lower()


@pytest.mark.parametrize("kind", ["dense", "procedural", "structured"])
def test_new_makes_the_device_that_it_says(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    options = ["--kind", kind, "--matrix", "real", "--bits", "6", "--saturation", "0.02", "--density", "0.4"]
    options += ["--read-noise", "1.5", "--shot-noise", "900", "--noise-seed", "3", "--seed", str(SEED)]
    assert cli.main(new(tmp_path / "sub" / "a.device", *options)) == 0
    made = SimulatedOPU.load(tmp_path / "sub" / "a.device")
    camera = Camera(bits=6, saturation=0.02, density=0.4, read_noise=1.5, shot_noise=900)
    wanted = SimulatedOPU.create(45, 30, seed=SEED, camera=camera, matrix="real", kind=kind, noise_seed=3)  # type: ignore[arg-type]
    for name in ("fingerprint", "kind", "matrix", "camera", "exposure", "noise_seed"):
        assert getattr(made, name) == getattr(wanted, name)
    x = torch.ones(3, 45, dtype=torch.uint8)
    assert torch.equal(made.measure(x), wanted.measure(x))
    shown = capfd.readouterr().out
    assert f"fingerprint: {made.fingerprint}" in shown
    assert f"{kind} device, real matrix: 45 inputs, 30 outputs" in shown
    assert "camera: 6 bits, saturation 0.02 at density 0.4, read noise 1.5, shot noise 900" in shown
    assert f"mean reading {made.mean_reading:.2f}" in shown
    assert stat.S_IMODE((tmp_path / "sub" / "a.device").stat().st_mode) == 0o600
    # This is the notation that no other file may have.
    assert f"{SEED:x}" in (tmp_path / "sub" / "a.device").read_text()


def test_without_options_a_device_is_as_create_makes_it_but_for_its_secret(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert cli.main(new(tmp_path / f"{name}.device")) == 0
    one, other = (SimulatedOPU.load(tmp_path / f"{name}.device") for name in ("a", "b"))
    assert one.fingerprint != other.fingerprint
    assert one.camera == Camera()
    assert (one.kind, one.matrix, one.noise_seed) == ("dense", "complex", 0)


def test_float_readings(tmp_path: Path) -> None:
    assert cli.main(new(tmp_path / "a.device", "--bits", "float")) == 0
    assert SimulatedOPU.load(tmp_path / "a.device").camera.bits is None


@pytest.mark.parametrize(
    ("text", "count"), [("1e6", 10**6), ("1_000_000", 10**6), ("45", 45), ("2.5e3", 2500), ("1E3", 1000)]
)
def test_sizes_may_be_written_as_people_write_them(text: str, count: int) -> None:
    assert count_of("--inputs", text) == count


def test_new_has_another_power_and_says_so(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert cli.main(new(tmp_path / "a.device", "--power", "1.5", "--seed", str(SEED))) == 0
    assert SimulatedOPU.load(tmp_path / "a.device").camera == Camera(power=1.5)
    assert "noise seed 0, power 1.5\n" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kind", "proceduarl"], "did you mean 'procedural'"),
        (["--matrix", "reel"], "did you mean 'real'"),
        (["--bits", "9"], "must be in [1, 8]"),
        (["--bits", "eight"], "must be 1 to 8, or float"),
        (["--inputs", "many"], "`--inputs` (='many') must be a whole number"),
        (["--inputs", "1.5"], "must be a whole number"),
        (["--inputs", "inf"], "must be a whole number"),
        (["--inputs", "nan"], "must be a whole number"),
        (["--inputs", "0"], "must be at least 1"),
        (["--outputs", "0"], "must be"),
        (["--saturation", "1"], "must be in [0, 1)"),
        (["--seed", "-1"], "must not be negative"),
        (["--power", "5"], "must be in [1, 4]"),
        (["--power", "4", "--shot-noise", "900"], "power=2"),
        (["--inputs", "1e6", "--outputs", "1e6"], "procedural"),
    ],
)
def test_new_refuses_with_one_line(options: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert cli.main(new(tmp_path / "a.device", *options)) == 1
    shown = capfd.readouterr()
    assert said in shown.err
    assert shown.err.startswith("groundglass: ")
    assert len(shown.err.strip().splitlines()) == 1
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_takes_no_file_is_noticed_before_the_work(
    device: Path, bits: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*given: Any, **named: Any) -> None:
        pytest.fail("worked first")

    monkeypatch.setattr(SimulatedOPU, "create", worked)
    monkeypatch.setattr(measuring.BitFile, "check", worked)
    inside = bits / "b"  # below a file
    for command in (
        new(inside),
        ["device", "redraw", str(device), "--out", str(inside)],
        ["device", "measure", str(device), "--bits", str(bits), "--out", str(inside)],
    ):
        assert cli.main(command) == 1
        assert f"nothing can be written into {bits}" in capfd.readouterr().err


def test_an_existing_file_is_never_replaced(device: Path, bits: Path, capfd: pytest.CaptureFixture) -> None:
    before = device.read_bytes()
    for command in (
        new(device),
        ["device", "redraw", str(device), "--out", str(device)],
        ["device", "measure", str(device), "--bits", str(bits), "--out", str(device)],
        ["device", "measure", str(device), "--bits", str(bits), "--out", str(bits)],
    ):
        assert cli.main(command) == 1
        assert "is there already" in capfd.readouterr().err
    assert device.read_bytes() == before


def test_info_tells_what_is_public(device: Path, capfd: pytest.CaptureFixture) -> None:
    assert cli.main(["device", "info", str(device)]) == 0
    shown = capfd.readouterr().out
    loaded = SimulatedOPU.load(device)
    assert f"fingerprint: {loaded.fingerprint}" in shown
    assert "dense device, complex matrix: 45 inputs, 30 outputs" in shown
    assert f"noise seed {loaded.noise_seed}" in shown
    assert f"exposure: {loaded.exposure.gain:.6g} steps a unit of intensity" in shown
    assert f"{size(loaded.nbytes)} held" in shown
    assert f"format version {json.loads(device.read_text())['version']}" in shown


def test_info_notices_an_altered_byte(device: Path, capfd: pytest.CaptureFixture) -> None:
    text = device.read_text()
    at = text.index('"seed": "') + len('"seed": "')
    device.write_text(text[:at] + ("1" if text[at] != "1" else "2") + text[at + 1 :])
    assert cli.main(["device", "info", str(device)]) == 1
    assert "truncated or altered" in capfd.readouterr().err


def test_info_of_a_file_that_others_may_read_or_that_is_not_there(device: Path, capfd: pytest.CaptureFixture) -> None:
    device.chmod(0o644)
    assert cli.main(["device", "info", str(device)]) == 1
    assert "chmod 600" in capfd.readouterr().err
    assert cli.main(["device", "info", "nowhere.device"]) == 1
    assert "no device file nowhere.device" in capfd.readouterr().err


def test_measure_writes_the_readings_and_says_how_many(
    device: Path, bits: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "readings.npy"
    assert cli.main(["device", "measure", str(device), "--bits", str(bits), "--out", str(out)]) == 0
    expected = SimulatedOPU.load(device).measure(torch.from_numpy(np.load(bits))).numpy()
    assert (np.load(out) == expected).all()
    shown = capfd.readouterr().out
    assert "50 rows of 45 bits -> 30 readings each" in shown
    assert f"saturated: {(expected == 255).mean():.2%} of the readings are 255" in shown
    assert shown.splitlines()[-1] == f"readings: {out}"
    np.save(tmp_path / "packed.npy", np.packbits(np.load(bits), axis=1))
    again = ["device", "measure", str(device), "--bits", str(tmp_path / "packed.npy"), "--out"]
    assert cli.main([*again, str(tmp_path / "2.npy"), "--packed", "True"]) == 0
    assert (tmp_path / "2.npy").read_bytes() == out.read_bytes()
    assert cli.main([*again, str(tmp_path / "3.npy"), "--packed", "False"]) == 1
    assert "the device takes 45 bits" in capfd.readouterr().err


def test_ctrl_c_says_that_the_same_command_continues_and_it_does(
    device: Path, bits: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "readings.npy"
    command = ["device", "measure", str(device), "--bits", str(bits), "--out", str(out)]
    monkeypatch.setattr(measuring, "_FRAME_SECONDS", 0.0)

    def interrupt(self: Terminal, what: str, done: int, total: int, **figures: float) -> None:
        if what == "readings" and done:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "progress", interrupt)
        assert cli.main(command) == 130
    assert "the same command continues" in capfd.readouterr().err
    assert not out.exists()
    assert cli.main(command) == 0
    assert "32% of it in earlier sessions" in capfd.readouterr().out
    assert (np.load(out) == SimulatedOPU.load(device).measure(torch.from_numpy(np.load(bits))).numpy()).all()


def test_redraw_changes_the_secret_alone(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    made = ["--kind", "procedural", "--bits", "7", "--read-noise", "1", "--noise-seed", "2", "--seed", "1"]
    assert cli.main(new(tmp_path / "a.device", *made)) == 0
    command = ["device", "redraw", str(tmp_path / "a.device"), "--out"]
    assert cli.main([*command, str(tmp_path / "b.device"), "--seed", str(SEED)]) == 0
    assert cli.main([*command, str(tmp_path / "c.device")]) == 0
    old, seeded, fresh = (SimulatedOPU.load(tmp_path / f"{name}.device") for name in "abc")
    for name in ("kind", "matrix", "in_features", "out_features", "camera", "noise_seed"):
        assert getattr(old, name) == getattr(seeded, name) == getattr(fresh, name)
    assert len({old.fingerprint, seeded.fingerprint, fresh.fingerprint}) == 3
    assert seeded.fingerprint == old.redraw(SEED).fingerprint
    assert f"redrawn from {old.fingerprint}" in capfd.readouterr().out
    assert stat.S_IMODE((tmp_path / "b.device").stat().st_mode) == 0o600
    assert cli.main([*command, str(tmp_path / "d.device"), "--seed", "1"]) == 1
    assert "makes the device of" in capfd.readouterr().err
    assert not (tmp_path / "d.device").exists()


def test_the_walk_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "device.md").read_text()
    monkeypatch.chdir(tmp_path)
    steps = re.findall(r"```python\n(.*?)```|^    groundglass (device [^\n]*)$", page, re.DOTALL | re.MULTILINE)
    assert len([block for block, _ in steps if block]) == 4
    assert len([command for _, command in steps if command]) == 4
    space: dict = {}
    for block, command in steps:
        if command:
            assert cli.main(shlex.split(command)) == 0
        else:
            exec(compile(block, "device.md", "exec"), space)
    assert space["done"].rows == 64
    assert space["done"].saturated == (space["readings"] == 255).mean()


def from_file(path: Path, text: str, *more: str) -> list[str]:
    path.write_text(text)
    return ["--seed-file", str(path), *more]


def test_a_seed_comes_from_a_file_or_from_standard_input(
    tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = SimulatedOPU.create(45, 30, seed=SEED).fingerprint
    seed = tmp_path / "seed.device"  # a name that may hold it, see above
    for name, text in (("a", f"{SEED}\n"), ("b", f"  {SEED:#x}")):
        assert cli.main(new(tmp_path / f"{name}.device", *from_file(seed, text))) == 0
        assert SimulatedOPU.load(tmp_path / f"{name}.device").fingerprint == wanted
    for name, command in (
        ("c", new(tmp_path / "c.device", "--seed-file", "-")),
        (
            "d",
            ["device", "redraw", str(tmp_path / "e.device"), "--out", str(tmp_path / "d.device"), "--seed-file", "-"],
        ),
    ):
        assert cli.main(new(tmp_path / "e.device")) in (0, 1)
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{SEED}\n"))
        assert cli.main(command) == 0
        assert SimulatedOPU.load(tmp_path / f"{name}.device").fingerprint == wanted
    capfd.readouterr()


@pytest.mark.parametrize("text", ["", f"{SEED}x", f"{SEED}.0", "one two"])
def test_what_is_no_seed_is_refused_and_not_repeated(text: str, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    seed = tmp_path / "seed.device"
    assert cli.main(new(tmp_path / "a.device", *from_file(seed, text))) == 1
    assert f"--seed-file {seed}: not a whole number" in capfd.readouterr().err
    assert cli.main(new(tmp_path / "a.device", *from_file(seed, "5", "--seed", "5"))) == 1
    assert "not both" in capfd.readouterr().err
    assert cli.main(new(tmp_path / "a.device", "--seed-file", str(tmp_path / "none"))) == 1
    assert "none" in capfd.readouterr().err
    if text:
        assert cli.main(new(tmp_path / "a.device", "--seed", text)) == 2
        assert "not a whole number" in re.sub(r"[\s│]+", " ", "".join(capfd.readouterr()))
    assert not (tmp_path / "a.device").exists()


def test_a_given_seed_is_told_to_be_public(device: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    assert cli.main(["device", "info", str(device)]) == 0
    assert "seed: public" in capfd.readouterr().out
    assert cli.main(new(tmp_path / "b.device")) == 0
    assert "seed: drawn from the operating system" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("command", "called"),
    [
        (["run", "white-box", "--out", "out"], "groundglass.studies.run_study"),
        (["redraw", "model", "--out", "out", "--data", "shapes"], "groundglass.studies.redraw_model.redraw_model"),
    ],
)
def test_a_study_and_a_redraw_take_their_seed_from_a_file_too(
    command: list[str], called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[Seed | None] = []

    def note(*args: Any, device_seed: Seed | None, **options: Any) -> None:
        assert "device_seed_file" not in options
        assert str(SEED) not in repr((args, options, device_seed))
        seeds.append(device_seed)
        raise KeyboardInterrupt

    monkeypatch.setattr(called, note)
    (tmp_path / "seed.device").write_text(str(SEED))
    for options in (["--device-seed-file", str(tmp_path / "seed.device")], ["--device-seed", str(SEED)], []):
        assert cli.main([*command, *options]) == 130
    assert [seed and seed.reveal() for seed in seeds] == [f"{SEED:x}", f"{SEED:x}", None]
