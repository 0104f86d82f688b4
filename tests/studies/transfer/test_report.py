"""The transfer section: what it makes of records whose answer is known, and of the committed runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from groundglass.core.statistics import Proportion
from groundglass.report.section import Finding, Section
from groundglass.studies.transfer.report import section, tables
from tests.runs import Drawn, RunFolder, committed, right

HIGHER, FEATURES, BASELINE = "VGG-OPU higher", "VGG-DFA", "VGG-16"
#: Images right of 200 under the paper's PGD and under MI-DI: the layer does all, a part, nothing; there is no gain.
LAYER = {BASELINE: 20, FEATURES: 20, HIGHER: 120}
PART, NONE, NO_GAIN = {**LAYER, FEATURES: 60}, {**LAYER, FEATURES: 120}, dict.fromkeys(LAYER, 20)


def folder(
    path: Path, paper: Mapping[str, int], stronger: Mapping[str, int] | None = None, *, of: int = 200
) -> RunFolder:
    """The paper's attack and MI-DI leave so many images right of each network."""
    made = RunFolder(path / "run", "transfer")
    for label, left in (("PGD", paper), ("MI-DI", paper if stronger is None else stronger)):
        for target, count in left.items():
            made.transfer(target, right(count, of), label=label)
    return made


def shown(made: RunFolder, path: Path, *, white: bool = True, check: bool | None = True) -> Section:
    if white:
        made.attack(HIGHER, right(0, 200), rule="exact", eps=0.02, eps_paper=0.04, purpose="transfer")
    if check is not None:
        made.check("images fool their source", passed=check)
    found = section(made.run(), Drawn())
    assert found is not None
    return found


def cells(made: RunFolder) -> dict[str, tuple[Any, ...]]:
    (table,) = tables(made.run())
    return {row.name: row.values for row in table.rows}


@pytest.mark.parametrize(
    ("paper", "stronger", "finding"),
    [
        (LAYER, None, Finding.HOLDS),
        (PART, None, Finding.PART),
        (NONE, None, Finding.FALLS),
        (LAYER, NO_GAIN, Finding.FALLS),  # a stronger attack takes all of it
        (NO_GAIN, None, Finding.NOTHING),
        ({**NO_GAIN, HIGHER: 22}, None, Finding.NOTHING),  # two images are chance
    ],
)
def test_the_verdict_is_what_the_layer_keeps_beyond_its_features(tmp_path: Path, paper, stronger, finding) -> None:
    assert shown(folder(tmp_path, paper, stronger), tmp_path).verdict.finding is finding


@pytest.mark.parametrize("lacking", [{"white": False}, {"check": None}, {"check": False}])
def test_harder_is_not_said_before_all_is_there(tmp_path: Path, lacking: dict[str, Any]) -> None:
    verdict = shown(folder(tmp_path, LAYER), tmp_path, **lacking).verdict
    assert verdict.finding is Finding.OPEN
    assert verdict.reasons["failed"] == (["images fool their source"] if lacking.get("check") is False else [])
    assert ("attacks with the weights" in verdict.untried) == ("white" in lacking)
    found = shown(folder(tmp_path / "none", NONE), tmp_path, **lacking)
    assert found.verdict.finding is Finding.FALLS, "that nothing is left needs no more"


def test_attacks_that_one_network_alone_met_decide_nothing(tmp_path: Path) -> None:
    verdict = shown(folder(tmp_path, LAYER, {FEATURES: 20, HIGHER: 120}), tmp_path).verdict
    assert verdict.finding is Finding.OPEN
    assert "MI-DI on VGG-16" in verdict.untried
    alone = shown(folder(tmp_path / "alone", LAYER, {}), tmp_path).verdict
    assert alone.finding is Finding.OPEN, "the paper's attack alone is no test"
    assert {"MI-DI", "own VGG-DFA", "ensemble"} <= set(alone.untried)


def test_without_its_features_a_network_is_judged_beside_vgg16_and_that_is_said(tmp_path: Path) -> None:
    verdict = shown(folder(tmp_path, {BASELINE: 20, HIGHER: 120}), tmp_path).verdict
    assert verdict.finding is Finding.HOLDS
    assert "its features without the layer" in verdict.untried


