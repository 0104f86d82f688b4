"""The redraw section: its numbers are those of the records, its words follow them, and it refuses what was altered."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, Repeated, wilson
from groundglass.old_report import redraw_figures
from groundglass.old_report.drawing import Folder, drawing_style
from groundglass.old_report.page import build
from groundglass.old_report.redraw import RedrawSection
from groundglass.old_report.redraw_reading import Redraw, Survival, read_redraws, read_survivals
from groundglass.old_report.redraw_words import afresh_words, tuning_words, undone_words
from groundglass.old_report.study import Study
from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_redraw
from tests.old_report.synthetic_redraw import LABELS, OLD, Made, first, redraw, transfer
from tests.old_report.test_black_box import table_rows
from tests.old_report.test_page import Reader, outputs


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic_redraw.write(tmp_path_factory.mktemp("redraw") / "run")
    build(folder, sections=[RedrawSection()])
    return folder


def study(folder: Path) -> Study:
    return Study(RecordStore.read(folder), Folder(folder / "figures"))


def part(folder: Path, made: list[Made]) -> dict[str, Any]:
    synthetic_redraw.write(folder, made)
    with drawing_style():
        section = RedrawSection().render(study(folder))
    assert section is not None
    (found,) = section.context["parts"]
    return dict(found)


def written(count: float, total: int) -> str:
    low, high = wilson(count, total)
    return f"{100 * count / total:.1f} {100 * low:.1f}–{100 * high:.1f}"


def survival(count: int, total: int, *, by_queries: bool = False, label: str = "A") -> Survival:
    return Survival(
        label, "linf", 0.02, Proportion(total, total), (Proportion(count, total),), (None,), by_queries, True
    )


def test_accuracies_and_times_are_those_of_the_records(whole: Path) -> None:
    rows = table_rows((whole / "report.html").read_text(), "Table of redraws of VGG-OPU")
    assert len(rows) == 3
    for number, row in enumerate(rows, start=1):
        untuned = round((0.094 + 0.004 * number) * 10_000)
        assert row[:4] == [
            f"VGG-OPU redraw {number}",
            written(8270, 10_000),
            written(untuned, 10_000),
            written(8290, 10_000),
        ]
        assert row[4:] == ["1 min 1 s" if number == 1 else "kept", "0.2 s", f"{12 + number} s", "50,000", row[8]]
        assert row[8] == f"{number}a" * 6 + "…"


def test_what_survives_is_what_the_records_count(whole: Path) -> None:
    rows = table_rows((whole / "report.html").read_text(), "Table of attacks that survive a redraw of VGG-OPU")
    by_label = {row[0].split(" by ")[0].split(" made ")[0]: row[1:] for row in rows}
    assert list(by_label) == list(LABELS)
    for label, (_, rule, fooled, still) in LABELS.items():
        row = by_label[label]
        # Images made on VGG-16: of its 190, 100 fool the old network, and those are what a redraw can undo.
        there = 100 if label == "VGG-16 transfer" else fooled
        assert row[0] == f"{written(there, 200)} {there} of 200"
        assert row[1:4] == [written(count, there) for count in still]
        # Three redraws meet the same images: the mean, with the interval of so many images.
        assert row[4] == written(sum(still) / 3, there)
        accuracy = synthetic_redraw.AFRESH.get(rule) if label != "VGG-16 transfer" else None
        assert row[5] == ("–" if accuracy is None else written(round(200 * accuracy), 200))
        assert row[6] == ("–" if accuracy is None else written(165, 200))


def test_the_words_are_decided_by_intervals(whole: Path) -> None:
    words = Reader((whole / "report.html").read_text()).text
    assert "still fool the new one: DFA (77.5%) and VGG-16 transfer (97.0%)." in words
    _, _, fooled, still = LABELS["Square"]
    square = 100 * sum(still) / 3 / fooled
    assert f"clearly fewer than half still fool: Exact U (20.0%) and Square ({square:.1f}%)." in words
    assert "cannot" not in words
    _, _, fooled, still = LABELS["BPDA, fitted"]
    fitted = 100 * sum(still) / 3 / fooled
    assert f"Too close to one half to be told at this sample size: BPDA, fitted ({fitted:.1f}%)." in words
    assert "By queries (Square) an attack stops as soon as it fools" in words
    assert "leaves the convolutions as they are" in words
    assert "made afresh on the redrawn network, DFA leaves 31.0%" in words


def test_the_same_share_of_fewer_images_is_not_decided() -> None:
    assert "does not undo" in undone_words([survival(120, 200)])[0]
    assert "Too close" in undone_words([survival(6, 10)])[0]
    assert "A redraw undoes" in undone_words([survival(80, 200)])[0]
    assert undone_words([]) == []


def test_an_attack_by_queries_that_survives_is_not_explained_away() -> None:
    assert "shakes them off" in undone_words([survival(20, 200, by_queries=True)])[-1]
    assert "all the more telling" in undone_words([survival(180, 200, by_queries=True)])[-1]
    assert "By queries" not in " ".join(undone_words([survival(180, 200)]))


@pytest.mark.parametrize(("tuned", "restored"), [(0.829, True), (0.817, True), (0.8169, False), (0.5, False)])
def test_restored_is_within_one_point(tuned: float, restored: bool) -> None:
    words = " ".join(tuning_words([Redraw.from_record(redraw(1, tuned=tuned))]))
    assert ("restores the accuracy to within 1 point after the redraw" in words) == restored
    assert ("points lost" in words) == (not restored)
    assert ("in 13 s" in words) == restored


def test_a_redraw_that_is_not_restored_is_named() -> None:
    words = " ".join(tuning_words([Redraw.from_record(one) for one in (redraw(1), redraw(2, tuned=0.79))]))
    assert "after 1 of 2 redraws, in 13 s" in words
    assert "VGG-OPU redraw 2 (3.7 points lost)" in words


def test_a_weak_attack_made_afresh_is_no_merit(tmp_path: Path) -> None:
    one = redraw(1)
    tried = [transfer("DFA", "VGG-OPU", OLD, first(120)), transfer("DFA", one.name, one.key, first(30))]
    strong = part(tmp_path / "a", [(one, None), *tried, synthetic_redraw.attack(one.name, "dfa", 0.3)])
    weak = part(tmp_path / "b", [(one, None), *tried, synthetic_redraw.attack(one.name, "dfa", 0.8)])
    none = part(tmp_path / "c", [(one, None), *tried])
    assert "made afresh on the redrawn network, DFA leaves 30.0%" in strong["undone"][1]
    assert "not a merit of the redraw" in weak["undone"][1]
    assert "made afresh on the redrawn network" not in weak["undone"][1]
    assert "No attack was made afresh" in none["undone"][1]


def test_another_radius_or_rule_is_not_the_attack_made_afresh(tmp_path: Path) -> None:
    one = redraw(1)
    tried = transfer("DFA", one.name, one.key, first(30))
    made, arrays = synthetic_redraw.attack(one.name, "dfa", 0.3)
    made.config["eps"] = 0.03
    found = part(tmp_path, [(one, None), tried, (made, arrays), synthetic_redraw.attack(one.name, "exact", 0.1)])
    (row,) = found["survivals"]
    assert row.afresh == (None,)
    assert row.still == (Proportion(30, 120),)


def test_images_made_elsewhere_need_what_they_did_to_the_old_network(tmp_path: Path) -> None:
    """Of 190 that fool VGG-16, the images that never fooled the old network are none that a redraw could undo."""
    one = redraw(1)
    on_new = transfer("VGG-16 transfer", one.name, one.key, first(150))
    (alone,) = part(tmp_path / "a", [(one, None), on_new])["survivals"]
    assert (alone.fooled_old, alone.still, alone.pooled) == (None, (None,), None)
    page = build(tmp_path / "a", sections=[RedrawSection()]).read_text()
    (row,) = table_rows(page, "Table of attacks that survive a redraw of VGG-OPU")
    assert row[1:] == ["–"] * 4
    old = transfer("VGG-16 transfer", "VGG-OPU", OLD, first(100))
    (both,) = part(tmp_path / "b", [(one, None), on_new, old])["survivals"]
    assert (both.fooled_old, both.still) == (Proportion(100, 200), (Proportion(100, 100),))


def test_images_that_cannot_be_matched_are_refused(tmp_path: Path) -> None:
    one = redraw(1)
    old = transfer("VGG-16 transfer", "VGG-OPU", OLD, first(100))
    made, arrays = transfer("VGG-16 transfer", one.name, one.key, first(99))
    assert arrays is not None
    arrays["index"] = arrays["index"] + 1
    with pytest.raises(DamagedFileError, match=r"VGG-16 transfer on VGG-OPU redraw 1.* other images"):
        part(tmp_path / "a", [(one, None), old, (made, arrays)])
    made, arrays = transfer("VGG-16 transfer", one.name, one.key, first(98))
    assert arrays is not None
    del arrays["index"]
    with pytest.raises(
        DamagedFileError, match=r"VGG-16 transfer on VGG-OPU redraw 1.* do not say what happened to each image"
    ):
        part(tmp_path / "b", [(one, None), old, (made, arrays)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"tuned": 1.2},
        {"before": None},
        {"n_test": 0},
        {"tune_seconds": -1.0},
        {"draw_seconds": "soon"},
        {"fingerprint": "9f" * 32},
    ],
)
def test_impossible_redraws_are_named(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(DamagedFileError, match="VGG-OPU redraw 1"):
        part(tmp_path, [(redraw(1, **wrong), None)])


def test_a_redraw_that_lacks_a_field_is_named() -> None:
    made = redraw(2)
    del made.result["untuned"]
    with pytest.raises(DamagedFileError, match=r"VGG-OPU redraw 2.*'untuned'"):
        Redraw.from_record(made)


def test_altered_transfers_are_named(tmp_path: Path) -> None:
    one = redraw(1)
    with pytest.raises(DamagedFileError, match="DFA on VGG-OPU redraw 1"):
        part(tmp_path, [(one, None), transfer("DFA", one.name, one.key, first(30), also_fooled=31)])


@pytest.mark.parametrize("kinds", [(), ("train",), ("train", "craft", "transfer", "attack")])
def test_without_a_redraw_there_is_no_section(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    folder = synthetic_redraw.write(tmp_path, keep=lambda r: r.kind in kinds)
    assert RedrawSection().render(study(folder)) is None


def test_a_partial_run_shows_dashes_and_claims_nothing(tmp_path: Path) -> None:
    def keep(record: Record) -> bool:
        late = "redraw 3" in str(record.config.get("target")) or record.config.get("label") == "Square"
        return record.kind != "attack" and not late

    folder = synthetic_redraw.write(tmp_path, keep=keep)
    page = build(folder, sections=[RedrawSection()]).read_text()
    rows = table_rows(page, "Table of attacks that survive a redraw of VGG-OPU")
    assert [row[0] for row in rows] == ["DFA", "BPDA, fitted", "Exact U", "VGG-16 transfer made elsewhere"]
    assert {row[4] for row in rows} == {"–"}
    assert {(row[6], row[7]) for row in rows} == {("–", "–")}
    assert "By queries (" not in Reader(page).text
    assert "No attack was made afresh" in page


def test_redraws_alone_are_a_section(tmp_path: Path) -> None:
    folder = synthetic_redraw.write(tmp_path, keep=lambda r: r.kind in ("train", "redraw"))
    page = Reader(build(folder, sections=[RedrawSection()]).read_text())
    assert page.open == []
    assert "what a redraw undoes" not in page.text
    assert {p.name for p in (folder / "figures").iterdir()} == {"redraw.svg", "redraw.png"}


def test_the_figures_hold_the_records(whole: Path) -> None:
    found = study(whole)
    redraws = read_redraws(found)
    survivals = read_survivals(found, redraws)
    assert [row.panels[0][2][1] for row in redraw_figures.accuracy_rows(redraws)] == [Proportion(8290, 10_000)] * 3
    rows = {row.name: dict(row.panels[0]) for row in redraw_figures.survival_rows(survivals, redraws)}
    assert rows["Exact U"] == {
        "all redraws": Repeated(120, 600, times=3),
        "redraw 1": Proportion(40, 200),
        "redraw 2": Proportion(36, 200),
        "redraw 3": Proportion(44, 200),
    }
    with drawing_style():
        figure = redraw_figures.survivors(survivals, redraws)
        assert figure is not None
        FigureCanvasAgg(figure).draw()
        names = [text.get_window_extent() for text in figure.axes[0].texts]
        key = figure.legends[0].get_window_extent()
        axes = figure.axes[0].get_window_extent()
        drawn = {round(line.get_xdata()[0], 6) for line in figure.axes[0].lines if len(line.get_xdata()) == 1}
    assert {20.0, 18.0, 22.0} <= drawn
    assert len(names) == 5
    for box in [*names, key]:
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1 + 1
    assert key.y0 >= axes.y1
    for one, other in itertools.combinations(names, 2):
        assert not one.overlaps(other)


def test_the_same_records_give_the_same_page(whole: Path, tmp_path: Path) -> None:
    again = synthetic_redraw.write(tmp_path / "again")
    build(again, sections=[RedrawSection()])
    assert outputs(again) == outputs(whole)


def test_the_page_is_sound(whole: Path) -> None:
    text = (whole / "report.html").read_text()
    page = Reader(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert re.findall(r"https?://", text) == []
    assert "Exact U: all redraws 20%, redraw 1 20%, redraw 2 18%, redraw 3 22%" in text
    figure = text[text.index("<figure>") : text.index("</figure>")]
    assert set(re.findall(r": (#[0-9a-f]{6})\b", figure)) == set(), "each colour follows the reader's theme"


def test_nothing_fooled_is_no_share(tmp_path: Path) -> None:
    one = redraw(1)
    made, arrays = transfer("DFA", one.name, one.key, np.zeros(200, bool))
    assert arrays is not None
    arrays["fooled_source"][:] = False
    made.result.update(fooled_source=0, also_fooled=0)
    found = part(tmp_path, [(one, None), (made, arrays)])
    assert found["surviving"] is None
    (row,) = found["survivals"]
    assert (row.fooled_old, row.pooled) == (Proportion(0, 200), None)
    assert afresh_words([row])[0].startswith("No attack was made afresh")
