"""The log is not the work: what stands in front of standard output and error, and what is written into it."""

import errno
import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from groundglass import cli
from groundglass.cli import terminal as terminal_module
from groundglass.cli.terminal import Terminal, lasting_streams, say_table
from groundglass.optics import SimulatedOPU

HOSTILE = "a\x1b[31mb\x07\u202ec [bold]d[/bold] :smile: $x_1"


class Failing(io.StringIO):
    """A stream whose reader has gone, or whose disk is full."""

    def __init__(self, number: int, after: int = 0) -> None:
        super().__init__()
        self.number, self.after = number, after

    def write(self, text: str) -> int:
        if len(self.getvalue()) >= self.after:
            raise OSError(self.number, os.strerror(self.number))
        return super().write(text)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A command that works long, and speaks of it; whether its result is right."""
    device = SimulatedOPU.create(20, 10, seed=1)
    device.save(tmp_path / "a.device")
    bits = np.random.default_rng(0).integers(0, 2, (40, 20), dtype=np.uint8)
    np.save(tmp_path / "bits.npy", bits)
    arguments = ["device", "measure", str(tmp_path / "a.device"), "--bits", str(tmp_path / "bits.npy")]
    # Every piece of progress is told.
    clock = iter(range(0, 10**6, 31))
    monkeypatch.setattr(terminal_module.time, "monotonic", lambda: next(clock))

    def run() -> int:
        code = cli.main([*arguments, "--out", str(tmp_path / "out.npy")])
        assert (np.load(tmp_path / "out.npy") == device.measure(torch.from_numpy(bits)).numpy()).all()
        return code

    return run


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("after", [0, 30])
def test_a_log_that_cannot_be_written_changes_nothing(number, after, measured, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Failing(number, after))
    assert measured() == 0
    assert "40 rows of 20 bits" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "code"), [(errno.EPIPE, 0), (errno.ENOSPC, 1)])
def test_output_that_nobody_takes_leaves_the_work_whole_and_a_full_disk_is_told(
    number, code, measured, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stdout", Failing(number, 30))
    assert measured() == code
    assert (os.strerror(number) in capsys.readouterr().err) == bool(code)


def test_a_process_without_streams_works(measured, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert measured() == 0


@pytest.mark.parametrize(
    ("shell", "code", "said"),
    [
        ("{} --help >/dev/full", 1, "No space left"),
        ("{} --help | head -c 20 >/dev/null; exit ${{PIPESTATUS[0]}}", 0, ""),
        ("{} nonsense 2>/dev/full", 2, ""),
        ("PYTHONIOENCODING=ascii {} --help 2>&1 >/dev/null", 0, ""),
        ("COLUMNS=1 {} --help 2>&1 >/dev/null", 0, ""),
    ],
)
def test_a_process_ends_as_it_should_and_python_has_no_last_word(shell, code, said):
    command = shell.format(f"{sys.executable} -m groundglass.cli")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == bool(said)
    assert "Error" not in done.stdout


def test_what_an_encoding_lacks_is_still_said(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert cli.main(["recipes"]) == 0
    assert b"white-box" in raw.getvalue()
    with lasting_streams():
        print("L∞ ε → 1 µs 猫")
    assert raw.getvalue().endswith(b"Linf eps -> 1 us \\u732b\n")


def test_names_do_nothing_to_the_terminal(capsys):
    with Terminal() as terminal:
        terminal.note(HOSTILE)
        terminal.announce(HOSTILE)
        terminal.finished(HOSTILE, HOSTILE, 1.0)
    say_table("t", ["name"], [[HOSTILE]])
    assert cli.main(["device", "info", HOSTILE]) == 1
    shown = capsys.readouterr()
    for text in shown:
        assert not set(text) & set("\x1b\x07\u202e")
        assert "[bold]d[/bold] :smile: $x_1" in text
        assert "a\\x1b[31mb\\x07\\u202ec" in text


def test_progress_in_place_shows_names_as_they_are(monkeypatch):
    from rich.console import Console

    heard = io.StringIO()
    with Terminal(Console(file=heard, force_terminal=True, width=200)) as terminal:
        terminal.announce(HOSTILE)
        terminal.announce(HOSTILE)
    assert "[bold]d[/bold] :smile:" in heard.getvalue()
    assert "\x1b[31mb" not in heard.getvalue()


def test_everything_that_a_command_prints_passes_through_one_place():
    folder = os.path.dirname(cli.__file__)
    for name in sorted(os.listdir(folder)):
        if name.endswith(".py") and name != "terminal.py":
            with open(os.path.join(folder, name)) as file:
                text = file.read()
            assert "print(" not in text, name
            assert not re.search(r"(import|from) rich", text), name
