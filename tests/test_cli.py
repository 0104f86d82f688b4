import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from groundglass import cli
from groundglass.optics import SimulatedOPU, true_matrix
from groundglass.optics.retrieval import row_errors
from tests.studies.tiny import enter, unjudged

pytestmark = pytest.mark.filterwarnings("ignore:.* steps of .* cannot reach:RuntimeWarning")


@pytest.fixture
def small_world(monkeypatch):
    enter(monkeypatch, "white-box", cells=unjudged)


def test_help_and_recipes_need_no_torch():
    code = (
        "import sys; from groundglass.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "recipes" in done.stdout


def test_recipes_are_listed_with_their_cost(capsys):
    assert cli.main(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("quick", "laptop", "paper", "minutes"))


def test_run_report_and_run_again(small_world, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["run", "white-box", "--recipe", "tiny", "--out", str(out), "--device-seed", "7"]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == f"report: {out / 'report.html'}"
    page = (out / "report.html").read_bytes()
    assert cli.main(arguments) == 0
    assert "is complete" in capsys.readouterr().out
    (out / "report.html").unlink()
    assert cli.main(["report", str(out)]) == 0
    assert (out / "report.html").read_bytes() == page
    assert {p.suffix for p in (out / "figures").iterdir()} == {".png", ".svg"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "white-bx", "--out", "x"], "did you mean 'white-box'"),
        (["run", "white-box", "--recipe", "labtop", "--out", "x"], "did you mean 'laptop'"),
        (["run", "white-box", "--recipe", "laptop", "--data", "cifar1", "--out", "x"], "did you mean 'cifar10'"),
        (["run", "all", "--recipe", "full-width", "--out", "x"], "unknown recipe of all 'full-width'"),
        (["report", "nowhere"], "nowhere"),
        (["tables", "retrieval"], "say --part retrieval"),
        (["tables", "--update", "missing.md"], "groundglass: missing.md: No such file or directory\n"),
        (["redraw", "nowhere", "--data", "shapes", "--out", "x"], "no model file nowhere"),
    ],
)
def test_a_users_error_is_one_line_and_exit_code_1(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.startswith("groundglass: ")
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_a_folder_that_the_same_command_continues(small_world, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    arguments = ["run", "white-box", "--recipe", "tiny", "--out", str(out)]
    from groundglass.terminal import Terminal

    def interrupt(self, name, result, seconds):
        if "VGG-16" in name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "finished", interrupt)
        assert cli.main(arguments) == 130
    assert "the same command continues" in capsys.readouterr().err
    assert cli.main(arguments) == 0


@pytest.mark.parametrize("at", ["groundglass.studies.run_study", "groundglass.report.build"])
def test_sigterm_ends_a_run_as_ctrl_c_does(at, tmp_path, capsys, monkeypatch):
    def end(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("groundglass.studies.run_study", lambda *args, **kwargs: 0)
    monkeypatch.setattr(at, end)
    assert cli.main(["run", "white-box", "--out", str(tmp_path / "run")]) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err
    assert "ended by SIGTERM: what is done is kept" in said
    assert "the same command continues" in said


def test_a_study_without_its_command_is_told_the_command(capsys):
    assert cli.main(["white-box", "--out", "x"]) == 2
    assert "`groundglass run white-box --out x`" in capsys.readouterr().err


def test_retrieve_says_what_it_took_and_how_far_off_it_is_and_goes_on(tmp_path, capsys):
    device = SimulatedOPU.create(32, 24, seed=271828182845)
    device.save(tmp_path / "a.device")
    command = ["retrieve", str(tmp_path / "a.device"), "--out", str(tmp_path / "out"), "--queries", "16N"]
    assert cli.main(command) == 0
    shown = capsys.readouterr().out
    assert "24 rows of 32 from 512 frames (16.0 N), method fixed-exposure" in shown
    assert "0.3 at the device (2000 frames a second)" in shown
    errors = row_errors(torch.from_numpy(np.load(tmp_path / "out" / "matrix.npy")), true_matrix(device))
    assert f"median {float(errors.median()):.2%}, worst {float(errors.max()):.2%}" in shown
    assert "271828182845" not in shown
    assert cli.main(command) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--queries", "2N"], "needs at least 128"),
        (["--queries", "many"], "give one, as 12288, or a multiple of the inputs, as 12N"),
        (["--queries", "nan"], "give one, as 12288"),
        (["--method", "closedform"], "did you mean 'closed-form'"),
        (["--method", "closed-form"], "sets the exposure"),
        (["--rows", "25"], "must be 1 to 24"),
        (["--frame-rate", "0"], "must be above 0"),
    ],
)
def test_retrieve_refuses_before_any_work(changes, said, tmp_path, capsys):
    SimulatedOPU.create(32, 24, seed=1).save(tmp_path / "a.device")
    assert cli.main(["retrieve", str(tmp_path / "a.device"), "--out", str(tmp_path / "out"), *changes]) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert len(shown.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
