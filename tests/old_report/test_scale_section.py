"""The study of size: the section's numbers are those of the records, and its words go no further than intervals."""

from collections.abc import Callable
from pathlib import Path

import pytest

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report import scale_figures
from groundglass.old_report.drawing import Folder, drawing_style
from groundglass.old_report.page import build
from groundglass.old_report.scale import ScaleSection, scale_answer
from groundglass.old_report.scale_numbers import seconds, size
from groundglass.old_report.scale_reading import Scale, read_scale
from groundglass.old_report.scale_words import (
    BUYS,
    BUYS_NOTHING,
    arithmetic_words,
    judgement,
    law_words,
    retrieval_words,
)
from groundglass.old_report.study import Study
from groundglass.old_report.style import KIND_INK
from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_scale, synthetic_study
from tests.old_report.synthetic_scale import NETWORKS, SQUARE, N, write
from tests.old_report.test_black_box import table_rows
from tests.old_report.test_page import Reader, outputs


def study(folder: Path) -> Study:
    return Study(RecordStore.read(folder), Folder(folder / "figures"))


def read(
    folder: Path, networks: synthetic_scale.Left = NETWORKS, keep: Callable[[Record], bool] = lambda _: True
) -> Scale:
    found = read_scale(study(write(folder, synthetic_scale.everything(networks), keep=keep)))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("scale") / "run")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def page(whole: Path) -> str:
    return (whole / "report.html").read_text()


def test_every_cost_is_that_of_its_record_and_projections_say_so(page: str) -> None:
    rows = table_rows(page, "Table of costs at N = M")
    assert len(rows) == sum(map(len, SQUARE.values()))
    for kind, n, m, _, one, each, _, _, measured in rows:
        assert n == m
        expected = SQUARE[kind][int(n.replace(",", ""))]
        assert (one, each) == (seconds(expected), seconds(expected / 2))
        projected = kind == "procedural" and int(n.replace(",", "")) > 2**14
        assert measured == ("projected from 4,096 outputs" if projected else "whole")
    assert sum(row[-1] != "whole" for row in rows) == 3


def test_projected_points_are_hollow_and_said_in_words_and_in_the_alternative_text(whole: Path, page: str) -> None:
    with drawing_style():
        found = read_scale(study(whole))
        assert found is not None
        figure = scale_figures.costs(found, lambda c: c.one, label="s", write=seconds)
        (axes,) = figure.axes
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow] == [[2**16, 2**18, 2**20]]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert {line.get_color() for line in axes.lines if line not in hollow} == {one.light for one in KIND_INK.values()}
    assert "1,048,576 21.8 min (projected)" in page
    assert "1,048,576 19 ms" in page
    assert "1,048,576 19 ms (projected)" not in page
    words = Reader(page).text
    assert "each of a batch of 64 10.9 min, projected from 4,096 of the outputs" in words


def test_the_papers_arithmetic() -> None:
    words = arithmetic_words()
    assert "10¹² entries: 8 TB as complex64" in words
    assert "2 TB as the dense device here holds them" in words


def test_exponents_are_the_records(page: str) -> None:
    rows = table_rows(page, "Table of exponents")
    assert rows == [
        ["dense", "N = M, 4,096 to 32,768", "–", "1.97", "–", "–"],
        ["structured", "N = M, 65,536 to 1,048,576", "1.06", "1.08", "–", "–"],
    ]


def test_laws_that_fail_are_named_and_a_known_difference_is_told_from_an_unknown(tmp_path: Path, page: str) -> None:
    rows = {row[0]: row[1:] for row in table_rows(page, "Table of media")}
    assert rows["dense"] == ["1,024 × 1,024", "4 of 4", "none"]
    assert rows["structured"] == ["1,024 × 1,024", "3 of 4", "total of all inputs one by one"]
    assert rows["H D stand-in"][1:] == ["3 of 4", "contrast"]
    words = " ".join(law_words(read(tmp_path / "a")))
    assert "Dense (1,024 × 1,024): all 4 laws hold." in words
    assert "total of all inputs one by one (0 where an i.i.d. matrix has 1, a known difference)" in words
    assert "none of the 2 naive stand-ins passes every law" in words


def test_a_stand_in_that_passes_discredits_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(synthetic_scale.MEDIA, "H D", (True, ()))  # type: ignore[arg-type]
    words = " ".join(law_words(read(tmp_path / "a")))
    assert "H D of the 2 naive stand-ins passes every law: the table cannot tell these" in words


def test_every_share_under_attack_is_that_of_its_record(page: str) -> None:
    rows = {row[0]: row[1:] for row in table_rows(page, "Table of networks by size, ε = 1.28/255")}
    assert list(rows) == ["VGG-16", "512 × 8,000", "2,048 × 8,000", "512 × 128,000", "2,048 × 8,000 structured"]
    assert rows["VGG-16"][1].startswith(f"{100 * synthetic_scale.BASELINE / N:.1f}")
    order = ["dfa", "dfa-fresh", "bpda-fit-linear", "exact"]
    for (n, m, kind), (clean, left) in NETWORKS.items():
        label = f"{n:,} × {m:,}" + ("" if kind == "dense" else f" {kind}")
        untouched, bp, *by_rule, together = rows[label]
        assert untouched.startswith(f"{100 * clean:.1f}")
        assert bp == "–"
        assert [cell.split()[0] for cell in by_rule] == [f"{100 * left[rule] / N:.1f}" for rule in order]
        # Image by image: fewer than any of them leaves alone.
        assert float(together.split()[0]) < min(100 * count / N for count in left.values())


