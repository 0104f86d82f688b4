"""The retrieval section: what it makes of records whose answer is known."""

from pathlib import Path
from typing import Any

import pytest

from groundglass.adaptive.attackers import RULES
from groundglass.core.statistics import Proportion
from groundglass.report.section import Finding, Section
from groundglass.studies.retrieval.report import AS_FAR, SHORT, UNCLEAR, section, tables
from tests.runs import Drawn, committed
from tests.studies.pages import takeaway
from tests.studies.retrieval.attacked import Attacked


def reach(one: Section) -> dict[str, tuple[Any, ...]]:
    (table,) = (table for table in one.tables if "As far" in table.title)
    return {row.name: row.values for row in table.rows}


@pytest.mark.parametrize(
    ("exact", "dfa", "retrieved", "finding"),
    [
        (50, 50, 50, Finding.NOTHING),
        (50, 40, 50, Finding.NOTHING),  # without U it gets further
        (50, 120, 50, Finding.FALLS),
        (50, 120, 85, Finding.PART),
        (50, 120, 118, Finding.HOLDS),  # two images are chance
        (50, 120, None, Finding.OPEN),
        (50, None, 50, Finding.OPEN),
        (None, 50, 50, Finding.OPEN),
        (196, 200, 196, Finding.OPEN),  # four images fooled with the exact U: chance
    ],
)
def test_the_verdict_is_what_U_is_worth_and_whether_it_can_be_had(tmp_path, exact, dfa, retrieved, finding) -> None:
    folder = Attacked(tmp_path)
    folder.retrieval("price", 12)
    for rule, count in (("exact", exact), ("dfa", dfa)):
        if count is not None:
            folder.pgd(rule, count)
    if retrieved is not None:
        folder.with_u(8, retrieved)
    assert folder.section().verdict.finding is finding
    assert 20 < len(takeaway(folder.folder, tmp_path / "page", "retrieval")) < 300


def test_few_images_are_too_few_to_judge_whatever_they_show(tmp_path: Path) -> None:
    folder = Attacked(tmp_path, of=48)
    folder.with_u(8, 0)
    folder.pgd("exact", 0)
    folder.pgd("dfa", 48)
    assert folder.section().verdict.finding is Finding.FEW


@pytest.mark.parametrize("of", [50, 64, 200])
def test_an_attack_that_fools_half_the_images_is_never_called_no_stronger_than_none(tmp_path: Path, of: int) -> None:
    folder = Attacked(tmp_path, of=of)
    folder.with_u(8, round(0.48 * of))
    folder.pgd("exact", round(0.48 * of))
    folder.pgd("dfa", round(0.48 * of))
    assert folder.section().verdict.reasons["why"] != "blind"


def test_where_nothing_can_be_told_the_numbers_say_so(tmp_path: Path) -> None:
    folder = Attacked(tmp_path)
    folder.with_u(8, 196)
    folder.pgd("exact", 196)
    reasons = folder.section().verdict.reasons
    assert (reasons["why"], reasons["seen"]) == ("blind", [(Proportion(196, 200), Proportion(200, 200))])


def test_what_was_not_tried_is_named(tmp_path: Path) -> None:
    folder = Attacked(tmp_path)
    folder.retrieval("price", 8)
    folder.pgd("exact", 20)
    folder.pgd("dfa", 90)
    assert folder.section().verdict.untried == ("BPDA (linear fit)", "retrieved U", "blurred U")


def test_no_significant_difference_on_few_images_is_not_as_far(tmp_path: Path) -> None:
    """Each differs from the exact U on six images of 60: p = 1/32 alone, and more among several."""
    alone = Attacked(tmp_path / "alone", of=60)
    among = Attacked(tmp_path / "among", of=60)
    for folder, rules in ((alone, ("dfa",)), (among, ("dfa", "fa", "bpda-drawn"))):
        folder.retrieval("price", 8)
        folder.pgd("exact", 10)
        for rule in rules:
            folder.pgd(rule, 16)
    one, other = alone.section(), among.section()
    assert reach(one)["DFA"] == (SHORT,)
    assert set(reach(other).values()) == {(UNCLEAR,)}
    assert (other.verdict.finding, other.verdict.reasons["why"]) == (Finding.OPEN, "retrieved")


