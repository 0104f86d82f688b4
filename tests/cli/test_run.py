"""`groundglass run`, `report`, `tables` and `compact`, on a study that is run once."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from groundglass import cli
from groundglass.cli.terminal import Terminal
from groundglass.results import Run
from groundglass.studies.engine import forecast, planned
from groundglass.studies.engine.estimate import USUAL
from tests.studies.tiny import DATA, enter, results, white_box

pytestmark = pytest.mark.filterwarnings("ignore:.* steps of .* cannot reach:RuntimeWarning")


def small(*asked, **named):
    """The tiny study at one radius, by two rules."""
    return replace(
        white_box(*asked, **named), eps_paper=(0.1,), eps_l2=(), rules=("dfa", "exact"), cw_images=0, ladder=None
    )


@pytest.fixture(scope="module")
def world():
    with pytest.MonkeyPatch.context() as patch:
        enter(patch, "white-box", small)
        yield


def run(out: Path, *more: str) -> int:
    return cli.main(["run", "white-box", "--recipe", "tiny", "--device-seed", "7", "--out", str(out), *more])


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory) -> Path:
    """In this process, which has loaded torch."""
    out = tmp_path_factory.mktemp("results") / "run"
    assert run(out, "--jobs", "1") == 0
    return out


@pytest.mark.slow
def test_processes_of_their_own_find_the_same(folder, tmp_path):
    assert run(tmp_path / "run") == 0
    assert results(tmp_path / "run") == results(folder)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    assert cli.main(["compact", str(folder), str(tmp_path / "copy")]) == 0
    return tmp_path / "copy"


def test_a_finished_run_is_not_run_again_and_its_page_is_made_anew_from_its_records(folder, capsys):
    page = (folder / "report.html").read_bytes()
    assert run(folder) == 0
    shown = capsys.readouterr().out
    assert "is complete" in shown
    assert shown.splitlines()[-1] == f"report: {folder / 'report.html'}"
    (folder / "report.html").unlink()
    assert cli.main(["report", str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == page
    assert {p.suffix for p in (folder / "figures").iterdir()} == {".png", ".svg"}


def test_ctrl_c_leaves_a_folder_that_the_same_command_continues(folder, tmp_path, capsys, monkeypatch):
    def interrupt(self, name, result, seconds):
        if "VGG-16" in name:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "finished", interrupt)
        assert run(tmp_path, "--reuse", str(folder), "--jobs", "1") == 130
    assert "the same command continues" in capsys.readouterr().err
    assert run(tmp_path, "--reuse", str(folder), "--jobs", "1") == 0


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_gives_the_same_page_and_figures_and_stays_clean(folder, copy, tmp_path, capsys):
    assert cli.main(["report", str(copy), "--out", str(tmp_path / "page")]) == 0
    assert f"report: {tmp_path / 'page' / 'report.html'}" in capsys.readouterr().out
    assert names(copy) == ["arrays.tar.xz", "records.jsonl", "study.json"]
    assert (tmp_path / "page/report.html").read_bytes() == (folder / "report.html").read_bytes()
    assert names(tmp_path / "page/figures") == names(folder / "figures")
    for name in names(folder / "figures"):
        assert (tmp_path / "page/figures" / name).read_bytes() == (folder / "figures" / name).read_bytes()


def test_compact_says_sizes_and_replaces_nothing(folder, tmp_path, capsys):
    assert cli.main(["compact", str(folder), str(tmp_path / "copy")]) == 0
    shown = capsys.readouterr().out
    assert "every checksum right" in shown
    assert "3 files, 0." in shown
    assert "MiB" in shown
    assert cli.main(["compact", str(folder), str(tmp_path / "copy")]) == 1
    assert "is there already" in capsys.readouterr().err


def test_running_into_a_copy_finds_it_complete_or_refuses(copy, capsys):
    made = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert run(copy) == 0
    assert "is complete: nothing was run again" in capsys.readouterr().out
    shutil.rmtree(copy / "figures")
    (copy / "report.html").unlink()
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == made
    lines = (copy / "records.jsonl").read_text().splitlines(keepends=True)
    (copy / "records.jsonl").write_text("".join(lines[:-1]))
    assert run(copy) == 1
    assert "is a compact copy, without networks or devices, and 1 of the" in capsys.readouterr().err
    assert names(copy) == ["arrays.tar.xz", "records.jsonl", "study.json"]


def test_a_new_folder_begins_with_the_results_of_a_copy(folder, copy, tmp_path, capsys):
    new = tmp_path / "new"
    assert run(new, "--reuse", str(copy)) == 0
    assert not (new / "models").exists(), "nothing was made again"
    assert (new / "report.html").read_bytes() == (folder / "report.html").read_bytes()
    assert run(new, "--reuse", str(copy)) == 0
    capsys.readouterr()
    assert run(tmp_path / "other", "--seed", "1", "--reuse", str(copy)) == 1
    assert "seed" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_tables_of_a_copy_are_those_of_the_folder(folder, copy, capsys):
    capsys.readouterr()
    assert cli.main(["tables", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("## white-box\n\n")
    assert "Accuracy under attack, L∞" in shown
    assert "\n## cost\n" in shown
    assert cli.main(["tables", str(copy)]) == 0
    assert capsys.readouterr().out == shown
    assert cli.main(["tables", str(copy), "--part", "costs"]) == 1
    assert "did you mean" in capsys.readouterr().err
    assert cli.main(["tables", "--update", str(copy / "page.md"), "--part", "cost"]) == 1
    assert "--part is for printing" in capsys.readouterr().err
    assert cli.main(["tables", str(copy), "--part", "cost"]) == 0
    assert capsys.readouterr().out == shown[shown.index("## cost") :]


def test_update_rewrites_files_in_place(copy, tmp_path, capsys, monkeypatch):
    page = tmp_path / "results.md"
    block = "Text.\n\n<!-- groundglass tables copy cost -->\n<!-- end -->\n"
    page.write_text(block)
    assert cli.main(["tables", "--update", str(page), "--root", str(tmp_path)]) == 0
    assert "tables updated" in capsys.readouterr().out
    assert "| white-box |" in page.read_text()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["tables", "--update", "results.md"]) == 0
    assert "unchanged" in capsys.readouterr().out
    (tmp_path / "bad.md").write_text(block.replace("copy", "gone"))
    page.write_text(block)
    assert cli.main(["tables", "--update", "results.md", "bad.md"]) == 1
    assert page.read_text() == block, "an error in one file leaves all as they were"
    (tmp_path / "bad.md").write_text("<!-- groundglas tables copy cost -->\n")
    assert cli.main(["tables", "--update", "results.md", "bad.md"]) == 1
    assert "bad.md has no block" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["tables"], ["tables", "x", "--update", "y.md"]])
def test_tables_wants_folders_or_files(arguments, capsys):
    assert cli.main(arguments) == 1
    assert "one of the two" in capsys.readouterr().err


def test_a_setting_is_changed_on_the_command_line_or_by_a_file_that_recipes_prints(folder, tmp_path, capsys):
    """In the same folder: nothing that is there is computed again."""
    capsys.readouterr()
    assert cli.main(["recipes", "show", "white-box", "tiny"]) == 0
    mine = tmp_path / "mine.toml"
    mine.write_text(capsys.readouterr().out.replace("eps_paper = [0.1]", "eps_paper = [0.1, 0.3]"))
    grown = tmp_path / "grown"
    shutil.copytree(folder, grown)
    command = ["run", "white-box", "--device-seed", "7", "--jobs", "1", "--out", str(grown)]
    assert cli.main([*command, "--config", str(mine), "--set", "rules-=exact", "--set", "gallery=2"]) == 0
    told = capsys.readouterr()
    assert "eps_paper: [0.1] -> [0.1, 0.3]" in told.err
    assert "VGG-OPU <- dfa (PGD, L-inf 38.25/255)" in told.err
    assert "VGG-OPU <- exact" not in told.err
    assert "complete" not in told.out
    page = (grown / "report.html").read_text()
    assert "Plan changed" in page
    assert cli.main([*command, "--config", str(mine), "--set", "n_imags=2"]) == 1
    assert "did you mean 'n_images'" in capsys.readouterr().err
    assert cli.main([*command, "--recipe", "tiny", "--set", "baseline.epochs=3"]) == 1
    assert "by which VGG-16 would be made anew" in capsys.readouterr().err


def test_a_plan_counts_what_is_there_and_what_is_left(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planned, "load", lambda name, data_dir=None: DATA)
    monkeypatch.setattr(forecast, "measured", lambda width, **options: USUAL)
    count, command = len(Run.open(folder).records), ["plan", "white-box", "--recipe", "tiny", "--jobs", "4"]
    before = names(folder)
    assert cli.main([*command, "--out", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert f"{count} cells, {count} of them there" in " ".join(shown.split())
    assert "nothing is left" in shown
    assert names(folder) == before
    assert cli.main([*command, "--out", str(folder), "--set", "eps_paper=[0.1, 0.3]", "--like", str(folder)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    total, there = map(int, re.search(r"(\d+) cells, (\d+) of them there", shown).groups())
    assert total > count > there > 4, "networks and device stay"
    assert "train │ 2 │ 2" in shown
    assert cli.main([*command, "--out", str(tmp_path / "new")]) == 0
    assert f"{count} cells, 0 of them there" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "new").exists()
    assert cli.main([*command, "--nodes", "2"]) == 1
    assert "--executor ray" in capsys.readouterr().err


def test_what_an_earlier_run_took_is_what_the_plan_says(folder, monkeypatch):
    monkeypatch.setattr(planned, "load", lambda name, data_dir=None: DATA)
    monkeypatch.setattr(forecast, "measured", lambda width, **options: USUAL)
    found = forecast.forecast("white-box", "tiny", like=folder, jobs=3, precision=stored(folder))
    taken = {record.key: record.seconds for record in Run.open(folder).records}
    assert {cell.key: cell.seconds for cell in found.left} == taken
    assert found.workers == (1, 2, 3)
    assert found.wall(1)[0] == pytest.approx(sum(taken.values()))
    assert found.wall(3)[0] >= sum(seconds for _, seconds in found.chain)
    assert sum(kind.cells for kind in found.kinds) == len(taken)


def stored(folder: Path) -> str:
    return Run.open(folder).manifest["config"]["baseline"]["precision"]