def test_no_difference_between_sizes_is_said_where_intervals_overlap(tmp_path: Path) -> None:
    found = judgement(read(tmp_path / "a"))
    assert found is not None
    assert (found.text, found.tone) == (BUYS_NOTHING, "bad")
    along_n, along_m, beside = found.reasons
    assert "N from 512 to 2,048 at M = 8,000" in along_n
    assert "M from 8,000 to 128,000 at N = 512" in along_m
    assert "the intervals overlap" in along_n
    assert "which is no clear difference" in along_m
    assert beside.endswith("no network is clearly above it.")


def test_a_difference_and_a_network_above_the_baseline_are_said(tmp_path: Path) -> None:
    better = dict.fromkeys(("dfa", "dfa-fresh", "bpda-fit-linear", "exact"), 120)
    found = judgement(read(tmp_path / "a", {**NETWORKS, (512, 128_000, "dense"): (0.82, better)}))
    assert found is not None
    assert (found.text, found.tone) == (BUYS, "open")
    assert "the intervals overlap" in found.reasons[0]
    assert "the intervals are apart" in found.reasons[1]
    assert found.reasons[2].endswith("512 × 128,000 is clearly above it.")


def test_a_network_that_fewer_rules_attacked_is_no_end_of_the_comparison(tmp_path: Path) -> None:
    few = {**NETWORKS, (512, 128_000, "dense"): (0.82, {"dfa-fresh": 120})}
    found = judgement(read(tmp_path / "a", few))
    assert found is not None
    assert found.text == BUYS_NOTHING
    assert not any("128,000 at N" in reason for reason in found.reasons)


def test_retrieval_is_projected_from_rows_along_each_side(tmp_path: Path, page: str) -> None:
    words = retrieval_words(read(tmp_path / "a"))
    assert "projected from the 64 that were retrieved" in words[0]
    assert words[1] == (
        "N from 512 to 2,048 at M = 8,000: 6,144 frames become 24,576 (12.3 s at the device), and 40 s of computing become "
        "4 min, projected."
    )
    assert "it stays at 6,144 frames, and 40 s of computing become 10.7 min, projected" in words[2]
    # 2e-6 s x (1e6)^1.25 a row, a million rows; 12 N frames at 2,000 a second; a byte a reading.
    years = 2e-6 * 10**7.5 * 1e6 / 31_557_600
    assert f"100 min of frames, 12 TB of readings, {years:.3g} years of computing" in words[-1]
    rows = {row[0]: row[1:] for row in table_rows(page, "Table of retrieval by size")}
    assert rows["512 × 128,000"] == ["6,144", "3.07 s", "786 MB", "5 ms", "10.7 min", "524 MB", "0.35% 0 of 64 fail"]


def test_without_three_sizes_nothing_is_extrapolated(tmp_path: Path) -> None:
    words = " ".join(retrieval_words(read(tmp_path / "a", keep=lambda r: r.kind != "fit")))
    assert "Extrapolated" not in words


@pytest.mark.parametrize(
    "kinds", [("cost",), ("fidelity",), ("cost", "fidelity", "train"), ("train", "attack"), ("rows",)]
)
def test_a_study_in_progress_has_a_page_of_what_is_there(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    folder = write(tmp_path / "run", keep=lambda r: r.kind in kinds)
    build(folder)
    rendered = ScaleSection().render(study(folder))
    assert rendered is not None
    assert rendered.progress is not None
    assert not rendered.progress.is_complete
    told = scale_answer(study(folder))
    assert ("Verdict" in (told.lead if told else "")) == ("attack" in kinds)


def test_other_studies_have_no_such_section(complete: Path) -> None:
    assert ScaleSection().render(study(complete)) is None
    assert scale_answer(study(complete)) is None


def test_attacks_of_this_study_are_no_white_box_study(whole: Path) -> None:
    assert study(whole).attacks == []


def test_the_page_is_the_same_each_time_and_whole(whole: Path, page: str) -> None:
    before = outputs(whole)
    build(whole)
    assert outputs(whole) == before
    reader = Reader(page)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert {f"scale-{name}.png" for name in ("one", "each", "memory", "sides", "networks", "retrieval")} <= set(before)


@pytest.mark.parametrize("kind", ["cost", "fidelity", "rows", "fit"])
def test_a_record_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    bad = synthetic_study.record(kind, "broken one", {}, {})
    folder = write(tmp_path / "run", [*synthetic_scale.everything(), (bad, None)])
    with pytest.raises(DamagedFileError, match="broken one"):
        read_scale(study(folder))


def test_numbers_in_words() -> None:
    told = {
        2e-7: "0.2 µs",
        0.0152: "15.2 ms",
        7.0: "7 s",
        119.0: "119 s",
        600.0: "10 min",
        3e7: "347 days",
        1e12: "31,688 years",
    }
    assert {value: seconds(value) for value in told} == told
    assert [size(value) for value in (12, 33_554_432, 8e12, 2e15)] == ["12 bytes", "33.6 MB", "8 TB", "2 PB"]


def test_without_arrays_the_least_single_attack_counts(tmp_path: Path) -> None:
    made = [(r, None) for r, _ in synthetic_scale.everything()]
    found = read_scale(study(write(tmp_path / "run", made)))
    assert found is not None
    (ball,) = found.balls
    assert found.networks[0].worst(ball) == Proportion(49, N)
