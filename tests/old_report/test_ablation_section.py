"""The ablation section: its numbers are those of the records, its words follow them, and it refuses what was altered."""

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, wilson
from groundglass.old_report import ablation_figures
from groundglass.old_report.ablation import AblationSection
from groundglass.old_report.ablation_reading import Met, Threat, read_networks, read_threats
from groundglass.old_report.ablation_words import best_gradients, judged_ball
from groundglass.old_report.drawing import Folder, drawing_style
from groundglass.old_report.page import build
from groundglass.old_report.study import Study
from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_ablation, synthetic_study
from tests.old_report.synthetic_ablation import ATTACKED, EPS, Made, attack, query, transfer
from tests.old_report.test_black_box import table_rows
from tests.old_report.test_page import Reader, outputs

ORDER = ["VGG-16", "DFA", "BIN", "RP", "OPU"] + [name for name in ATTACKED if name.startswith("OPU ")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = synthetic_ablation.write(tmp_path_factory.mktemp("ablation") / "run")
    build(folder, sections=[AblationSection()])
    return folder


def study(folder: Path) -> Study:
    return Study(RecordStore.read(folder), Folder(folder / "figures"))


def parts(folder: Path, made: list[Made]) -> dict[str, dict[str, Any]]:
    synthetic_ablation.write(folder, made)
    with drawing_style():
        section = AblationSection().render(study(folder))
    assert section is not None
    return {part["threat"].name: part for part in section.context["parts"]}


def white(folder: Path, left: dict[tuple[str, str], float], **more: Any) -> dict[str, Any]:
    """The white-box part of a study of one radius. `left`: (network, rule) -> accuracy."""
    return parts(folder, [attack(*who, 0.016, accuracy, **more) for who, accuracy in left.items()])["white-box"]


def written(count: int, total: int) -> str:
    low, high = wilson(count, total)
    return f"{100 * count / total:.1f} {100 * low:.1f}–{100 * high:.1f}"


def threat(folder: Path, name: str) -> Threat:
    return next(one for one in read_threats(study(folder)) if one.name == name)


def test_networks_are_described_from_their_records(whole: Path) -> None:
    rows = {
        row[0]: row[1:]
        for row in table_rows((whole / "report.html").read_text(), "Table of the networks of the ablation")
    }
    assert list(rows) == ORDER, "the network of the features and the attacker's source were not attacked"
    assert rows["VGG-16"] == [written(8100, 10_000), "–", "–", "–", "–", "–", "one stage, backpropagation"]
    assert rows["DFA"][1:] == ["none", "none (linear)", "–", "1,024", "–", "one stage, hybrid DFA"]
    assert rows["BIN"][1:3] == ["threshold per image", "none (linear)"]
    two = "two stages, features of VGG-DFA (79.0%)"
    assert rows["RP"][1:] == ["none", "complex U", "8 bits", "1,024", "8,000", two]
    assert rows["OPU"][1:6] == ["threshold per image", "complex U", "8 bits", "1,024", "8,000"]
    assert rows["OPU batch threshold"][1] == "threshold of the batch"
    assert rows["OPU float output"][3] == "float"
    assert rows["OPU real U"][2] == "real U"
    assert rows["OPU N=128"][4] == "128"
    assert rows["OPU M=1000"][5] == "1,000"


def test_every_white_box_number_is_that_of_a_record(whole: Path) -> None:
    rows = {
        row[0]: row[1:] for row in table_rows((whole / "report.html").read_text(), "Table of the ablation, white-box")
    }
    assert list(rows) == ORDER
    columns = [(rule, eps) for rule in ("dfa", "bpda-fit-linear", "bp", "ste", "exact") for eps in EPS]
    found = {(r.config["model"], r.config["rule"], r.config["eps"]): r for r in study(whole).of_kind("attack")}
    for name, row in rows.items():
        for column, cell in zip(columns, row, strict=True):
            record = found.get((name, *column))
            result = record.result if record else None
            assert cell == ("–" if result is None else written(result["correct"], result["n_images"]))
    assert rows["VGG-16"][:6] == ["–"] * 6


def test_every_black_box_and_transfer_number_is_that_of_a_record(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    black = {row[0]: row[1:] for row in table_rows(page, "Table of the ablation, black-box")}
    for record in study(whole).of_kind("query"):
        result, column = record.result, ["Bandits", "Square"].index(record.config["attack"])
        expected = f"{written(result['fooled'], 100)} median {result['median_queries']:,.0f}"
        if result["flat_share"] is not None:
            expected += f" {100 * result['flat_share']:.1f}% zero estimates"
        assert black[record.config["model"]][column] == expected
    moved = {row[0]: row[1:] for row in table_rows(page, "Table of the ablation, transfer")}
    columns = [(label, eps) for label in ("PGD", "MI-DI-TI") for eps in EPS]
    for record in study(whole).of_kind("transfer"):
        place = columns.index((record.config["label"], record.config["eps"]))
        assert moved[record.config["target"]][place] == written(record.result["correct"], 120)
    assert (list(black), list(moved)) == (ORDER, ORDER)


def test_the_words_follow_the_intervals(whole: Path) -> None:
    words = Reader((whole / "report.html").read_text()).text
    assert (
        "The attacker DFA, L∞ ε = 4.08/255: clearly more images stay right with the binarisation (45.0% of BIN, 10.0% of "
        "DFA) and both together (50.0% of OPU, 10.0% of DFA); clearly fewer images stay right with N = 128 (20.0% of OPU "
        "N=128, 50.0% of OPU); 200 images cannot tell a difference for the random projection, the threshold of the batch, "
        "float output, a real U and M = 1,000."
    ) in words
    # At the largest radius the best gradient leaves nothing of any: one radius less is compared.
    # The same first images stand in each of these networks: 4 points are 8 images that only one of two loses.
    assert (
        "The best gradient of each network, L∞ ε = 2.04/255: clearly more images stay right with DFA in training (10.0% of "
        "DFA, 5.0% of VGG-16); clearly fewer images stay right with the binarisation (6.0% of BIN, 10.0% of DFA)"
    ) in words
    assert (
        "Obscurity, not robustness: the best gradient leaves next to nothing of what was gained by the binarisation "
        "(straight-through leaves BIN 0.0% at L∞ ε = 4.08/255) and both together (exact U leaves OPU 0.0% at"
    ) in words
    assert (
        "Bandits, L∞ ε = 8/256: clearly fewer images are fooled with the binarisation (30.0% of BIN, 90.0% of" in words
    )
    assert "against Bandits is the weakness of Bandits: Square fools clearly more" in words
    assert "PGD, L∞ ε = 4.08/255: clearly more images stay right with DFA in training (33.3% of DFA, 8.3%" in words
    assert "keep under transferred attacks is owed to what the attacker does not know" in words
    assert "exactly zero: Bandits on BIN, OPU" in words


def test_the_same_shares_of_fewer_images_claim_nothing(tmp_path: Path) -> None:
    left = {("DFA", "dfa"): 0.3, ("BIN", "dfa"): 0.5}
    many, few = white(tmp_path / "many", left)["words"][0], white(tmp_path / "few", left, n=20)["words"][0]
    assert "clearly more images stay right with the binarisation (50.0% of BIN, 30.0% of DFA)" in many
    assert "20 images cannot tell a difference for the binarisation" in few
    assert "clearly" not in few


@pytest.mark.parametrize(
    ("shift", "word"), [(0, "clearly more images stay right with"), (100, "cannot tell a difference")]
)
def test_the_same_images_decide_and_not_shares(tmp_path: Path, shift: int, word: str) -> None:
    """60 of 200 stand in one and 72 in the other: twelve that were lost, or 60 lost and 72 won."""
    (before, a), (after, b) = attack("DFA", "dfa", 0.016, 0.30), attack("BIN", "dfa", 0.016, 0.36)
    assert a is not None
    assert b is not None
    b = {**b, "index": (b["index"] + shift) % 200}
    words = parts(tmp_path, [(before, a), (after, b)])["white-box"]["words"][0]
    assert f"{word} {'for ' if shift else ''}the binarisation" in words


def test_arrays_that_tell_no_outcomes_are_named(tmp_path: Path) -> None:
    (made, arrays) = attack("DFA", "dfa", 0.016, 0.30)
    assert arrays is not None
    synthetic_ablation.write(tmp_path, [(made, {"index": arrays["index"]})])
    with pytest.raises(DamagedFileError, match=rf"{made.key}.*what happened to each image"):
        build(tmp_path, sections=[AblationSection()])


def test_a_part_that_hurts_is_said_to_hurt(tmp_path: Path) -> None:
    (words,) = white(tmp_path, {("DFA", "dfa"): 0.5, ("RP", "dfa"): 0.2})["words"]
    assert "clearly fewer images stay right with the random projection (20.0% of RP, 50.0% of DFA)" in words


@pytest.mark.parametrize(
    ("exact", "expected"),
    [
        (
            0.0,
            "Obscurity, not robustness: the best gradient leaves next to nothing of what was gained by both together",
        ),
        (0.6, "Holds under the best gradient that was tried, too: both together"),
        (0.12, "Not shown to be more than obscurity"),
        (None, "these records cannot say for both together (OPU)"),
    ],
)
def test_obscurity_is_told_from_robustness(tmp_path: Path, exact: float | None, expected: str) -> None:
    left = {("DFA", "dfa"): 0.3, ("DFA", "bp"): 0.1, ("OPU", "dfa"): 0.7}
    if exact is not None:
        left["OPU", "exact"] = exact
    caution = white(tmp_path, left)["caution"]
    assert expected in caution
    assert caution.count("both together") == 1


def test_without_a_gain_there_is_no_caution(tmp_path: Path) -> None:
    assert white(tmp_path, {("DFA", "dfa"): 0.3, ("BIN", "dfa"): 0.31, ("BIN", "ste"): 0.0})["caution"] is None


def test_the_best_gradient_is_the_one_that_leaves_least(tmp_path: Path) -> None:
    """A fitted surrogate may beat the true matrix, whose slope is a guess; DFA alone is nobody's best gradient."""
    white(tmp_path, {("OPU", "exact"): 0.3, ("OPU", "bpda-fit-linear"): 0.1, ("BIN", "dfa"): 0.2})
    (best,) = best_gradients(threat(tmp_path, "white-box"))
    assert (best.network, best.series, best.kept) == ("OPU", "bpda-fit-linear", Proportion(20, 200))


def test_the_floor_is_no_guess_at_small_samples() -> None:
    def met(count: int, total: int) -> Met:
        return Met("OPU", "exact", "linf", 0.01, Proportion(count, total), Proportion(count, total))

    assert met(0, 200).at_floor
    assert met(3, 200).at_floor
    assert not met(8, 200).at_floor
    assert not met(0, 10).at_floor, "ten images cannot show that nothing is left"


def test_variants_on_the_features_of_opu_are_held_against_opu_refitted(tmp_path: Path) -> None:
    """What fitting the classifier again changes is no merit of a float output; N = 128 was trained whole."""
    left = {"OPU": 0.7, "OPU refitted": 0.3, "OPU float output": 0.3, "OPU N=128": 0.68}
    made = [attack(name, "exact", 0.008, accuracy) for name, accuracy in left.items()]
    placed = ("OPU refitted", "OPU float output")
    folder = synthetic_ablation.write(tmp_path, made, two_stages=placed)
    text = Reader(build(folder, sections=[AblationSection()]).read_text()).text
    assert "fewer images stay right with training in two stages (30.0% of OPU refitted, 70.0% of OPU)" in text
    assert "200 images cannot tell a difference for float output and N = 128" in text
    assert "Dotted lines repeat OPU refitted" in text
    found = threat(folder, "white-box")
    rows, guide = ablation_figures.rows(found, ablation_figures.panels(found))
    assert [row.name for row in rows] == ["OPU", "OPU refitted", "OPU float output", "OPU N=128"]
    assert guide is not None
    assert guide.of == 1


def test_nothing_left_at_any_radius_is_said(tmp_path: Path) -> None:
    words = white(tmp_path, {("DFA", "dfa"): 0.0, ("BIN", "dfa"): 0.0})["words"]
    assert words == ["The attacker DFA leaves next to nothing of any network at any radius."]


def test_the_radius_of_the_words_is_the_largest_where_something_is_left(tmp_path: Path) -> None:
    made = [attack("DFA", "dfa", eps, left) for eps, left in ((0.004, 0.5), (0.008, 0.3), (0.016, 0.0))]
    made += [attack("BIN", "dfa", eps, left) for eps, left in ((0.004, 0.6), (0.008, 0.0), (0.016, 0.0))]
    (words,) = parts(tmp_path, made)["white-box"]["words"]
    assert "ε = 2.04/255: clearly fewer images stay right with the binarisation (0.0% of BIN, 30.0% of DFA)" in words
    found = threat(tmp_path, "white-box")
    assert judged_ball(found.of("dfa")) == ("linf", 0.008)
    assert ablation_figures.panels(found) == [("linf", 0.004), ("linf", 0.008)]


def test_query_attacks_with_other_budgets_are_not_compared(tmp_path: Path) -> None:
    one, other = query("DFA", "Square", 90, 200, None), query("BIN", "Square", 20, 900, None)
    (same,) = parts(tmp_path / "same", [one, other])["black-box"]["words"]
    assert "clearly fewer images are fooled with the binarisation (20.0% of BIN, 90.0% of DFA)" in same
    other[0].config["budget"] = 1000
    assert parts(tmp_path / "other", [one, other])["black-box"]["words"] == []


def test_queries_stop_at_a_budget_not_at_robustness(tmp_path: Path) -> None:
    asked = query("OPU", "Square", 40, 200, None)
    inside = parts(tmp_path / "a", [asked, attack("OPU", "exact", 0.016, 0.0)])["black-box"]["caution"]
    assert "the best gradient leaves next to nothing (exact U at most 0.0% of OPU, at L∞ ε = 4.08/255)" in inside
    assert parts(tmp_path / "b", [asked, attack("OPU", "exact", 0.016, 0.3)])["black-box"]["caution"] is None
    assert parts(tmp_path / "c", [asked, attack("OPU", "exact", 0.06, 0.0)])["black-box"]["caution"] is None
    assert parts(tmp_path / "d", [asked])["black-box"]["caution"] is None


def test_altered_records_are_named(tmp_path: Path) -> None:
    made, arrays = attack("OPU", "exact", 0.008, 0.3)
    made.result["correct"] = 201
    with pytest.raises(DamagedFileError, match=r"OPU <- exact at 0\.008"):
        parts(tmp_path / "a", [(made, arrays)])
    asked, arrays = query("OPU", "Square", 40, 200, None)
    asked.result["fooled"] = 101
    with pytest.raises(DamagedFileError, match="OPU <- Square"):
        parts(tmp_path / "b", [(asked, arrays)])
    with pytest.raises(DamagedFileError, match=r"PGD on OPU at 0\.008"):
        parts(tmp_path / "c", [transfer("PGD", "OPU", 0.008, 90, also_fooled=31)])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r.result.update(clean_accuracy=1.3),
        lambda r: r.result.pop("n_test"),
        lambda r: r.result.update(device=None),
        lambda r: r.config.update(training={}),
        lambda r: r.config["training"].update(credit="classifier"),
    ],
)
def test_altered_trainings_are_named(tmp_path: Path, spoil: Any) -> None:
    network = synthetic_ablation.training("OPU")
    spoil(network)
    with RecordStore.open(tmp_path, synthetic_study.manifest()) as store:
        store.add(network)
        store.add(*attack("OPU", "exact", 0.008, 0.3))
    with pytest.raises(DamagedFileError, match=r"\(OPU\) is no training"):
        AblationSection().render(study(tmp_path))


