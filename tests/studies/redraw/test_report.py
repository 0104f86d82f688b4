"""The redraw section: what it makes of records whose answer is known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, Repeated
from groundglass.report.section import Finding
from groundglass.results import Run
from groundglass.studies.redraw.report import section, tables
from tests.runs import Drawn, RunFolder, right
from tests.studies.pages import takeaway

RULES = {"DFA": "dfa", "BPDA, fitted": "bpda-fit-linear", "Exact U": "exact", "Square": "none"}
#: label -> images right on the old network, on redraw 1, on redraw 2.
Counts = Mapping[str, Sequence[int]]


def redrawn(path: Path, counts: Counts, *, of: int = 200, again: Mapping[str, int] | None = None) -> Run:
    """Two redraws, and images made on the old network tried on all three. `again`: rule -> right when made afresh."""
    folder = RunFolder(path / "run", "redraw")
    for number in (1, 2):
        folder.redraw(number)
    for label, found in counts.items():
        for target, count in zip(("VGG-OPU", "VGG-OPU redraw 1", "VGG-OPU redraw 2"), found, strict=False):
            made = {"label": label, "rules": (RULES[label],), "sources": ("VGG-OPU",)}
            folder.transfer(target, right(count, of), **made)
    for rule, count in (again or {}).items():
        folder.attack("VGG-OPU redraw 1", right(count, of), rule=rule, eps=0.02)
    return folder.run()


def found(path: Path, counts: Counts, **more: object):
    return section(redrawn(path, counts, **more), Drawn())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counts", "finding"),
    [
        ({"DFA": (0, 0, 0)}, Finding.FALLS),
        ({"DFA": (0, 100, 100)}, Finding.PART),
        ({"DFA": (0, 200, 200)}, Finding.HOLDS),
        ({"DFA": (0, 200, 100)}, Finding.PART),
        ({"DFA": (200, 200, 200)}, Finding.NOTHING),
        ({"DFA": (0, 3, 0)}, Finding.FALLS),  # three images are chance
        ({"DFA": (0, 0, 0), "Square": (0, 200, 200)}, Finding.FALLS),  # an attacker chooses
        ({"Exact U": (0, 0, 0), "Square": (0, 200, 200)}, Finding.HOLDS),  # who has U is no attacker without it
    ],
)
def test_the_verdict_is_about_the_worst_case_without_U(tmp_path: Path, counts: Counts, finding: Finding) -> None:
    assert found(tmp_path, counts).verdict.finding is finding
    assert 20 < len(takeaway(tmp_path / "run", tmp_path / "page", "redraw")) < 300


def test_few_images_are_too_few_to_judge_whatever_they_show(tmp_path: Path) -> None:
    verdict = found(tmp_path, {"DFA": (0, 48, 48)}, of=48).verdict
    assert (verdict.finding, verdict.n_images) == (Finding.FEW, 48)


def test_what_was_not_tried_is_named(tmp_path: Path) -> None:
    assert found(tmp_path / "a", {"Square": (0, 0, 0)}).verdict.untried == ("DFA", "BPDA (linear fit)")
    verdict = found(tmp_path / "b", {}).verdict
    assert (verdict.finding, len(verdict.untried)) == (Finding.OPEN, 3)


def test_an_attack_that_did_not_meet_every_redraw_is_no_part_of_the_verdict(tmp_path: Path) -> None:
    """Else a redraw that fewer attacks met would look the safer."""
    one = found(tmp_path, {"DFA": (0, 0), "Square": (0, 200, 200)})
    assert one.verdict.finding is Finding.HOLDS
    assert next(row for row in one.tables[0].rows if "DFA" in row.name).values[1] == Repeated(200, 200, 1)
    assert found(tmp_path / "b", {"DFA": (0, 0)}).verdict.finding is Finding.OPEN


def test_a_difference_that_does_not_stand_after_correction_is_none(tmp_path: Path) -> None:
    # Seven images more: p = 1/64, alone enough, in a family of six not.
    alone = RunFolder(tmp_path / "alone", "redraw")
    alone.redraw(1)
    for target, count in (("VGG-OPU", 0), ("VGG-OPU redraw 1", 7)):
        alone.transfer(target, right(count, 200), label="Exact U", rules=("exact",), sources=("VGG-OPU",))
    assert section(alone.run(), Drawn()).facts["weakened"] == ["exact U"]
    among = found(tmp_path, {"DFA": (0, 0, 0), "Exact U": (0, 7, 7)})
    assert among.facts["weakened"] == []


def test_what_still_fools_is_counted_among_what_fooled_the_old_network(tmp_path: Path) -> None:
    accuracy, made = tables(redrawn(tmp_path, {"DFA": (80, 110, 140), "Square": (200, 200, 200)}))
    assert [row.values[:3] for row in accuracy.rows] == [
        (Proportion(8100, 10_000), Proportion(1000, 10_000), Proportion(8000, 10_000))
    ] * 2
    dfa, square = made.rows
    # 120 fool the old network; of these 90 and 60 fool the new ones, with the interval of 120 images.
    assert dfa.values == (Proportion(120, 200), Repeated(150, 240, times=2))
    assert square.values == (Proportion(0, 200), None)


def test_images_of_another_network_are_paired_with_what_they_do_to_the_old_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "redraw")
    folder.redraw(1)
    made = {"label": "VGG-16 transfer", "sources": ("VGG-16 source",), "rules": ("bp",)}
    folder.transfer("VGG-OPU redraw 1", right(50, 200), **made)
    folder.transfer("VGG-OPU", right(100, 200, first=100), **made)
    (row,) = tables(folder.run())[1].rows
    assert row.values == (Proportion(100, 200), Repeated(50, 100, times=1))


def test_the_attack_made_again_is_the_same_rule_at_the_same_radius(tmp_path: Path) -> None:
    counts = {"DFA": (0, 200, 200), "Exact U": (0, 200, 200)}
    one = found(tmp_path / "a", counts, again={"dfa": 50, "exact": 0, "fa": 0})
    assert one.facts["again"] == [("DFA", Proportion(150, 200))]
    assert found(tmp_path / "b", counts, again={"exact": 0}).facts["again"] == []


def test_a_redraw_that_left_the_matrix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing was redrawn"):
        RunFolder(tmp_path / "run", "redraw").redraw(1, fingerprint="9f" * 16)


def test_records_that_do_not_say_what_happened_to_each_image_are_refused(tmp_path: Path) -> None:
    run = redrawn(tmp_path, {"DFA": (0, 100, 100)})
    (run.folder / run.record(run.transfers.index[0]).arrays).unlink()
    with pytest.raises((DamagedFileError, FileNotFoundError)):
        tables(Run.open(run.folder))


def test_nothing_redrawn_is_no_section_and_redraws_alone_are_one(tmp_path: Path) -> None:
    assert section(RunFolder(tmp_path / "a", "redraw").run(), Drawn()) is None
    one = found(tmp_path, {})
    assert one.figures == ()
    assert [len(table.rows) for table in one.tables] == [2, 2]
