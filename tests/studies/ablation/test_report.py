"""The ablation's section: what it makes of records whose answer is known."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.report import build
from groundglass.report.section import Finding, Section, Verdict
from groundglass.studies.ablation.report import section, tables
from groundglass.studies.registry import find_study
from tests.runs import Drawn, RunFolder, committed, right

N = 200
#: The rule that fits each head.
FITTING = {"VGG-16": "bp", "DFA": "bp", "BIN": "ste", "RP": "exact", "OPU": "exact"}


def made(path: Path, left: Mapping[tuple[str, str], int], *, of: int = N, **config) -> RunFolder:
    """An ablation at one radius: (network, rule) -> images that stay right."""
    folder = RunFolder(path / "run", "ablation", config={"features": "DFA"})
    for (network, rule), count in left.items():
        folder.attack(network, right(count, of), rule=rule, eps=0.01, eps_paper=None, purpose="ablation", **config)
    return folder


def shown(folder: RunFolder) -> Section:
    found = section(folder.run(), Drawn())
    assert found is not None
    return found


def judged(path: Path, left: Mapping[tuple[str, str], int], **more) -> Verdict:
    return shown(made(path, left, **more)).verdict


def best(**left: int) -> dict[tuple[str, str], int]:
    return {(name, FITTING[name]): count for name, count in left.items()}


BOTH, BIN = {"the binarisation", "the whole layer"}, {"the binarisation"}


@pytest.mark.parametrize(
    ("bits", "layer", "dfa", "finding", "lost"),
    [
        (40, 40, 90, Finding.FALLS, BOTH),
        (80, 80, 90, Finding.HOLDS, set()),
        (40, 80, 90, Finding.PART, BIN),
        (40, 40, 50, Finding.NOTHING, set()),
        (10, 10, 20, Finding.NOTHING, set()),  # what a part takes is no gain
    ],
)
def test_a_gain_counts_if_it_is_there_under_the_best_gradient(tmp_path, bits, layer, dfa, finding, lost) -> None:
    weaker = {("DFA", "dfa"): 50, ("BIN", "dfa"): dfa, ("OPU", "dfa"): dfa}
    verdict = judged(tmp_path, {**best(DFA=40, BIN=bits, OPU=layer), **weaker})
    assert verdict.finding is finding
    assert verdict.reasons["shown"].first == Proportion(layer, N)
    assert {part for part, who in verdict.reasons["lost"].items() if who} == lost


def test_training_by_dfa_and_variants_are_no_part_of_the_layer(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {**best(**{"VGG-16": 20, "DFA": 60, "OPU": 60}), ("OPU real U", "exact"): 100})
    assert verdict.finding is Finding.NOTHING
    assert verdict.reasons["others"] == ["training by DFA", "OPU real U"]


@pytest.mark.parametrize(
    ("kept", "first", "finding"), [(66, 0, Finding.HOLDS), (65, 0, Finding.NOTHING), (72, 100, Finding.NOTHING)]
)
def test_the_same_images_decide(tmp_path: Path, kept: int, first: int, finding: Finding) -> None:
    """Beside 60: six won and none lost, p = 0.031; five, 0.063; of 72 others twelve more. All intervals overlap."""
    folder = made(tmp_path, best(DFA=60))
    folder.attack("OPU", right(kept, N, first=first), rule="exact", eps=0.01, eps_paper=None)
    assert shown(folder).verdict.finding is finding


def test_few_images_are_too_few_to_judge(tmp_path: Path) -> None:
    assert judged(tmp_path, best(DFA=0, OPU=48), of=48).finding is Finding.FEW


def test_a_difference_that_many_comparisons_explain_falls(tmp_path: Path) -> None:
    """Six images alone are more than chance; among the other comparisons they are not (0.031 times four)."""
    left = best(DFA=60, BIN=60, RP=60, OPU=66) | {("OPU real U", "exact"): 66}
    found = shown(made(tmp_path, left))
    assert found.verdict.finding is Finding.NOTHING
    changes = {row.name: row for row in found.tables[1].rows}["the whole layer: OPU beside DFA"]
    assert changes.values[0].value == pytest.approx(3.0)
    assert changes.notes[0].startswith("p = 0.12")


def test_a_gain_on_few_images_is_none_and_is_marked(tmp_path: Path) -> None:
    folder = made(tmp_path, best(DFA=60, OPU=60))
    for name, hit in (("DFA", 1), ("OPU", None)):
        folder.query(name, "Square", [hit] * 40)
    found = shown(folder)
    assert found.verdict.finding is Finding.NOTHING
    assert set(found.verdict.untried) >= {"queries on 50 images or more", "transfer on 50 images or more"}
    assert found.tables[0].rows[0].notes == ("", "", "too few images")


@pytest.mark.parametrize(("budget", "against"), [(100, ["Square", "MI-DI"]), (50, ["MI-DI"])])
def test_queries_and_transfer_count_and_only_equal_budgets_are_compared(tmp_path, budget, against) -> None:
    folder = made(tmp_path, best(DFA=60, OPU=60))
    folder.query("DFA", "Square", [1] * 80, budget=100)
    folder.query("OPU", "Square", [None] * 80, budget=budget)
    for name, count in (("DFA", 20), ("OPU", 50)):
        folder.transfer(name, right(count), label="MI-DI")
    verdict = shown(folder).verdict
    assert verdict.finding is Finding.FALLS
    assert verdict.reasons["lost"]["the whole layer"] == against
    page = build(folder.folder, studies=[find_study("ablation")]).read_text(encoding="utf-8")
    assert f"the whole layer: {' and '.join(against)}" in page


def test_without_a_gradient_that_fits_nothing_is_decided(tmp_path: Path) -> None:
    verdict = judged(tmp_path, {**best(DFA=40, BIN=40), ("DFA", "dfa"): 50, ("OPU", "dfa"): 90})
    assert verdict.finding is Finding.OPEN
    assert set(verdict.untried) >= {"a gradient that fits RP", "a gradient that fits OPU"}


def test_the_best_gradient_is_the_one_that_leaves_least(tmp_path: Path) -> None:
    """A fitted surrogate may beat the true matrix, whose slope is a guess; DFA alone is nobody's best gradient."""
    folder = made(tmp_path, {("OPU", "exact"): 60, ("OPU", "bpda-fit-linear"): 20, ("BIN", "dfa"): 40})
    folder.attack("OPU", right(30, N), rule="exact", eps=0.01, eps_paper=None, steps=100)
    (table,) = tables(folder.run())
    assert table.columns == ("clean accuracy", "best gradient, L∞ ε = 2.55/255")
    assert {row.name: row.values[1] for row in table.rows} == {"OPU": Proportion(20, N), "BIN": None}