def test_attacks_of_other_studies_are_not_of_the_ablation(tmp_path: Path) -> None:
    made, arrays = attack("OPU", "exact", 0.008, 0.3)
    made.config["purpose"] = "figure"
    folder = synthetic_ablation.write(tmp_path, [(made, arrays)])
    assert AblationSection().render(study(folder)) is None


@pytest.mark.parametrize("kind", ["attack", "query", "transfer"])
def test_one_threat_model_is_a_section(tmp_path: Path, kind: str) -> None:
    folder = synthetic_ablation.write(tmp_path, keep=lambda r: r.kind in ("train", kind))
    page = Reader(build(folder, sections=[AblationSection()]).read_text())
    assert page.open == []
    name = {"attack": "white-box", "query": "black-box", "transfer": "transfer"}[kind]
    assert {p.name for p in (folder / "figures").iterdir()} == {f"ablation-{name}.svg", f"ablation-{name}.png"}
    assert ("Obscurity" in page.text) == (kind == "attack")


def test_a_partial_run_shows_dashes(tmp_path: Path) -> None:
    def keep(record: Record) -> bool:
        if record.kind == "attack":
            return record.config["model"] != "BIN" or record.config["rule"] == "dfa"
        return record.kind == "train" and record.name != "RP"

    folder = synthetic_ablation.write(tmp_path, keep=keep)
    page = build(folder, sections=[AblationSection()]).read_text()
    rows = {row[0]: row for row in table_rows(page, "Table of the ablation, white-box")}
    assert len(rows["BIN"]) == 13, "no column for a rule that nobody used"
    assert rows["BIN"][4:] == ["–"] * 9
    described = {row[0]: row[1:] for row in table_rows(page, "Table of the networks of the ablation")}
    assert described["RP"] == ["–"] * 7
    assert "cannot say for the binarisation (BIN)" in Reader(page).text