def test_the_radius_of_the_verdict_is_where_the_secret_looks_best(tmp_path: Path) -> None:
    """Without U one gets as far at one radius; that does not make U worthless at the other."""
    folder = Attacked(tmp_path)
    folder.pgd("exact", {0.005: 100, 0.01: 20})
    folder.pgd("dfa", {0.005: 100, 0.01: 80})
    folder.with_u(6, {0.005: 100, 0.01: 50})
    folder.with_u(8, {0.005: 100, 0.01: 20})
    folder.with_u(12, {0.005: 100, 0.01: 20})
    one = folder.section()
    assert (one.verdict.finding, one.verdict.reasons["ball"]) == (Finding.FALLS, "ε = 2.55/255")
    # The cheapest that gets as far at every radius.
    assert one.verdict.reasons["enough"] == ["retrieved from 8 N frames"]
    assert reach(one)["retrieved from 6 N frames"] == (AS_FAR, SHORT)
    assert [drawing.name for drawing in one.figures[:2]] == ["retrieval-price-2", "retrieval-price-1"]


def test_how_exact_U_must_be(tmp_path: Path) -> None:
    folder = Attacked(tmp_path)
    folder.retrieval("price", 8)
    folder.pgd("exact", 20)
    folder.pgd("dfa", 20)
    for error, count in ((0.1, 20), (0.6, 21), (1.1, 60), (1.3, 120)):
        folder.pgd("exact-blurred", count, matrix_error=error)
    reasons = folder.section().verdict.reasons
    assert (reasons["precise"], reasons["wrong"], reasons["only_dfa"]) == (["60%"], ["110%"], True)


def test_the_tables_hold_the_records(tmp_path: Path) -> None:
    folder = Attacked(tmp_path)
    folder.with_u(8, 30, failed=0.373, error=0.0046)
    folder.with_u(4, 90, "period", period=1.5)
    folder.pgd("exact", 30)
    folder.pgd("exact-blurred", 31, matrix_error=0.6)
    folder.pgd("bp", 7, network="VGG-16")
    folder.pgd("bpda-retrieved", 0)  # no record says of what
    prices, under = tables(folder.run())
    (price,) = prices.rows
    assert price.name == "8 N, N = 512, M = 8,000"
    assert [value.write(value.value) for value in price.values] == ["0.46%", "37.3%", "2.05 s", "81 s"]
    assert {row.name: row.values[0].count for row in under.rows} == {
        "VGG-16 ← BP": 7,
        "exact U": 30,
        "U wrong by 60%": 31,
        "retrieved from 4 N frames, redraw every 1.5 s": 90,
        "retrieved from 8 N frames": 30,
    }


def test_a_period_that_is_still_to_come_is_not_called_too_short(tmp_path: Path) -> None:
    folder = Attacked(tmp_path, config={"periods": [0.5, 1.5, 60]})
    folder.retrieval("price", 4.5)
    folder.retrieval("period", 3000 / 512, period=1.5)
    (table,) = (table for table in folder.section().tables if "redraws" in table.title)
    assert [(row.name, row.values[0].value, row.values[-1]) for row in table.rows] == [
        ("0.5 s", 1000, "too few frames"),
        ("1.5 s", 3000, None),
        ("60 s", 120_000, "not done yet"),
    ]


def test_nothing_retrieved_is_no_section_and_sweeps_alone_are_one(tmp_path: Path) -> None:
    empty = Attacked(tmp_path / "a")
    empty.pgd("exact", 3)
    assert section(empty.run(), Drawn()) is None
    sweeps = Attacked(tmp_path / "b")
    for bits in (8, 4):
        sweeps.retrieval("bits", 12, bits=bits)
    sweeps.retrieval("noise", 12, complete=False)
    one = sweeps.section()
    assert [len(table.rows) for table in one.tables] == [2]
    assert (one.verdict.finding, one.figures) == (Finding.OPEN, ())
    assert one.facts["ended"] == ["U from 12 N frames, noise (no time)"]


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_figures_of_the_committed_runs(data: str) -> None:
    """No point off the axes; only attackers of the registry."""
    drawn, run = Drawn(), committed(data).of("retrieval")
    found = section(run, drawn)
    assert found is not None
    assert found.verdict.finding is Finding.NOTHING
    assert set(run.attacks["rule"]) <= {one.name for one in RULES}
    assert len(drawn.figures) == 4
    for one in drawn.figures:
        (low, high), (floor, top) = one.axes[0].get_xlim(), one.axes[0].get_ylim()
        for line in (line for line in one.axes[0].lines if line.get_transform() == one.axes[0].transData):
            assert low <= min(line.get_xdata()) + 1e-9
            assert max(line.get_xdata()) <= high + 1e-9
            assert floor <= min(line.get_ydata())
            assert max(line.get_ydata()) <= top
