"""The white-box section: what it makes of records whose answer is known."""

from pathlib import Path
from typing import Any

import pytest

from groundglass.report.section import Finding
from groundglass.studies.white_box.report import section, tables
from tests.runs import Drawn, RunFolder, right
from tests.studies.white_box.test_ladder import others


def judged(path: Path, *, paper: int, adaptive: int, plain: int, of: int = 200):
    """The verdict over one radius: what the paper's attack, an adaptive one, and BP on VGG-16 leave."""
    folder = RunFolder(path / "run")
    defended, baseline = folder.network("VGG-OPU"), folder.network("VGG-16", credit="bp")
    folder.attack("VGG-16", right(plain, of), inputs=[baseline])
    folder.attack("VGG-OPU", right(paper, of), rule="dfa-fresh", inputs=[defended])
    folder.attack("VGG-OPU", right(adaptive, of), rule="dfa", inputs=[defended])
    others(folder, left=max(paper, adaptive), of=of)
    folder.attack("VGG-OPU", right(max(paper, adaptive), of), rule="own-head")
    return section(folder.run(), Drawn())


@pytest.mark.parametrize(
    ("paper", "adaptive", "plain", "finding"),
    [
        (120, 20, 20, Finding.FALLS),
        (120, 60, 20, Finding.PART),
        (120, 120, 20, Finding.HOLDS),
        (20, 20, 20, Finding.NOTHING),
        (22, 20, 20, Finding.NOTHING),  # two images are chance
    ],
)
def test_the_verdict_is_what_better_attacks_leave_of_the_gain(tmp_path, paper, adaptive, plain, finding) -> None:
    assert judged(tmp_path, paper=paper, adaptive=adaptive, plain=plain).verdict.finding is finding


def test_few_images_are_too_few_to_judge_whatever_they_show(tmp_path: Path) -> None:
    found = judged(tmp_path, paper=40, adaptive=0, plain=0, of=48)
    assert found.verdict.finding is Finding.FEW
    assert found.verdict.n_images == 48


def test_without_an_adaptive_attack_nothing_is_decided_and_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-16", right(10))
    folder.attack("VGG-OPU", right(80), rule="dfa-fresh")
    found = section(folder.run(), Drawn())
    assert found.verdict.finding is Finding.OPEN
    lacking = ("labels only", "scores", "the lower weights", "+ B", "+ bits and logits", "+ the device")
    assert found.verdict.untried == lacking


def values(folder: RunFolder) -> dict[str, tuple[Any, ...]]:
    """The rows of the table of L-inf's ball."""
    table = next(table for table in tables(folder.run()) if "L∞" in table.title)
    return {row.name: row.values for row in table.rows}


def test_the_worst_case_is_image_by_image_and_without_U(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-OPU", right(50), rule="dfa")
    folder.attack("VGG-OPU", right(50, first=25), rule="fa")
    folder.attack("VGG-OPU", right(10), rule="exact")
    found = values(folder)
    assert found["VGG-OPU: all without U, together"][-1].count == 25
    assert found["VGG-OPU: all, with exact U, together"][-1].count == 0


def test_a_radius_attacked_twice_counts_by_the_stronger_attack(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-OPU", right(60), rule="dfa", steps=10)
    folder.attack("VGG-OPU", right(40), rule="dfa", steps=100)
    assert values(folder)["VGG-OPU ← `dfa`"][-1].count == 40


def test_controls_are_no_attack_of_the_figure(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-OPU", right(60), rule="dfa")
    folder.attack("VGG-OPU", right(5), rule="dfa", purpose="control", eps=1.0, eps_paper=None)
    folder.attack("VGG-OPU", right(70), rule="none", attack="RandomNoise", purpose="control")
    for purpose in ("ladder", "sweep"):
        folder.attack("VGG-OPU", right(1), rule="own-head", purpose=purpose)
    run = folder.run()
    table = next(table for table in tables(run) if "L∞" in table.title)
    assert table.columns == ("clean accuracy", "1.28/255 (ε 0.01)")
    assert [row.name for row in table.rows] == ["VGG-OPU ← `dfa`"]
    controls = next(table for table in section(run, Drawn()).tables if "Controls" in table.title)
    assert [row.values[1].count for row in controls.rows] == [5, 70]


def test_nothing_attacked_is_no_section(tmp_path: Path) -> None:
    assert section(RunFolder(tmp_path / "run").run(), Drawn()) is None