def test_few_images_are_too_few_to_judge_whatever_they_show(tmp_path: Path) -> None:
    found = shown(folder(tmp_path, {BASELINE: 0, FEATURES: 0, HIGHER: 48}, of=48), tmp_path)
    assert found.verdict.finding is Finding.FEW
    assert found.verdict.n_images == 48


def test_a_difference_that_stands_alone_falls_among_eight(tmp_path: Path) -> None:
    made = RunFolder(tmp_path / "run", "transfer")
    for k in range(1, 9):
        for target in (BASELINE, FEATURES, HIGHER):
            count = 20 if target == BASELINE else 120 if target == FEATURES else 127 if k == 8 else 120
            made.transfer(target, right(count, 200), eps=0.01 * k, eps_paper=None)
    found = shown(made, tmp_path, white=False)
    gain = next(row for row in found.tables[1].rows if row.name == f"points of {HIGHER} above {FEATURES}").values[-3]
    assert gain.value == pytest.approx(3.5)
    # By hand: seven images all one way, 2 / 2**7 = 0.0156, of eight comparisons: 0.125.
    assert gain.of_one == " (p = 0.12)"
    assert found.verdict.reasons["standing"] == []
    assert found.verdict.reasons["family"].corrected[HIGHER, FEATURES, "PGD", 0.08] == pytest.approx(0.125)


def test_where_the_strongest_attacks_differ_the_same_attack_is_compared(tmp_path: Path) -> None:
    # The strongest on the higher is PGD (60), on its features MI-DI (40); but PGD leaves its features 70.
    made = folder(tmp_path, {BASELINE: 20, FEATURES: 70, HIGHER: 60}, {BASELINE: 20, FEATURES: 40, HIGHER: 80})
    paper, strongest = cells(made)[f"points of {HIGHER} above {FEATURES}"][-3:-1]
    assert (paper.value, strongest.value) == pytest.approx((-5, 10))
    assert strongest.of_one == " (p = 1)"


def test_the_table_has_the_numbers_of_the_records_and_white_box_counts_the_same_images(tmp_path: Path) -> None:
    made = folder(tmp_path, LAYER, PART)
    made.network(BASELINE, clean=0.9)
    # 200 images are common; of 300 attacked ones 50 stay right, 30 of them not common.
    made.attack(HIGHER, right(50, 300, first=180), rule="exact", eps=0.02, purpose="transfer")
    made.attack(HIGHER, right(40, 300), rule="bpda-fit-linear", eps=0.02, purpose="transfer")
    made.transfer(HIGHER, right(90, 200))  # once more: the stronger attack counts
    first, whole, *_ = shown(made, tmp_path, white=False).tables
    found = {row.name: row.values for row in whole.rows}
    assert found[HIGHER] == (None, Proportion(90, 200), Proportion(90, 200), Proportion(20, 200))
    assert found[FEATURES] == (None, Proportion(20, 200), Proportion(20, 200), None)
    assert found[BASELINE][0] == Proportion(900, 1000)
    assert "200" in first.title
    assert "all test images" in first.columns[-1]


def test_what_an_attack_took_and_did_to_its_own_source(tmp_path: Path) -> None:
    made = folder(tmp_path, LAYER)
    made.craft("PGD", fooled=150, of=200)
    made.craft("PGD", fooled=200, of=200, gradients=30, eps=0.04, eps_paper=0.08)
    (row,) = shown(made, tmp_path).tables[-1].rows
    assert (row.values[1].value, row.values[2].value, row.values[3]) == (40, 2, Proportion(150, 200))


def test_nothing_tried_is_no_section(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", "transfer").run()
    assert tables(run) == []
    assert section(run, Drawn()) is None


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_what_stands_in_the_committed_runs(name: str) -> None:
    found = section(committed(name).of("transfer"), Drawn())
    assert found is not None
    reasons, family = found.verdict.reasons, found.verdict.reasons["family"]
    assert found.verdict.finding is Finding.FALLS
    assert found.verdict.untried == ()
    assert len(family.corrected) == 64
    below = [one for one in family.found.values() if one.p < 0.01]
    if name == "cifar10":
        assert reasons["standing"] == below == []
    else:
        ((key, label, _),) = reasons["standing"]
        assert (key[:2], label) == ((HIGHER, FEATURES), "MI-DI")
        assert key[3] == max(eps for *_, eps in family.found)
        assert len(below) == 4, "three more would stand uncorrected"
