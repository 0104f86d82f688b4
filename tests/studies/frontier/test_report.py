"""The section on what an accuracy costs: what it makes of trainings whose costs are known."""

from pathlib import Path
from typing import Any

import pytest

from groundglass.report import build
from groundglass.report.section import Finding
from groundglass.results import Run
from groundglass.results.kinds import TRAIN
from groundglass.results.kinds.network import Epoch
from groundglass.studies.frontier.report import section, tables, trained
from groundglass.studies.registry import find_study
from tests.runs import Drawn, RunFolder


def add(
    folder: RunFolder,
    name: str,
    clean: float,
    seconds: list[float],
    inputs: Any = (),
    core: float = 0.0,
    **training: Any,
) -> str:
    told = {"epochs": len(seconds), "credit": "bp", **training}
    epochs = tuple(
        Epoch(epoch=k, loss=1.0, train_accuracy=0.5, seconds=s, images_per_second=1.0, core_seconds=core)
        for k, s in enumerate(seconds)
    )
    config = {"model": {"width": 0.5}, "training": told}
    result = {"clean_accuracy": clean, "n_test": 1000, "epochs": epochs}
    return folder.fill(TRAIN, config, result, name, inputs=inputs)


def run(path: Path, *, goal: float = 0.8, threads: int = 2) -> Run:
    folder = RunFolder(path / "run", "frontier", config={"goal": goal}, machine={"processor": "p", "threads": threads})
    add(folder, "VGG-16 short", 0.6, [10.0, 30.0])
    add(folder, "VGG-16 long", 0.85, [10.0, 12.0, 11.0, 20.0])
    add(folder, "VGG-16 wasteful", 0.59, [50.0])
    add(folder, "VGG-16 dear", 0.86, [100.0])
    below = add(folder, "VGG-DFA long", 0.7, [20.0, 20.0])
    add(folder, "VGG-OPU long", 0.75, [1.0, 3.0], inputs=[below], credit="classifier")
    return folder.run()


def test_the_front_is_what_no_other_beats_in_both(tmp_path: Path) -> None:
    found = trained(run(tmp_path))
    assert {(one.network, one.label): one.on_front for one in found} == {
        ("VGG-16", "short"): True,
        ("VGG-16", "long"): True,
        ("VGG-16", "wasteful"): False,
        ("VGG-16", "dear"): True,
        ("VGG-OPU", "long"): True,
    }
    cost = {(one.network, one.label): one.core_seconds for one in found}
    assert cost["VGG-16", "short"] == 2 * 2 * 10, "as quick as the quickest, on two threads"
    assert cost["VGG-OPU", "long"] == 2 * (2 * 20 + 2 * 1), "with its features"


def test_time_of_other_work_on_the_machine_is_no_core_time(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "frontier", config={"goal": 0.5}, machine={"processor": "p", "threads": 2})
    for name, core in (("shared", 3.0), ("waiting", 50.0)):
        add(folder, f"VGG-16 {name}", 0.6, [10.0, 10.0], core=core)
    assert [one.core_seconds for one in trained(folder.run())] == [2 * 3, 2 * 2 * 10]


def test_epochs_of_small_images_stand_for_each_other_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "frontier", config={"goal": 0.5})
    add(folder, "VGG-16 growing", 0.6, [2.0, 3.0, 9.0, 8.0], growing={"start": 0.5, "until": 0.5})
    (one,) = trained(folder.run())
    assert one.core_seconds == 2 + 3 + 2 * 8


@pytest.mark.parametrize(("goal", "finding"), [(0.7, Finding.HOLDS), (0.8, Finding.PART), (0.9, Finding.FALLS)])
def test_the_goal_is_reached_by_all_by_some_or_by_none(tmp_path: Path, goal: float, finding: Finding) -> None:
    verdict = section(run(tmp_path, goal=goal), Drawn()).verdict
    assert verdict.finding is finding
    enough = {one.network: one.label for one in verdict.reasons["enough"]}
    assert enough == {0.7: {"VGG-16": "long", "VGG-OPU": "long"}, 0.8: {"VGG-16": "long"}, 0.9: {}}[goal]


def test_the_table_and_the_figure_have_every_training(tmp_path: Path) -> None:
    drawn = Drawn()
    made = run(tmp_path)
    section(made, drawn)
    (table,) = tables(made)
    assert [row.name for row in table.rows if row.strong] == [
        *("VGG-16 short", "VGG-16 long", "VGG-16 dear"),
        "VGG-OPU long",
    ]
    (figure,) = drawn.figures
    (axes,) = figure.axes
    points = sorted(float(x) for line in axes.lines for x in line.get_xdata() if line.get_marker() not in ("None", ""))
    assert points == pytest.approx(sorted(one.core_seconds / 60 for one in trained(made)))
    assert axes.get_xscale() == "log"


def test_the_page_says_what_it_found(tmp_path: Path) -> None:
    path = build(run(tmp_path).folder, studies=[find_study("frontier")])
    text = path.read_text(encoding="utf-8").partition('id="frontier"')[2].partition("<figure")[0]
    assert "VGG-16 with long" in text
    assert "VGG-OPU" in text


def test_other_studies_have_no_such_section(tmp_path: Path) -> None:
    assert section(RunFolder(tmp_path / "other").run(), Drawn()) is None
