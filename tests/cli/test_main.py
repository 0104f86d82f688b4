"""The `groundglass` command: its help, its errors, how it ends."""

import os
import signal
import subprocess
import sys
from importlib import metadata
from itertools import pairwise

import pytest

from groundglass import cli
from groundglass.cli import commands
from groundglass.cli.main import _parsed
from groundglass.studies import STUDIES


@pytest.mark.parametrize(("words", "shown"), [(["--help"], "recipes"), (["device", "new", "--help"], "--noise-seed")])
def test_help_needs_no_torch_and_names_options_plainly(words, shown):
    code = (
        "import sys; from groundglass.cli import main\n"
        f"try: main({words})\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert "--command" not in done.stdout


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"], ["runn"], ["white-box"]])
def test_the_help_of_all_imports_no_command_and_nothing_that_lays_out_options(words):
    code = (
        f"import sys; from groundglass.cli import main; main({words})\n"
        "found = {'tyro', 'asyncio', 'rich', 'groundglass.cli.options', 'groundglass.cli.run'} & set(sys.modules)\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def words_of(text):
    """Without the boxes around them, of either kind."""
    return [word for word in text.translate(dict.fromkeys(map(ord, "╭╮╰╯│─"), " ")).split() if word.strip("-")]


@pytest.mark.parametrize("columns", [40, 79, 200])
def test_the_help_of_all_has_the_words_that_tyro_would_lay_out(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main(["--help"]) == 0
    quick = capsys.readouterr().out
    with pytest.raises(SystemExit):
        _parsed(["--help"])
    assert words_of(quick) == words_of(capsys.readouterr().out)
    boxed = [line for line in quick.splitlines() if line[:1] in "╭│╰" and line]
    assert {len(line) for line in boxed} == {columns}


def test_what_a_command_does_is_known_without_its_source(monkeypatch, tmp_path):
    told = {name: commands.summary(name) for name in commands.COMMANDS}
    assert list(told.values()) == [" ".join(kind.__doc__.split()) for kind in map(commands.class_of, commands.COMMANDS)]
    monkeypatch.setattr(commands, "__file__", str(tmp_path / "commands.py"))
    assert {name: commands.summary(name) for name in commands.COMMANDS} == told


def test_a_mistake_names_the_help_of_its_own_command(capsys):
    for words in (["report", "--nope"], ["device", "nope"], ["run", "white-box", "--out", "x", "--jobs", "y"]):
        with pytest.raises(SystemExit) as end:
            _parsed(words)
        assert end.value.code == 2
        assert f"groundglass {words[0]} --help" in capsys.readouterr().err


ALONE = (
    "run",
    "plan",
    "report",
    "tables",
    "export",
    "compact",
    "seeds",
    "redraw",
    "harden",
    "retrieve",
    "audit",
    "zoo",
    "bench",
)
OF_DEVICE = ("device new", "device info", "device measure", "device redraw")


@pytest.mark.parametrize("words", [*ALONE, *OF_DEVICE, "recipes show"])
def test_help_says_what_to_give_and_one_default(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")  # a paragraph that goes on in a second line was broken before its end
    assert cli.main([*words.split(), "--help"]) == 0
    usage, *lines = capsys.readouterr().out.splitlines()
    boxed = [line.strip("│").rstrip() for line in lines if line.startswith("│")]
    assert "None" not in "".join(boxed)
    assert "(default: )" not in "".join(boxed)
    assert not {"STR", "PATH", "[[PATH"} & set(usage.replace("[--", "--").partition(" --")[0].split()), usage
    for line, after in pairwise(boxed):
        assert not (after.startswith(" " * 8) and "  " in line.strip()), f"broken too early: {line}"


def test_recipes_are_listed_with_their_cost(capsys):
    assert cli.main(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("quick", "laptop", "paper", "minutes"))


@pytest.mark.parametrize("columns", [30, 60, 80])
def test_names_of_recipes_are_whole_at_any_width(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main(["recipes"]) == 0
    shown = capsys.readouterr().out
    names = {study.name for study in STUDIES} | {recipe.name for study in STUDIES for recipe in study.recipes}
    assert names | {"cifar10", "cifar100", "shapes"} <= set(shown.replace(",", " ").split())
    assert "…" not in shown


def test_the_version_is_the_packages(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"groundglass {metadata.version('groundglass')}\n"


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


@pytest.mark.parametrize("at", ["groundglass.studies.run_study", "groundglass.report.build"])
def test_sigterm_ends_a_run_as_ctrl_c_does(at, tmp_path, capsys, monkeypatch):
    def end(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("groundglass.studies.run_study", lambda *args, **kwargs: None)
    monkeypatch.setattr(at, end)
    assert cli.main(["run", "white-box", "--out", str(tmp_path / "run")]) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().err
    assert "ended by SIGTERM: what is done is kept" in said
    assert "the same command continues" in said


@pytest.mark.parametrize(("number", "how"), [(signal.SIGTERM, "ended by SIGTERM"), (signal.SIGINT, "interrupted")])
@pytest.mark.parametrize("made_of_it", [RuntimeError("INTERNAL ASSERT FAILED"), ValueError("no such thing"), None])
def test_a_stop_that_others_make_an_error_of_or_lose_is_still_a_stop(
    number, how, made_of_it, tmp_path, capsys, monkeypatch
):
    """As torch does while autograd runs Python, and Python itself in callbacks."""

    def work(*args, progress, **kwargs):
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            if made_of_it is not None:
                raise made_of_it from None
        progress("training", 1, 2)
        raise AssertionError("it went on")

    out = tmp_path / "run"
    commands = {
        "groundglass.studies.run_study": ["run", "white-box", "--out", str(out)],
        "groundglass.studies.audit_model.audit_model": ["audit", "x", "--data", "shapes", "--out", str(out)],
        "groundglass.studies.harden_model.harden_model": ["harden", "x", "--data", "shapes", "--out", str(out)],
        "groundglass.studies.redraw_model.redraw_model": ["redraw", "x", "--data", "shapes", "--out", str(out)],
    }
    (out / "checkpoint.safetensors").parent.mkdir()
    (out / "checkpoint.safetensors").touch()
    for place, command in commands.items():
        monkeypatch.setattr(place, work)
        assert cli.main(command) == 128 + number, command
        said = capsys.readouterr().err
        assert how in said
        assert "Traceback" not in said
        assert ("the same command continues" in said) is (command[0] != "redraw")


def test_a_study_without_its_command_is_told_the_command(capsys):
    assert cli.main(["white-box", "--out", "x"]) == 2
    assert "`groundglass run white-box --out x`" in capsys.readouterr().err


def test_a_slip_in_a_command_is_told_the_nearest(capsys):
    assert cli.main(["reprot", "x"]) == 2
    assert "did you mean 'report'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["run", "white-box", "--data", "shapes"],
        ["audit", "a.safetensors", "--data", "shapes"],
        ["redraw", "a.safetensors", "--data", "shapes"],
        ["harden", "a.safetensors", "--data", "shapes"],
        ["zoo", "runs/one"],
        ["device", "measure", "a.device", "--bits", "bits.npy"],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize(("device", "said"), [("gpu", "cuda:N"), ("mine.device", "`device_file`"), ("mps", "float64")])
def test_what_computes_is_known_before_anything_else(command, device, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, "--out", "new", "--device", device]) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
