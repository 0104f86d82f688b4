"""What a command says when it cannot: which file or option, what was expected, what to do. Never what the system says alone."""

import errno
import os
import sys

import numpy as np
import pytest

from groundglass import cli
from groundglass.cli.errors import said
from groundglass.cli.results import Report
from groundglass.core import logits_of
from groundglass.optics import SimulatedOPU

NETWORKS = """
from torch import nn

def conv():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10))

def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(7, 10))

def late():
    import socket
    assert socket.socket, "the system's own"
    raise ValueError("late is done")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "habits_networks", raising=False)
    (tmp_path / "habits_networks.py").write_text(NETWORKS)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    labels = draw.integers(0, 10, 20).astype(np.uint16)
    np.savez(tmp_path / "nchw.npz", images=images, labels=labels)
    SimulatedOPU.create(16, 8, seed=1).save(tmp_path / "a.device")
    (tmp_path / "open.md").write_text('<!-- groundglass tables "a cost -->\n<!-- end -->\n')
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe\x00")
    return tmp_path


AUDIT = ["--data", "nchw.npz", "--images", "20", "--out", "out"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tables", "--update", "open.md"], ("line 1", "quotes")),
        (["tables", "--update", "bytes.md"], ("bytes.md", "text")),
        (["tables", "--update", "."], ("folder", "name a file")),
        (["retrieve", "a.device", "--queries", "1e12N", "--out", "out"], ("16,000,000,000,000 frames", "TB", "fewer")),
        (["retrieve", "a.device", "--seed", "-1", "--out", "out"], ("`seed` (=-1)",)),
        (["run", "white-box", "--seed", "-1", "--out", "out"], ("`seed` (=-1)",)),
        (["audit", "habits_networks:conv", "--seed", "-2", *AUDIT], ("`seed` (=-2)",)),
        *((["audit", name, *AUDIT], (name, "factory")) for name in ("..:x", ":x", "a/b:f", "json:", "a b:f")),
        (["audit", "networks.py:f", *AUDIT], ("no file", "networks.py")),
        (
            ["audit", "habits_networks:narrow", "--trained-on", "cifar10", *AUDIT],
            ("habits_networks:narrow", "nchw.npz", "multiplied"),
        ),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(arguments, told, here, capsys):
    before = sorted(os.listdir())
    assert cli.main(arguments) == 1
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert shown.startswith("groundglass: ")
    for words in told:
        assert words in shown
    assert [name for name in sorted(os.listdir()) if name != "__pycache__"] == before


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ENOLCK, errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EMFILE, errno.ESTALE]
)
def test_what_the_system_says_comes_with_a_place_and_an_advice(number):
    bare = said(OSError(number, os.strerror(number)), "report", Report("runs/one"))  # type: ignore[arg-type]
    named = said(OSError(number, os.strerror(number), "runs/one/x"), "report", Report("runs/one"))  # type: ignore[arg-type]
    part = OSError(number, os.strerror(number), f"runs/one/.x.{'0a' * 8}.part")
    assert said(part, "report", Report("runs/one")) == named  # type: ignore[arg-type]
    assert "`groundglass report`" in bare
    assert named.startswith("runs/one/x: ")
    for told in (bare, named):
        assert len(told.split(os.strerror(number))[1]) > 20


def test_memory_is_a_users_business_and_a_bug_is_not():
    command = Report(None)  # type: ignore[arg-type]
    for error in (MemoryError("2 TB"), RuntimeError("DefaultCPUAllocator: can't allocate memory: 2 TB")):
        told = said(error, "report", command)
        assert "too little memory" in told
        assert "2 TB" in told
    for bug in (RuntimeError("size mismatch"), KeyError("x"), TypeError("x")):
        assert said(bug, "report", command) is None
    with pytest.raises(TypeError) as raised:
        logits_of((1, 2))  # of a model that a user gave to a command
    assert "2 things" in said(raised.value, "audit", command)
    assert said(OSError(errno.ENOSPC, "of ours: all is said"), "report", command) == "of ours: all is said"


def test_a_folder_that_is_gone_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["recipes"]) == 1
    assert "current folder" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)


def test_a_users_module_is_found_here_and_no_file_here_stands_for_a_librarys(here, monkeypatch, capsys):
    (here / "socket.py").write_text("raise AssertionError('a file of the current folder was run')\n")
    monkeypatch.delitem(sys.modules, "socket")
    assert cli.main(["audit", "habits_networks:late", *AUDIT]) == 1
    assert "late is done" in capsys.readouterr().err