def test_variants_on_the_features_of_opu_are_held_against_opu_refitted(tmp_path: Path) -> None:
    folder = made(tmp_path, {(name, "exact"): 60 for name in ("OPU", "OPU refitted", "OPU float output", "OPU N=128")})
    for name in ("OPU refitted", "OPU float output"):
        folder.network(name, features="OPU", training={"credit": "classifier", "epochs": 2})
    folder.network("OPU N=128", device={"in_features": 128}, model={"device_in": 128})
    rows = [row.name for row in shown(folder).tables[1].rows]
    assert sorted(rows) == ["OPU N=128 beside OPU", "OPU float output beside OPU refitted", "OPU refitted beside OPU"]


def test_every_number_is_that_of_a_record(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "ablation", config={"features": "VGG-DFA"})
    folder.network("VGG-DFA", clean=0.7, model={"linear_hidden": 1024})
    folder.network("OPU real U", device={"matrix": "real"}, model={"encoding": "bits-batch"})
    folder.attack("VGG-DFA", right(30), eps_paper=None)
    folder.attack("OPU real U", right(20), rule="exact", eps_paper=None)
    folder.query("OPU real U", "Bandits", [7] * 30 + [None] * 60, flat_share=0.4)
    found = shown(folder)
    table = found.tables[2]
    assert table.columns[1:] == ("best gradient, L∞ ε = 1.28/255", "fooled by `Bandits`, L∞ ε = 8/256, 100 queries")
    assert [row.name for row in table.rows] == ["DFA", "OPU real U"]
    assert table.rows[0].values == (Proportion(700, 1000), Proportion(30, 100), None)
    assert table.rows[1].values == (Proportion(800, 1000), Proportion(20, 100), Proportion(30, 90))
    assert table.rows[1].notes[2] == "median 7, 40.0% zero estimates"
    kinds = {row.name: row.values for row in found.tables[1].rows}
    assert kinds["DFA"] == ("none", "linear, N = 1,024")
    assert kinds["OPU real U"] == ("threshold of the batch", "512 bits → 8,000 readings, 8-bit camera, real matrix")


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_open_table_is_small(name: str) -> None:
    found = section(committed(name).of("ablation"), Drawn())
    first = found.tables[0]
    assert [row.name for row in first.rows] == ["VGG-16", "DFA", "BIN", "RP", "OPU"]
    heads = [column.partition(",")[0] for column in first.columns]
    assert heads == ["clean accuracy", "best gradient", "fooled by `Square`", "transfer"]


def test_arrays_that_tell_no_outcomes_are_named(tmp_path: Path) -> None:
    folder = made(tmp_path, best(DFA=40))
    key = folder.attack("OPU", right(4), rule="exact", arrays={"success": np.zeros(3, bool)})
    with pytest.raises(DamagedFileError, match=f"{key}.*3 images, and the record says 100"):
        shown(folder)
