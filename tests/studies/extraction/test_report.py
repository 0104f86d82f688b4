"""The extraction section: what it makes of records whose answer is known."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from groundglass.core.statistics import Proportion
from groundglass.report.section import Finding, Section
from groundglass.results.kinds import DISTIL
from groundglass.studies.extraction.report import section, tables
from tests.runs import Drawn, RunFolder, right

LOWER, BASELINE = "VGG-OPU lower", "VGG-16"
MOST, FEW = 20_000, 1000
#: Images right of 200: the attacker's own network leaves this, and the surrogates this.
OWN = {BASELINE: 20, LOWER: 120}


def surrogate(made: RunFolder, target: str, queries: int, answers: str = "scores", agreed: int = 90) -> str:
    name = f"VGG-16 from {queries} {answers} of {target}"
    config = {"target": target, "answers": answers, "queries": queries, "begin": None}
    made.fill(DISTIL, config, {"n_test": 100, "agreed": agreed, "right": 80}, name)
    return name


def folder(path: Path, left: Mapping[str, int], own: Mapping[str, int] = OWN, *, of: int = 200) -> RunFolder:
    made = RunFolder(path / "run", "extraction")
    for target, count in own.items():
        for label in ("PGD", "MI-DI"):
            made.transfer(target, right(count, of), label=label, purpose="extraction")
    for target, count in left.items():
        for queries, more in ((FEW, 10), (MOST, 0)):
            source = surrogate(made, target, queries)
            made.transfer(target, right(count + more, of), label="MI-DI", sources=(source,), purpose="extraction")
    return made


def shown(made: RunFolder, check: bool | None = True, drawn: Drawn | None = None) -> Section:
    if check is not None:
        made.check("a check", passed=check)
    found = section(made.run(), drawn or Drawn())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("left", "own", "finding"),
    [
        ({BASELINE: 10, LOWER: 12}, OWN, Finding.FALLS),  # two images are chance
        ({BASELINE: 10, LOWER: 60}, OWN, Finding.PART),
        ({BASELINE: 20, LOWER: 120}, OWN, Finding.HOLDS),
        ({BASELINE: 20, LOWER: 20}, {BASELINE: 20, LOWER: 22}, Finding.NOTHING),
        ({LOWER: 20}, OWN, Finding.OPEN),  # nothing to compare with
        ({}, OWN, Finding.OPEN),
    ],
)
def test_the_verdict_is_what_a_surrogate_leaves_of_figure_4(
    tmp_path: Path, left: Any, own: Any, finding: Finding
) -> None:
    assert shown(folder(tmp_path, left, own)).verdict.finding is finding


def test_the_share_that_is_left_is_of_the_gain_under_the_papers_attack(tmp_path: Path) -> None:
    drawn = Drawn()
    one = shown(folder(tmp_path, {BASELINE: 10, LOWER: 60}), drawn=drawn)
    assert len(drawn.figures) == len(one.figures) > 0
    verdict = one.verdict
    ((source, gain, part),) = verdict.reasons["left"]
    assert source == "20,000 scores"
    assert verdict.reasons["own"].points == pytest.approx(50)
    assert gain.points == pytest.approx(25)
    assert part == pytest.approx(0.5)
    assert verdict.reasons["agreement"] == Proportion(90, 100)
    assert verdict.n_images == 200


@pytest.mark.parametrize("check", [None, False])
def test_that_the_gain_stands_is_not_said_without_its_checks(tmp_path: Path, check: bool | None) -> None:
    assert shown(folder(tmp_path, {BASELINE: 20, LOWER: 120}), check).verdict.finding is Finding.OPEN
    fallen = shown(folder(tmp_path / "fallen", {BASELINE: 10, LOWER: 12}), check)
    assert fallen.verdict.finding is Finding.FALLS, "that nothing is left needs no more"


def test_few_images_are_too_few_to_judge(tmp_path: Path) -> None:
    found = shown(folder(tmp_path, {BASELINE: 1, LOWER: 2}, {BASELINE: 2, LOWER: 30}, of=40))
    assert found.verdict.finding is Finding.FEW


def test_the_table_has_every_source_at_the_judged_radius(tmp_path: Path) -> None:
    made = folder(tmp_path, {BASELINE: 10, LOWER: 60})
    made.network(BASELINE, clean=0.9)
    first, second = tables(made.run())
    rows = {row.name: row.values for row in first.rows}
    assert first.columns[1:] == (
        "own network: PGD",
        "own network: MI-DI",
        "1,000 scores: MI-DI",
        "20,000 scores: MI-DI",
    )
    assert rows[LOWER] == (None, *(Proportion(count, 200) for count in (120, 120, 70, 60)))
    assert rows[BASELINE][0] == Proportion(900, 1000)
    assert rows[f"points of {LOWER} above {BASELINE}"][4].value == pytest.approx(25)
    assert {row.values[1] for row in second.rows} == {Proportion(90, 100)}


def test_queries_from_a_start_are_compared_with_blind_ones_on_the_same_images(tmp_path: Path) -> None:
    made = folder(tmp_path, {BASELINE: 10, LOWER: 60})
    source = f"VGG-16 from {MOST} scores of {LOWER}"
    queries: list[int | None] = [50] * 60 + [None] * 40
    made.query(LOWER, "Square", queries, purpose="extraction")
    made.query(LOWER, "Square", [2] * 30 + [40] * 40 + [None] * 30, start=source, purpose="extraction")
    table = shown(made).tables[-1]
    rows = {row.name: row for row in table.rows}
    blind, started = rows[f"{LOWER} ← blind"], rows[f"{LOWER} ← from MI-DI, 20,000 scores"]
    assert table.columns == ("2 queries", "10 queries", "30 queries", "100 queries", "median queries")
    assert blind.values[:4] == tuple(Proportion(n, 100) for n in (0, 0, 0, 60))
    assert started.values[:4] == tuple(Proportion(n, 100) for n in (30, 30, 30, 70))
    # By hand: ten images all one way, 2 / 2**10; four comparisons, and the other three are of 30 each: times one.
    assert started.notes[3] == "p = 0.002"


def test_nothing_tried_is_no_section(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "extraction").run()
    assert tables(run) == []
    assert section(run, Drawn()) is None
