"""The black-box section: its numbers are those of the records, and white-box references stay where they belong."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, wilson
from groundglass.old_report import build, success_figures
from groundglass.old_report.black_box import BlackBoxSection, read_curve
from groundglass.old_report.drawing import Folder, drawing_style
from groundglass.old_report.queries import QueryCell, success_curve
from groundglass.old_report.query_attackers import QUERY_ATTACKERS
from groundglass.old_report.study import Study
from groundglass.old_report.style import ATTACKER_INK, KIND_INK, QUERY_INK, TRANSFER_INK, css_names, marker
from groundglass.results.records import RecordStore
from tests.old_report import synthetic_queries, synthetic_study
from tests.old_report.synthetic_queries import BUDGET, Made, query
from tests.old_report.test_page import Reader, outputs


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic_queries.write(tmp_path_factory.mktemp("black-box") / "run")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic_queries.write(tmp_path_factory.mktemp("all") / "run", white_box=True)
    build(folder)
    return folder


def study(folder: Path) -> Study:
    return Study(RecordStore.read(folder), Folder(folder / "figures"))


def context(folder: Path, made: list[Made]) -> dict[str, Any]:
    synthetic_queries.write(folder, made)
    with drawing_style():
        section = BlackBoxSection().render(study(folder))
    assert section is not None
    return dict(section.context)


def text(folder: Path) -> str:
    return Reader((folder / "report.html").read_text()).text


def table_rows(page: str, table: str) -> list[list[str]]:
    """Cells of a table of the page, as a reader sees them."""
    (found,) = re.findall(rf'aria-label="{re.escape(table)}">.*?</table>', page, flags=re.DOTALL)
    body = found[found.index("<tbody>") :]
    rows = re.findall(r"<tr>(.*?)</tr>", body, flags=re.DOTALL)
    return [
        [
            re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", cell)).strip()
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        ]
        for row in rows
    ]


def test_every_number_of_the_table_is_that_of_a_record(whole: Path) -> None:
    rows = {
        row[0]: row[1:]
        for row in table_rows((whole / "report.html").read_text(), "Table of query attacks, L∞ ε = 8/256")
    }
    chosen = {c.key for c in study(whole).choices}
    records = [
        r
        for r in RecordStore.read(whole).records
        if r.kind == "query" and (r.config["purpose"] == "figure" or r.key in chosen)
    ]
    assert len(records) == len(rows) == 10
    for record in records:
        result = record.result
        name = f"{record.config['model']} ← {record.config['attack']}"
        row = rows[name + (" labels only" if record.config["attack"] == "RayS" else "")]
        for value, (_, count) in zip(row[:3], result["success_at"], strict=True):
            low, high = wilson(count, result["clean_correct"])
            share = count / result["clean_correct"]
            assert value == f"{100 * share:.1f} {100 * low:.1f}–{100 * high:.1f}"
        assert row[3:] == [
            f"{result['mean_queries']:,.0f}",
            f"{result['median_queries']:,.0f}",
            f"{result['median_loss_queries']:,.0f}",
            str(result["clean_correct"]),
            str(100 - result["clean_correct"]),
            "2,432",
        ]


def test_the_sweep_marks_what_was_chosen_and_only_that_is_a_curve(whole: Path) -> None:
    rows = table_rows((whole / "report.html").read_text(), "Table of the sweep of NES")
    assert [row[0] for row in rows] == ["0.05", "0.1", "0.5", "1"]
    assert [["chosen" in cell for cell in row[1:]] for row in rows] == [[0, 0], [0, 0], [1, 0], [0, 1]]
    for model, column in (("VGG-16", 1), ("VGG-OPU", 2)):
        counts = [round(share * synthetic_queries.RIGHT[model]) for share in synthetic_queries.NES[model]]
        shares = [f"{100 * count / synthetic_queries.RIGHT[model]:.1f}" for count in counts]
        assert [row[column].split()[0] for row in rows] == shares
    nes = {cell.model: cell.settings["sigma"] for cell in study(whole).asked if cell.attack == "NES"}
    assert nes == synthetic_queries.CHOSEN


def test_the_curve_ends_at_the_records_rate(whole: Path) -> None:
    found = study(whole)
    assert len(found.asked) == 10
    for cell in found.asked:
        curve = read_curve(found, cell)
        assert curve is not None
        assert cell.success == Proportion(curve.at(BUDGET), curve.total)
        assert curve.total == cell.record.result["clean_correct"]


def drawn(cells: list[QueryCell], arrays: list[Any], **more: Any) -> Any:
    curves = [success_curve(a, cell.budget) for cell, a in zip(cells, arrays, strict=True)]
    names = [f"{cell.attack} ({cell.model})" for cell in cells]
    with drawing_style():
        return success_figures.successes(cells, curves, names, **{"bands": True, "logarithmic": False, **more})


@pytest.mark.parametrize("logarithmic", [False, True])
def test_the_figure_holds_the_curve(logarithmic: bool) -> None:
    made, arrays = query("VGG-OPU", "Square", fooled=3, right=4, n=5, costs=[7, 7, 900])  # type: ignore[arg-type]
    (axes,) = drawn([QueryCell.from_record(made)], [arrays], logarithmic=logarithmic).axes
    curve = axes.lines[0]
    assert curve.get_xdata() == pytest.approx([1 if logarithmic else 0, 7, 900, BUDGET])
    assert curve.get_ydata() == pytest.approx([0, 50, 75, 75])
    assert curve.get_drawstyle() == "steps-post"
    assert axes.get_xscale() == ("log" if logarithmic else "linear")
    assert axes.get_xlim() == (1 if logarithmic else 0, BUDGET)
    band = axes.collections[0].get_paths()[0].vertices
    low, high = wilson(3, 4)
    assert band[:, 1].max() == pytest.approx(100 * high)
    assert any(point == pytest.approx((BUDGET, 100 * low)) for point in band)


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("equal", [False, True])
def test_names_lie_within_the_picture_and_on_nothing_else(logarithmic: bool, equal: bool) -> None:
    made = [m for m in synthetic_queries.everything() if m[0].kind == "query" and m[0].config["purpose"] == "figure"]
    made += [query(model, "NES", fooled=40) for model in synthetic_queries.RIGHT]
    if equal:  # every curve ends in one point
        made = [query(m.config["model"], m.config["attack"], fooled=80, right=80) for m, _ in made]
    cells = [QueryCell.from_record(m) for m, _ in made]
    names = [c.attack if c.model == "VGG-OPU" else f"{c.attack} ({c.model})" for c in cells]
    curves = [success_curve(a, BUDGET) for _, a in made if a]
    with drawing_style():
        figure = success_figures.successes(cells, curves, names, bands=True, logarithmic=logarithmic)
        FigureCanvasAgg(figure).draw()
        (axes,) = figure.axes
        boxes = [t.get_window_extent() for t in axes.texts]
        ticks = [t.get_window_extent() for t in axes.get_xticklabels() if t.get_text()]
        key = figure.legends[0].get_window_extent()
    assert [t.get_text() for t in axes.texts] == names
    for box in [*boxes, key]:
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
    for box in boxes:
        assert axes.get_window_extent().x1 < box.x0
    assert key.y0 >= axes.get_window_extent().y1 - 3
    for one, other in [*itertools.combinations([*boxes, key], 2), *itertools.combinations(ticks, 2)]:
        assert not one.overlaps(other)


def test_an_attack_has_a_colour_and_a_marker_of_its_own() -> None:
    names = [a.name for a in QUERY_ATTACKERS]
    assert set(names) == set(QUERY_INK)
    assert len({marker(name) for name in names}) == len(names)
    inks = (ATTACKER_INK, QUERY_INK, TRANSFER_INK, KIND_INK)
    assert len(css_names()) == 5 + sum(map(len, inks)), "no colour has two meanings"
    assert len({QUERY_INK[name].dark for name in names}) == len(names)


def test_the_papers_figure_has_its_three_attacks_and_the_other_figure_all(whole: Path) -> None:
    assert {p.name for p in (whole / "figures").iterdir()} == {
        f"{name}.{suffix}" for name in ("figure-3", "black-box", "training") for suffix in ("svg", "png")
    }
    paper, everyone = re.findall(
        r'aria-label="(Images fooled against queries[^"]*)"', (whole / "report.html").read_text()
    )
    assert paper.count(" fools ") == 6
    assert everyone.count(" fools ") == 10
    assert "Square" not in paper
    assert "VGG-OPU ← Parsimonious fools 70% of 82 images within 15,000 queries, half of them within" in paper


def test_the_same_records_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    again = synthetic_queries.write(tmp_path / "again")
    build(again)
    assert outputs(again) == outputs(whole)


def test_references_do_not_leak_into_the_white_box_study(both: Path, tmp_path: Path) -> None:
    """The page of a white-box study is the same with them and without, but for what speaks of queries."""
    found = study(both)
    assert [(c.model, c.rule) for c in found.references] == list(synthetic_queries.GRADIENTS)
    assert {c.purpose for c in found.attacks} == {"figure", "control"}
    alone = synthetic_study.write(tmp_path / "alone")
    build(alone)
    for name in ("figure-2", "white-box-linf", "white-box-l2"):
        for suffix in ("svg", "png"):
            file = f"figures/{name}.{suffix}"
            assert (both / file).read_bytes() == (alone / file).read_bytes()

    def part(folder: Path, anchor: str) -> str:
        page = (folder / "report.html").read_text()
        return page[page.index(f'<section id="{anchor}">') :].split("</section>")[0]

    assert part(both, "white-box") == part(alone, "white-box")
    assert part(both, "gallery") == part(alone, "gallery")
    first = r'<p class="answer">(.*?)</p>'
    assert re.findall(first, part(both, "answer"))[0] == re.findall(first, part(alone, "answer"))[0]


def test_a_study_of_both_parts_has_both(both: Path) -> None:
    page = Reader((both / "report.html").read_text())
    anchors = ["answer", "white-box", "black-box", "networks", "gallery", "attackers", "checks", "provenance"]
    assert [i for i in page.ids if i in anchors] == anchors
    assert "Verdict, white-box: likely gradient masking" in page.text
    assert "Verdict, black-box: likely gradient masking" in page.text
    assert len(page.ids) == len(set(page.ids))


def test_a_black_box_page_has_no_white_box_part(whole: Path) -> None:
    page = Reader((whole / "report.html").read_text())
    assert page.open == []
    assert not {"white-box", "gallery"} & set(page.ids)
    assert "Figure 2" not in page.text
    assert len(page.ids) == len(set(page.ids))
    assert re.findall(r"https?://", (whole / "report.html").read_text()) == []


def test_the_attackers_are_described(whole: Path) -> None:
    words = text(whole)
    for name in ("NES", "Bandits", "Parsimonious", "Square", "RayS"):
        assert name in words
    assert words.count("the scores of every class") == 4
    assert words.count("the predicted class, nothing else") == 1
    assert words.count("15,000 times an image") == 5 + 1
    assert "Has the true matrix U" in words, "of the references too"


def test_estimates_that_are_exactly_zero_are_told_only_where_there_are_any(whole: Path, tmp_path: Path) -> None:
    assert "exactly zero: 12.4% of those of NES on VGG-OPU. " in text(whole)
    assert context(tmp_path, [query("VGG-OPU", "Bandits", fooled=3)])["flat"] is None
    small = query("VGG-OPU", "Bandits", fooled=3, flat_share=0.0001)
    assert "less than 0.1% of those of Bandits on VGG-OPU" in context(tmp_path / "small", [small])["flat"]


def test_a_partial_run_says_what_is_missing_and_claims_nothing(tmp_path: Path) -> None:
    folder = synthetic_queries.write(
        tmp_path, keep=lambda r: r.kind == "train" or (r.config.get("model") == "VGG-16" and r.kind != "choice")
    )
    build(folder)
    words = text(folder)
    assert "incomplete: 11 of 26 cells are done" in words
    assert "9 of 21 done; 12 still missing" in words
    assert "sigma of NES on VGG-OPU" in words
    assert "VGG-OPU ← exact" in (folder / "report.html").read_text()
    assert "Verdict: not decided" in words
    assert "Where nothing is chosen yet, NES has no curve" in words
    assert "NES (" not in re.findall(r'aria-label="(Images fooled[^"]*)"', (folder / "report.html").read_text())[0]
    assert "layer lowers" not in words
    assert "✓ chosen" not in words


def test_a_sweep_before_its_choice_is_shown_without_a_figure(tmp_path: Path) -> None:
    folder = synthetic_queries.write(tmp_path, keep=lambda r: r.config.get("attack") == "NES" and r.kind == "query")
    build(folder)
    rows = table_rows((folder / "report.html").read_text(), "Table of the sweep of NES")
    assert len(rows) == 4
    assert not (folder / "figures" / "figure-3.svg").exists()


@pytest.mark.parametrize("white_box", [False, True])
@pytest.mark.parametrize("kinds", [(), ("train",), ("train", "check"), ("attack",), ("check",), ("choice",)])
def test_a_folder_without_queries_has_a_page(tmp_path: Path, kinds: tuple[str, ...], white_box: bool) -> None:
    def keep(record: Any) -> bool:
        return record.kind in kinds and record.config.get("purpose", "reference") == "reference"

    folder = synthetic_queries.write(tmp_path, white_box=white_box, keep=keep)
    build(folder)
    page = Reader((folder / "report.html").read_text())
    assert "black-box" not in page.ids
    assert "white-box" not in page.ids
    assert "Where this comes from" in page.text
    assert ("No attack has been recorded yet" in page.text) == ("train" in kinds)


def test_no_success_at_all(tmp_path: Path) -> None:
    made = [query(model, "Square", fooled=0) for model in synthetic_queries.RIGHT]
    folder = synthetic_queries.write(tmp_path, made)
    build(folder)
    (row, _) = table_rows((folder / "report.html").read_text(), "Table of query attacks, L∞ ε = 8/256")
    assert row[1:7] == ["0.0 0.0–4.4", "0.0 0.0–4.4", "0.0 0.0–4.4", "–", "–", "–"]
    assert "No query attack fools VGG-16 on any of the 84 images" in text(folder)
    assert (folder / "figures" / "black-box.svg").exists()


def test_no_image_right_at_first(tmp_path: Path) -> None:
    made = [
        query("VGG-16", "Square", fooled=0, right=0),
        query("VGG-OPU", "Square", fooled=0, right=0),
        synthetic_queries.reference("VGG-OPU", "exact", 0.0, right=0),
    ]
    folder = synthetic_queries.write(tmp_path, made)
    build(folder)
    (row, _) = table_rows((folder / "report.html").read_text(), "Table of query attacks, L∞ ε = 8/256")
    assert row[1:9] == ["–"] * 6 + ["0", "100"]
    assert "VGG-16 gets none of the images right" in text(folder)
    assert not (folder / "figures" / "black-box.svg").exists()


def test_arrays_that_contradict_their_record_stop_the_page(tmp_path: Path) -> None:
    made, arrays = query("VGG-OPU", "Square", fooled=41)
    assert arrays is not None
    arrays["success"][:] = False
    with pytest.raises(
        DamagedFileError, match=r"VGG-OPU <- Square.* 15000: 0} fooled of 82, its record .* 15000: 41} of 82"
    ):
        context(tmp_path / "other", [(made, arrays)])
    made, arrays = query("VGG-OPU", "Square", fooled=41)
    assert arrays is not None
    del arrays["check_queries"]
    with pytest.raises(DamagedFileError, match="lacks 'check_queries'"):
        context(tmp_path / "lacks", [(made, arrays)])


def test_another_ball_is_a_figure_and_a_table_of_its_own(tmp_path: Path) -> None:
    made = [query("VGG-OPU", "Square", fooled=41), query("VGG-OPU", "Square", fooled=7, norm="l2", eps=0.5)]
    one, other = context(tmp_path, made)["parts"]
    assert (one["contest"].ball, other["contest"].ball) == ("L∞ ε = 8/256", "L2 ε = 0.5")
    assert [d.name for d in one["drawings"] + other["drawings"]] == ["black-box", "black-box-2"]
    assert [cell.success for cell, _ in other["table"].rows] == [Proportion(7, 82)]


def test_what_each_attack_took(whole: Path) -> None:
    rows = table_rows((whole / "report.html").read_text(), "Table of what each query attack took")
    assert len(rows) == 16
    by_name = {row[0]: row for row in rows}
    (record,) = [r for r in RecordStore.read(whole).records if r.name.startswith("VGG-OPU <- Square")]
    assert by_name["VGG-OPU ← Square"][1:] == [
        "block 4",
        f"{record.result['loss_queries']:,}",
        f"{record.result['check_queries']:,}",
        "0",
        "91.3%",
        "12 s",
    ]


def test_missing_references_are_missed_in_the_black_box_section(tmp_path: Path) -> None:
    """In a study of both parts the plan says which attacks are references; recorded ones are known by their record."""
    plan = [
        {"key": "0" * 11 + "1", "kind": "attack", "name": "yardstick", "purpose": "reference"},
        {"key": "0" * 11 + "2", "kind": "attack", "name": "of the figure", "purpose": "figure"},
    ]
    recorded = query("VGG-OPU", "Square", fooled=1), synthetic_queries.reference("VGG-OPU", "dfa", 0.5)
    plan += [{"key": one.key, "kind": one.kind, "name": one.name} for one, _ in recorded]
    found = study(synthetic_queries.write(tmp_path, list(recorded), study="all", cells=plan))
    white, black = found.progress("attack"), found.progress("query", "choice", "reference")
    assert white is not None
    assert black is not None
    assert (white.done, white.planned, white.missing) == (0, 1, ("of the figure",))
    assert (black.done, black.planned, black.missing) == (2, 3, ("yardstick",))
