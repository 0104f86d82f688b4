"""The price of the secret: its numbers are those of the records, and its words follow them whichever way they come out."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from groundglass.core import DamagedFileError
from groundglass.core.statistics import wilson
from groundglass.old_report import retrieval_figures
from groundglass.old_report.drawing import Folder, drawing_style
from groundglass.old_report.page import build
from groundglass.old_report.query_verdict import verdicts
from groundglass.old_report.retrieval import RetrievalSection, retrieval_answer
from groundglass.old_report.retrieval_reading import Retrieval, read_retrievals
from groundglass.old_report.study import Study
from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_retrieval as synthetic
from tests.old_report import synthetic_study
from tests.old_report.synthetic_retrieval import NEEDED, UNNEEDED, Made, attack, attacks, price, retrieve, with_u
from tests.old_report.test_black_box import table_rows
from tests.old_report.test_page import Reader, outputs

FIGURES = {"retrieval-price-1", "retrieval-price-2", "retrieval-error", "retrieval-failed", "retrieval-camera"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic.write(tmp_path_factory.mktemp("retrieval") / "run")
    build(folder)
    return folder


def study(folder: Path) -> Study:
    return Study(RecordStore.read(folder), Folder(folder / "figures"))


def context(folder: Path, made: list[Made], **more: Any) -> dict[str, Any]:
    with drawing_style():
        section = RetrievalSection().render(study(synthetic.write(folder, made, **more)))
    assert section is not None
    return dict(section.context)


def answer(folder: Path, made: list[Made]) -> str:
    return " ".join(context(folder, made)["answer"])


def written(share: float, total: int = 1000) -> str:
    low, high = wilson(round(share * total), total)
    return f"{100 * share:.1f} {100 * low:.1f}–{100 * high:.1f}"


def test_a_retrieval_that_was_needed_has_a_price(tmp_path: Path) -> None:
    words = answer(tmp_path, synthetic.everything(NEEDED))
    # 4 N lose half the rows; 8 N are the cheapest that find practically all.
    assert "8 N = 4,096 frames, which take 2 seconds at 2,000 frames a second, and 56 seconds of computing" in words
    assert "the median error of a row is 0.46%, and 0.2% of the 8,000 rows fail" in words
    assert "with 4 N (1 second) 50.2% of the rows fail" in words
    # At the smaller radius the gap is 23 points, at the larger 20: U looks best where it helps most.
    assert "At ε = 2.55/255 (the paper's 0.02) PGD leaves VGG-OPU right on 21.0% with the U retrieved from 8 N" in words
    assert "62.0% by DFA, 72.0% by BPDA (drawn W) and 44.0% by BPDA (linear fit)" in words
    assert "the best attacker without it, BPDA (linear fit), leaves 23 points more" in words
    # 4 N come close at one radius, but not at the other.
    assert "it has a price: 8 N = 4,096 frames (2 seconds at the device)" in words
    assert "no retrieval was needed" not in words


def test_a_retrieval_that_was_not_needed(tmp_path: Path) -> None:
    words = answer(tmp_path, synthetic.everything(UNNEEDED))
    assert "So no retrieval was needed: without U, BPDA (linear fit) gets as far as the exact U" in words
    assert "and so does an attacker without U at the other radius" in words
    assert "worth nothing clear" in words
    assert "U was worth something" not in words
    assert "needs the training's B" not in words


def test_only_dfa_is_as_good_and_needs_b(tmp_path: Path) -> None:
    lefts = {**NEEDED, "dfa": (0.21, 0.01)}
    assert "needs the training's B" in answer(tmp_path, [price(12.0), *attacks(lefts)])


def test_needed_at_one_radius_alone(tmp_path: Path) -> None:
    lefts = {**NEEDED, "bpda-fit-linear": (0.44, 0.012)}
    words = answer(tmp_path, [*with_u(price(12.0), 0.21, 0.01), *attacks(lefts)])
    assert "leaves 23 points more" in words
    assert "At ε = 6.38/255 an attacker without U gets as far as the exact one." in words


@pytest.mark.parametrize(
    ("lefts", "told"),
    [
        ((0.43, 0.2), "Here the secret held, against these retrievals."),
        ((0.33, 0.1), "A retrieved U brings a part of that: it leaves 33.0%"),
        ((0.21, 0.1), "gets as far here (21.0% left), but none of those tried does so at every radius"),
        ((0.21, 0.01), "it has a price"),
    ],
)
def test_a_retrieved_u_that_falls_short_is_told(tmp_path: Path, lefts: tuple[float, float], told: str) -> None:
    words = answer(tmp_path, [*with_u(price(12.0), *lefts), *attacks(NEEDED)])
    assert told in words
    assert ("it has a price" in words) == (lefts == (0.21, 0.01))


def test_a_failed_retrieval_is_called_so(tmp_path: Path) -> None:
    failed = retrieve("price", 12.0, error=1.31, failed=0.99)
    words = answer(tmp_path / "a", [*with_u(failed, 0.44, 0.21), *attacks(NEEDED)])
    assert "The retrieval failed. The best took 12 N" in words
    assert "A row that is only guessed has an error of 141%." in words
    assert "the secret held" in words
    half = retrieve("price", 4.0, error=0.05, failed=0.4)
    assert "found a part of the secret matrix U" in answer(tmp_path / "b", [half])


def test_without_what_it_takes_nothing_is_claimed(tmp_path: Path) -> None:
    assert "No attack with or without U has been recorded" in answer(tmp_path / "a", [price(12.0)])
    no_exact = [made for made in attacks(NEEDED) if made[0].config["rule"] != "exact"]
    assert "PGD with the exact U has not been recorded" in answer(tmp_path / "b", [price(12.0), *no_exact])
    alone = [made for made in attacks(NEEDED) if made[0].config["rule"] == "exact"]
    assert "no attack without it has been recorded" in answer(tmp_path / "c", [price(12.0), *alone])
    idle = attacks(dict.fromkeys(NEEDED, (0.82, 0.82)))
    assert "cannot tell what U is worth" in answer(tmp_path / "d", [price(12.0), *idle])
    assert "with a retrieved U has not been recorded yet" in answer(tmp_path / "e", [price(12.0), *attacks(NEEDED)])
    assert "has not been retrieved from the network's own device yet" in answer(tmp_path / "f", synthetic.sweeps())


@pytest.mark.parametrize(
    ("blurred", "told", "paper"),
    [
        ({0.1: 0.21, 0.5: 0.4}, "wrong by up to 10% does as well as the exact one; at 50%", "So the 8%"),
        ({0.1: 0.21, 0.5: 0.21, 1.0: 0.5}, "wrong by up to 50%", "So the 32%"),
        ({0.03: 0.21, 0.05: 0.4}, "wrong by up to 3% ", "neither of the errors that the paper names"),
        ({0.03: 0.21, 0.2: 0.4}, "wrong by up to 3% ", ""),
        ({0.03: 0.4, 0.1: 0.21}, "even the smallest error tried, 3%", "neither of the errors"),
        ({0.3: 0.21, 1.41: 0.2}, "wrong by 141%, which is as wrong as a guess", "So the 32%"),
    ],
)
def test_how_exact_u_must_be(tmp_path: Path, blurred: dict[float, float], told: str, paper: str) -> None:
    made = [price(12.0), *attacks(NEEDED), *synthetic.blurs({e: (left, 0.01) for e, left in blurred.items()})]
    words = context(tmp_path, made)["precision"]
    assert told in words
    assert paper in words
    assert ("paper" in words) == bool(paper)


def test_which_period_keeps_the_attacker_out(whole: Path, tmp_path: Path) -> None:
    words = Reader((whole / "report.html").read_text()).text
    assert "A redraw every 0.5 seconds allows too few frames for this retrieval to be tried." in words
    assert "A redraw every 1.5 seconds (3,000 frames) keeps the retrieval out" in words
    assert "Every 6 seconds (12,000 frames) and 60 seconds (120,000 frames) are too slow" in words
    assert "No period keeps out" not in words
    free = context(tmp_path / "a", [price(12.0), *synthetic.periods(), *attacks(UNNEEDED)])
    assert "No period keeps out BPDA (linear fit), which needs no U" in free["kept"]
    part = [price(12.0), *with_u(synthetic.period(1.5, 0.5, 0.9), 0.33, 0.1), *attacks(NEEDED)]
    kept = context(tmp_path / "b", part, periods=(1.5,))["kept"]
    assert "Every 1.5 seconds (3,000 frames) keeps out a part" in kept
    assert "none of the periods tried would have kept the retrieval out altogether" in kept


def test_the_moving_matrix_is_that_of_the_records(whole: Path) -> None:
    page = (whole / "report.html").read_text().replace('<tr class="worst">', "<tr>")
    rows = table_rows(page, "Table of redraw periods")
    assert rows[0] == ["0.5 s", "1,000", "1.95 N", "too few frames", "–", "–"]
    assert rows[1] == ["1.5 s", "3,000", "5.86 N", "90%", "97.0", written(0.7), written(0.56)]
    assert rows[2][:5] == ["6.0 s", "12,000", "23.4 N", "0.24%", "0.0"]
    assert rows[-2] == ["exact U", "", "", "", "", written(0.21), written(0.01)]
    assert rows[-1][-1] == f"{written(0.21)} BPDA (linear fit)"


def test_a_period_that_is_still_to_come_is_not_called_too_short(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path, keep=lambda r: r.config.get("period") != 1.5)
    rows = table_rows(build(folder, sections=[RetrievalSection()]).read_text(), "Table of redraw periods")
    assert [row[3] for row in rows[:2]] == ["too few frames", "not done yet"]


def test_prices_and_methods_are_those_of_the_records(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    rows = table_rows(page, "Table of retrievals of the network's device")
    assert rows[0] == ["2,048", "4 N", "1.0 s", "28 s 2 threads", "11%", "50.2", "4.7 wrong row 23", "50.2"]
    assert rows[2][:6] == ["6,144", "12 N", "3.1 s", "1 min 24 s 2 threads", "0.31%", "0.0"]
    methods = {row[0]: row for row in table_rows(page, "Table of retrieval methods")}
    assert set(methods) == {"fixed-exposure", "multilateration", "closed-form"}
    assert methods["closed-form"][-1] == "control of the exposure"
    assert methods["multilateration"][-1] == "inputs and readings"
    assert "the attacker must set the camera's exposure" in page


def test_every_attack_is_in_the_table(whole: Path) -> None:
    rows = {row[0]: row[1:] for row in table_rows((whole / "report.html").read_text(), "Table of attacks with each U")}
    assert rows["exact U"] == [written(0.21), written(0.01)]
    assert rows["U wrong by 60%"] == [written(0.35), written(0.09)]
    assert rows["retrieved from 4 N frames"] == [written(0.26), written(0.06)]
    assert rows["retrieved from 5.86 N frames, redraw every 1.5 s"] == [written(0.7), written(0.56)]
    assert rows["VGG-16 ← BP"] == [written(0.2), written(0.008)]
    assert len(rows) == len(NEEDED) + 1 + len(synthetic.BLURRED) + 3 + 3


def test_what_the_attacker_can_tell(tmp_path: Path) -> None:
    assert "within 5 points" in context(tmp_path / "a", [price(4.0), price(12.0)])["told"]
    wrong = context(tmp_path / "b", [price(4.0, told=0.1), price(12.0)])["told"]
    assert "from 4 N frames the attacker takes 10.0% of them for wrong, in truth it is 50.2%" in wrong


def test_a_budget_and_a_failed_check_are_told(tmp_path: Path) -> None:
    short = price(12.0, complete=False, note="ended by the time budget after 500 rows", rows=500)
    found = context(tmp_path, [short, *synthetic.checks(passed=False)])
    assert any("was ended early: ended by the time budget after 500 rows." in note for note in found["notes"])
    assert any("“held-out readings tell the truth” failed: of 8,000 rows" in note for note in found["notes"])
    assert "500 of 8,000 rows" in " ".join(found["answer"])


def test_a_retrieval_that_got_no_row_has_no_error(tmp_path: Path) -> None:
    nothing = price(12.0, complete=False, note="no time")
    nothing[0].result.update(rows=0, error=None, held_out=None, failed_share=None, told_share=None)
    page = build(synthetic.write(tmp_path, [nothing]), sections=[RetrievalSection()]).read_text()
    (row,) = table_rows(page, "Table of retrievals of the network's device")
    assert row[4:] == ["–", "–", "–", "–"]


def test_the_figures_are_there_and_hold_the_records(whole: Path) -> None:
    assert {p.stem for p in (whole / "figures").iterdir() if p.stem.startswith("retrieval")} == FIGURES
    found = read_retrievals(study(whole))
    lines = retrieval_figures.lines_of(found)
    assert list(lines) == ["N = 128", "N = 256", "N = 1,024", "N = 512\nthe network's"]
    assert [one.per_input for one in lines["N = 512\nthe network's"]] == [4.0, 8.0, 12.0, 16.0]
    sweeps = retrieval_figures.sweep_lines(found)
    assert [[word for word, _ in line] for _, line in sweeps] == [
        ["0", "1", "2", "4"],
        ["float", "8", "6", "4", "2"],
        ["0.1", "1", "10", "30"],
    ]


@pytest.mark.parametrize(
    "keep",
    [
        lambda r: r.kind in ("train", "retrieve"),
        lambda r: r.config.get("rule") != "exact",
        lambda r: "blurred" not in str(r.config.get("rule")),
        lambda r: r.config.get("purpose") != "price",
        lambda r: r.config.get("purpose") not in ("queries", "noise", "method"),
        lambda r: r.config.get("purpose") == "noise",
        lambda r: r.config.get("rule") in (None, "bpda-retrieved"),
        lambda r: r.config.get("eps_paper") != 0.02,
    ],
)
def test_a_partial_folder_has_a_page(tmp_path: Path, keep: Callable[[Record], bool]) -> None:
    folder = synthetic.write(tmp_path, keep=keep)
    page = Reader(build(folder).read_text())
    assert page.open == []
    assert "The price of the secret" in page.text
    told = retrieval_answer(study(folder))
    assert told is not None
    assert "None" not in " ".join([told.lead, *told.said])


def test_without_a_retrieval_there_is_no_section(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path, keep=lambda r: r.kind != "retrieve")
    assert RetrievalSection().render(study(folder)) is None
    assert retrieval_answer(study(folder)) is None


def test_the_study_has_no_white_box_verdict_of_its_own(whole: Path) -> None:
    assert verdicts(study(whole)) == []
    words = Reader((whole / "report.html").read_text()).text
    assert words.count("So U was worth something") == 2, "at the head of the page, and in the section"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("failed_share", 1.2), ("rows", 9000), ("error", {"median": -1.0, "max": 1.0}), ("frames", 0), ("threads", None)],
)
def test_impossible_retrievals_are_named(field: str, wrong: Any) -> None:
    made, _ = price(12.0)
    made.result[field] = wrong
    with pytest.raises(DamagedFileError, match="U 512 -> 8000 from 12 N frames"):
        Retrieval.from_record(made)


def test_a_blurred_matrix_without_an_error_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match="matrix_error"):
        context(tmp_path, [price(12.0), attack("exact-blurred", 0.05, 0.1)])


def test_the_same_records_give_the_same_page(whole: Path, tmp_path: Path) -> None:
    again = synthetic.write(tmp_path / "again")
    build(again)
    assert outputs(again) == outputs(whole)


def test_the_page_is_sound(whole: Path) -> None:
    text = (whole / "report.html").read_text()
    page = Reader(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    section = text[text.index('<section id="retrieval">') :]
    section = section[: section.index("</section>")]
    assert set(re.findall(r": (#[0-9a-f]{6})\b", section)) == set(), "each colour follows the reader's theme"


def test_beside_a_white_box_study_the_retrieved_matrix_counts_as_tried(tmp_path: Path) -> None:
    """And a failed check of the retrievals is no sign of masking: it says nothing about the other attacks."""
    white = list(synthetic_study.attacks((("VGG-OPU", "dfa"), ("VGG-OPU", "exact"))))
    alone = [price(12.0), *white, *synthetic.checks(passed=False)]
    (before,) = verdicts(study(synthetic.write(tmp_path / "a", alone)))
    (after,) = verdicts(study(synthetic.write(tmp_path / "b", [*alone, *with_u(price(12.0), 0.2, 0.01)[1:]])))
    assert "a matrix retrieved from the device (exact U is its best case)" in before.verdict.skipped
    assert "a matrix retrieved from the device (exact U is its best case)" not in after.verdict.skipped
    assert not any("held-out readings tell the truth" in reason for reason in after.verdict.reasons)