@pytest.mark.parametrize("name", ["white-box", "black-box", "transfer"])
def test_the_figures_hold_the_records_and_can_be_read(whole: Path, name: str) -> None:
    found = threat(whole, name)
    balls = ablation_figures.panels(found)
    rows, guide = ablation_figures.rows(found, balls)
    assert [row.name for row in rows] == [*ORDER[:5], "OPU (once more)", *ORDER[5:]]
    assert guide is not None
    assert rows[guide.of].panels == rows[4].panels
    drawn = {
        (row.name, ball, *dot) for row in rows for ball, dots in zip(balls, row.panels, strict=True) for dot in dots
    }
    for met in found.mets.values():
        assert (met.network, (met.norm, met.eps), found.label(met.series), met.shown) in drawn
    with drawing_style():
        figure = ablation_figures.outcomes(found, balls)
        FigureCanvasAgg(figure).draw()
        names = [text.get_window_extent() for text in figure.axes[0].texts]
        ticks = [t.get_window_extent() for axes in figure.axes for t in axes.get_xticklabels()]
        titles = [axes.title.get_window_extent() for axes in figure.axes]
        key = figure.legends[0].get_window_extent()
        places = [round(line.get_xdata()[0], 3) for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    assert len(places) == sum(len(row.panels[0]) for row in rows)
    assert sorted(places) == sorted(round(100 * p.share, 3) for row in rows for _, p in row.panels[0])
    for box in [*names, *titles, key]:
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1 + 1
    for one, other in [*itertools.combinations(names, 2), *itertools.combinations(ticks, 2)]:
        assert not one.overlaps(other)
    for title in titles:
        assert not title.overlaps(key)


def test_the_same_records_give_the_same_page(whole: Path, tmp_path: Path) -> None:
    again = synthetic_ablation.write(tmp_path / "again")
    build(again, sections=[AblationSection()])
    assert outputs(again) == outputs(whole)


def test_the_page_is_sound(whole: Path) -> None:
    text = (whole / "report.html").read_text()
    page = Reader(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert re.findall(r"https?://", text) == []
    for figure in re.findall(r"<figure>.*?</figure>", text, flags=re.DOTALL):
        assert set(re.findall(r": (#[0-9a-f]{6})\b", figure)) == set(), "each colour follows the reader's theme"


def test_networks_come_from_the_records_that_attacks_name(whole: Path) -> None:
    found = study(whole)
    networks = read_networks(found, read_threats(found))
    assert [network.name for network in networks] == ORDER
    assert networks[0].clean == Proportion(8100, 10_000)
