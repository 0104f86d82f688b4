"""The transfer section: its numbers are those of the records, and its words change with them."""

import itertools
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.stats import binomtest

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion, wilson
from groundglass.old_report import build, transfer_figures
from groundglass.old_report.drawing import Folder, drawing_style
from groundglass.old_report.study import Study
from groundglass.old_report.style import TRANSFER_INK, css_names, marker, transfer_style
from groundglass.old_report.transfer import TransferSection
from groundglass.old_report.transfer_answer import transfer_answer
from groundglass.old_report.transfer_figures import Line
from groundglass.old_report.transfer_trials import Trial, trials
from groundglass.old_report.transfer_verdict import (
    EASIER,
    HARDER,
    THROUGH,
    TRANSFER_TONES,
    UNSOUND,
    judge_transfers,
    transfer_checks,
)
from groundglass.old_report.verdict import MASKING, OPEN, Verdict
from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_transfers as made_up
from tests.old_report.synthetic_transfers import (
    COMMON,
    CONTROL,
    FALLS,
    HELPS,
    INDEX,
    WHITE_BOX,
    Made,
    craft,
    everything,
    transfer,
)
from tests.old_report.test_black_box import table_rows
from tests.old_report.test_page import Reader, outputs

SECTIONS = [TransferSection()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = made_up.write(tmp_path_factory.mktemp("transfer") / "run")
    build(folder, sections=SECTIONS)
    return folder


def study(folder: Path) -> Study:
    return Study(RecordStore.read(folder), Folder(folder / "figures"))


def built(folder: Path, made: list[Made] | None = None, **more: Any) -> Path:
    made_up.write(folder, made, **more)
    build(folder, sections=SECTIONS)
    return folder


def text(folder: Path) -> str:
    return Reader((folder / "report.html").read_text()).text


def rows(folder: Path, table: str) -> dict[str, list[str]]:
    """The rows of a table with one body or more."""
    page = (folder / "report.html").read_text()
    page = re.sub(r'</tbody>\s*<tbody(?: class="worst")?>', "", page)
    return {unescape(row[0]): [unescape(cell) for cell in row[1:]] for row in table_rows(page, table)}


def only(folder: Path) -> Trial:
    (trial,) = trials(study(folder))
    return trial


def judged(folder: Path, made: list[Made] | None = None, **more: Any) -> Verdict:
    made_up.write(folder, made, **more)
    found = study(folder)
    return judge_transfers(trials(found), transfer_checks(found))


def shown(count: int, total: int) -> str:
    low, high = wilson(count, total)
    return f"{100 * count / total:.1f} {100 * low:.1f}–{100 * high:.1f}"


def test_every_number_of_the_table_is_that_of_a_record(whole: Path) -> None:
    table = rows(whole, "Table of transferred attacks, L∞")
    seen = 0
    for record in RecordStore.read(whole).records:
        if record.kind == "transfer":
            column = made_up.PAPER_EPS.index(record.config["eps_paper"])
            value = table[f"{record.config['target']} ← {record.config['label']}"][column]
            assert value == shown(record.result["correct"], record.result["n_images"])
            seen += 1
    cells = [value for name, row in table.items() if "white-box" not in name for value in row]
    assert seen == 3 * (4 + 4 * 2) == sum(value != "–" for value in cells)


def test_a_control_shows_what_a_lower_accuracy_buys_by_itself(tmp_path: Path) -> None:
    # At .1 the strongest attack leaves 179 of 640 on the lower, 96 on the control, 32 on VGG-16.
    strongest = {label: CONTROL.get(label, (0.7, 0.15)) for label in HELPS}
    made = everything(made_up.with_control(control=strongest), {**WHITE_BOX, ("VGG-16 lower", "bp"): (0.04, 0.0)})
    said = text(built(tmp_path / "part", made))
    # By hand, of 640: the paper's PGD at 0.1 leaves 58 on VGG-16, 128 on the control, 301 on the lower.
    assert (
        "A part of what VGG-OPU lower gains an ordinary network gains by a short training alone: at L∞ ε = 12.8/255 (the paper's "
        "0.1), where VGG-OPU lower gains most over VGG-16, +38 points, VGG-16 lower (79.5% right untouched, VGG-OPU lower 80.1%) "
        "differs from VGG-16 by +11, more than chance explains, and VGG-OPU lower from VGG-16 lower by +27, more than chance "
        "explains."
    ) in said
    table = rows(tmp_path / "part", "Table of gains, L∞")
    assert table["VGG-16 lower, the paper's PGD"][-1] == "+10.9"
    found = study(tmp_path / "part")
    trial = only(tmp_path / "part")
    assert trial.defended == ("VGG-OPU higher", "VGG-OPU lower")
    verdict = judge_transfers([trial], transfer_checks(found))
    assert verdict.text == HARDER
    higher, lower, *_ = verdict.reasons
    assert higher.endswith("VGG-OPU higher is 12 points above VGG-16 (+24 under the paper's PGD).")
    assert lower.endswith(
        "VGG-OPU lower is 13 points above VGG-16 lower (+27 under the paper's PGD); above VGG-16 it is 23."
    )
    uneven = judged(tmp_path / "uneven", everything(made_up.with_control()))
    assert uneven.text == OPEN
    assert "Ensemble, MI-DI-TI and MI-FGSM on VGG-16 lower" in uneven.reasons[0]
    # Far above VGG-16, and no further than a network as inaccurate as it is.
    own = {**FALLS["Own VGG-OPU"], "VGG-OPU lower": (0.77, 0.28)}
    alike = made_up.with_control({**FALLS, "Own VGG-OPU": own}, {k: (*v[:-1], 0.28) for k, v in strongest.items()})
    through = judged(tmp_path / "as much", everything(alike))
    assert through.text == THROUGH
    nothing = everything(made_up.with_control(control={**made_up.CONTROL, "PGD": (0.93, 0.74, 0.31, 0.09)}))
    assert "is not seen to gain like VGG-OPU lower by a short training" in text(built(tmp_path / "nothing", nothing))
    more = everything(made_up.with_control(control={**made_up.CONTROL, "PGD": (0.99, 0.97, 0.9, 0.6)}))
    assert "All that VGG-OPU lower gains an ordinary network gains by a short" in text(built(tmp_path / "more", more))
    # Where the lower gains nothing there is nothing to explain.
    lost = {**made_up.FALLS, "PGD": {**made_up.FALLS["PGD"], "VGG-OPU lower": (0.5, 0.2, 0.05, 0.02)}}
    for name, made in (("lost", everything(made_up.with_control(lost))), ("without", None)):
        assert "short training" not in text(built(tmp_path / name, made) if made else built(tmp_path / name))


def test_features_without_the_layer_are_what_a_network_is_judged_by(tmp_path: Path) -> None:
    white = {**WHITE_BOX, ("VGG-DFA", "bp"): (0.04, 0.0), ("VGG-DFA lower", "bp"): (0.04, 0.0)}
    made = everything(made_up.with_features(), white)
    folder = built(tmp_path / "same", made)
    trial = only(tmp_path / "same")
    assert trial.defended == ("VGG-OPU higher", "VGG-OPU lower")
    assert [trial.peer(target) for target in trial.defended] == ["VGG-DFA", "VGG-DFA lower"]
    # By hand, of 640 at 0.1: 301 on the lower and on its features, 58 on VGG-16.
    assert (
        "VGG-DFA lower has the features of VGG-OPU lower and no layer: at L∞ ε = 12.8/255 (the paper's 0.1) VGG-OPU lower "
        "differs from it by 0 points, which 640 images cannot tell from nothing. What it gains over VGG-16 is its features', "
        "as far as these images can tell, and not the layer's."
    ) in text(folder)
    table = rows(tmp_path / "same", "Table of gains, L∞")
    assert table["VGG-DFA lower, the paper's PGD"][-1] == table["VGG-OPU lower, the paper's PGD"][-1] == "+38.0"
    through = judge_transfers([trial], transfer_checks(study(tmp_path / "same")))
    assert through.text == THROUGH
    assert "cannot tell VGG-OPU lower (28.0%) from VGG-DFA lower (28.0%)" in " ".join(through.reasons)
    better = everything(made_up.with_features(less=0.1), white)
    assert judged(tmp_path / "better", better).text == HARDER
    assert "is its features'" not in text(built(tmp_path / "page", better))


def test_white_box_attacks_count_over_the_common_images_alone(whole: Path) -> None:
    table = rows(whole, "Table of transferred attacks, L∞")
    tried = int(np.isin(np.arange(500), INDEX).sum())
    for (target, rule), lefts in WHITE_BOX.items():
        name = {"bp": "BP", "exact": "exact U", "bpda-fit-linear": "BPDA (linear fit)"}[rule]
        row = table[f"{target} ← white-box, {name}"]
        assert row == ["–", shown(round(lefts[0] * tried), tried), "–", shown(round(lefts[1] * tried), tried)]
    assert tried < 500, "else the test shows nothing"


def test_gains_are_differences_and_chance_is_said(whole: Path) -> None:
    table = rows(whole, "Table of gains, L∞")
    counts = {target: [round(share * COMMON) for share in HELPS["PGD"][target]] for target in HELPS["PGD"]}
    for target in ("VGG-OPU higher", "VGG-OPU lower"):
        gains = [100 * (b - a) / COMMON for a, b in zip(counts["VGG-16"], counts[target], strict=True)]
        row = table[f"{target}, the paper's PGD"]
        assert [float(value.split()[0].replace("−", "-")) for value in row] == [round(gain, 1) for gain in gains]
        curves = {c.target: c for c in only(whole).curves if c.label == "PGD"}
        for value, one, other in zip(row, curves["VGG-16"].points, curves[target].points, strict=True):
            loses = sum(one.stands[i] and not right for i, right in other.stands.items())
            keeps = sum(right and not one.stands[i] for i, right in other.stands.items())
            assert ("may be chance" in value) == (binomtest(loses, loses + keeps).pvalue >= 0.01)
        chances = sum("may be chance" in value for value in row)
        assert chances == 1, "2 and 3 points at the smallest radius"
    # By hand: Own VGG-OPU leaves 109 of 640 on the higher, MI-DI-TI 32 on VGG-16; PGD alone is no strongest.
    assert table["VGG-OPU higher, the strongest on each"] == ["–", "+7.0", "–", "+12.0"]


def test_sources_networks_and_efforts_are_those_of_the_records(tmp_path: Path) -> None:
    folder = built(tmp_path, everything(fooled=0.75))
    sources = rows(folder, "Table of sources, L∞")
    assert sources["PGD on VGG-16 source"] == [shown(480, COMMON)] * 4
    assert sources["Ensemble on VGG-16 source and VGG-OPU source"] == ["–", shown(480, COMMON)] * 2
    networks = rows(folder, "Table of sources and targets, L∞")
    assert {name: row[0] for name, row in networks.items()} == {
        name: "source" if "source" in name else "target" for name in made_up.CLEAN
    }
    assert networks["VGG-OPU lower"][1].startswith("80.1 ")
    assert networks["VGG-OPU lower"][2] == "801"
    efforts = rows(folder, "Table of what each transferred attack took, L∞")
    assert efforts["Ensemble"] == [
        "VGG-16 source (bp) and VGG-OPU source (exact)",
        "TransferPGD, momentum 1, step size 0.005, steps 50",
        "50.0",
        "1 min 20 s",
    ]


def test_the_words_say_the_set_the_gain_and_the_paper(whole: Path) -> None:
    words = text(whole)
    assert "the 640 of the first 1,000 test images" in words
    assert "VGG-OPU higher differs from VGG-16 by +2 points at 1.28/255, +10 at 2.55/255, +24 at 6.38/255" in words
    assert "at 1.28/255, 640 images cannot tell it from nothing" in words
    assert "The paper reports +15 to +45 points on CIFAR-10." in words
    assert "VGG-OPU higher 17.0% (14.3–20.1), by Own VGG-OPU made on VGG-OPU source, where the paper's PGD" in words
    assert "VGG-OPU higher is 12 points above VGG-16 (+24 under the paper's PGD)" in words
    assert "VGG-OPU higher 0.0% with the true matrix U (transferred, Own VGG-OPU leaves 17.0%)" in words
    assert "no robustness against whoever holds the weights" in words
    assert "fools its own source on every image" in words


@pytest.mark.parametrize(("data", "claim"), [("cifar100", "+3 to +10 points on CIFAR-100"), ("shapes", None)])
def test_the_papers_claim_is_of_its_own_data(tmp_path: Path, data: str, claim: str | None) -> None:
    folder = built(tmp_path, data=data)
    assert ("The paper reports" in text(folder)) == (claim is not None)
    assert claim is None or claim in text(folder)


def test_where_the_layer_does_not_help_nothing_says_it_does(tmp_path: Path) -> None:
    folder = built(tmp_path, everything(FALLS))
    assert "640 images cannot tell VGG-OPU higher (4.1%) from VGG-16 (5.0%): nothing sure is left" in text(folder)
    assert "12 points above" not in text(folder)


def test_the_trade_is_claimed_only_where_chance_does_not_explain_it(whole: Path, tmp_path: Path) -> None:
    assert (
        "VGG-OPU lower withstands more of that PGD than VGG-OPU higher (80.1% and 84.8% right untouched) at 6.38"
        in text(whole)
    )
    assert "at 2.55/255 (88" not in text(whole), "intervals overlap there"
    same = {**HELPS, "PGD": {**HELPS["PGD"], "VGG-OPU lower": (0.95, 0.84, 0.57, 0.35)}}
    folder = built(tmp_path / "same", everything(same))
    assert "trade of clean accuracy for robustness cannot be seen" in text(folder)
    assert "withstands more" not in text(folder)
    untold = built(tmp_path / "untold", keep=lambda r: r.kind != "train")
    assert "(47.0% against 33.0%): what that costs in clean accuracy is not recorded yet." in text(untold)
    turned = {**HELPS, "PGD": {**HELPS["PGD"], "VGG-OPU lower": (0.95, 0.84, 0.4, 0.1)}}
    assert "the opposite of the paper's trade" in text(built(tmp_path / "turned", everything(turned)))


def test_a_source_that_is_not_fooled_is_told(tmp_path: Path) -> None:
    words = text(built(tmp_path, everything(fooled=0.6)))
    assert "Not all do: PGD 60.0% at 12.8/255, MI-FGSM 60.0%" in words
    assert "partly the attack's own weakness" in words
    assert "fools its own source on every image" not in words


def test_the_verdict_follows_the_data(tmp_path: Path) -> None:
    helps = judged(tmp_path / "helps")
    assert helps.text == HARDER
    assert "no robustness against whoever holds the weights" in helps.reasons[-1]
    assert helps.skipped == ()
    falls = judged(tmp_path / "falls", everything(FALLS))
    assert falls.text == THROUGH
    assert falls.reasons[-1] == "At smaller radii VGG-OPU lower keeps a gain: 11 points at 2.55/255."
    worse = {
        label: {t: tuple(v / (1 if t == "VGG-16" else 2) for v in s) for t, s in x.items()}
        for label, x in FALLS.items()
    }
    for label in worse:
        worse[label] = {t: tuple(max(v, 0.2) if t == "VGG-16" else v for v in s) for t, s in worse[label].items()}
        worse[label] |= {t: (*s[:-1], 0.02) for t, s in worse[label].items() if t != "VGG-16"}
    assert judged(tmp_path / "worse", everything(worse)).text == EASIER
    assert set(TRANSFER_TONES) == {HARDER, THROUGH, EASIER, UNSOUND, MASKING, OPEN}


def test_a_white_box_attack_that_gets_less_far_is_masked(tmp_path: Path) -> None:
    white = {**WHITE_BOX, ("VGG-OPU higher", "exact"): (0.9, 0.6), ("VGG-OPU higher", "bpda-fit-linear"): (0.9, 0.5)}
    verdict = judged(tmp_path, everything(white=white))
    assert verdict.text == MASKING
    (reason,) = verdict.reasons
    assert "VGG-OPU higher 50.0% with a linear fit" in reason
    assert "gets further" in reason
    # One good gradient is enough: the other's weakness is no sign.
    white[("VGG-OPU higher", "exact")] = (0.06, 0.0)
    assert judged(tmp_path / "one", everything(white=white)).text == HARDER


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (lambda r: r.kind == "attack", "a white-box attack on VGG-OPU higher at 12.8/255"),
        (lambda r: r.kind == "check", "the sanity checks"),
        (lambda r: r.kind == "transfer" and r.config["target"] == "VGG-16", "the paper's PGD on both VGG-16"),
        (lambda r: r.kind == "transfer" and r.config["label"] == "PGD", "the paper's PGD on both VGG-16"),
        (lambda r: r.kind in ("craft", "transfer") and r.config["label"] != "PGD", "an attack beyond the paper's PGD"),
        (
            lambda r: r.kind == "transfer" and r.config["target"] == "VGG-16" and r.config["label"] == "Ensemble",
            "Ensemble on VGG-16 at 12.8/255",
        ),
    ],
)
def test_harder_is_not_said_before_all_is_there(tmp_path: Path, missing: Any, said: str) -> None:
    verdict = judged(tmp_path, keep=lambda r: not missing(r))
    assert verdict.text == OPEN
    assert said in verdict.reasons[0]


def test_harder_is_not_said_of_attacks_that_miss_their_own_source(tmp_path: Path) -> None:
    verdict = judged(tmp_path, everything(fooled=0.6))
    assert verdict.text == OPEN
    assert "the best fools 60.0% of them" in verdict.reasons[0]


def test_a_failed_check_spoils_the_verdict_and_others_do_not_matter(tmp_path: Path) -> None:
    verdict = judged(tmp_path / "own", failing="adversarial images audited")
    assert verdict.text == UNSOUND
    assert "“adversarial images audited” failed: every image within its ball." in verdict.reasons[0]
    folder = made_up.write(tmp_path / "all", study="all", failing="adversarial images audited")
    assert len(transfer_checks(study(folder))) == 2
    foreign = made_up.write(tmp_path / "foreign", study="all", keep=lambda r: r.kind in ("check", "train"))
    assert transfer_checks(study(foreign)) == []


def test_the_answer_has_bars_of_the_judged_radius_and_does_not_repeat_the_verdict(whole: Path) -> None:
    found = study(whole)
    verdict = judge_transfers(trials(found), transfer_checks(found))
    said, chart = transfer_answer(found, verdict)
    assert not set(said) & set(verdict.reasons)
    assert chart is not None
    assert chart.title.endswith("L∞ ε = 12.8/255 (the paper's 0.1)")
    assert len(chart.bars) == 3 * 5 + 5
    shares = {bar.name: bar.share for bar in chart.bars}
    assert shares["VGG-OPU lower ← Own VGG-OPU"] == Proportion(round(0.28 * COMMON), COMMON)


@pytest.mark.parametrize("kind", ["common", "craft", "transfer", "attack"])
def test_arrays_that_contradict_their_record_stop_the_page(tmp_path: Path, kind: str) -> None:
    field = {"common": "index", "craft": "success", "transfer": "correct", "attack": "success"}[kind]
    for damage in ("changed", "lacking"):
        made = everything()
        record, arrays = next(one for one in made if one[0].kind == kind)
        assert arrays is not None
        if damage == "lacking":
            del arrays[field]
        elif kind == "common":
            arrays[field] = arrays[field][1:]
        else:
            arrays[field] = arrays[field].copy()
            arrays[field][np.flatnonzero(arrays[field])[0]] = False
        with pytest.raises(DamagedFileError, match=re.escape(record.name)):
            built(tmp_path / damage, made)


def test_records_of_other_purposes_stay_out(tmp_path: Path, whole: Path) -> None:
    other = craft("PGD", 0.1, fooled=0.5, purpose="ablation")
    made = [*everything(), other, transfer(other, "VGG-OPU higher", 0.01, purpose="ablation")]
    folder = built(tmp_path / "more", made)
    assert rows(folder, "Table of transferred attacks, L∞") == rows(whole, "Table of transferred attacks, L∞")
    alone = made_up.write(tmp_path / "alone", [made_up.common(), *made[-2:]])
    assert TransferSection().render(study(alone)) is None


def _kind(record: Record, *kinds: str) -> bool:
    return record.kind in kinds


@pytest.mark.parametrize(
    "keep",
    [
        lambda r: _kind(r, "train"),
        lambda r: _kind(r, "common"),
        lambda r: _kind(r, "craft"),
        lambda r: _kind(r, "transfer"),
        lambda r: _kind(r, "attack", "common"),
        lambda r: _kind(r, "craft", "transfer"),
        lambda r: not _kind(r, "train"),
        lambda r: r.config.get("eps_paper") in (None, 0.02),
        lambda r: r.config.get("target") in (None, "VGG-OPU lower"),
        lambda r: r.config.get("target") in (None, "VGG-16"),
        lambda r: r.config.get("label") in (None, "Own VGG-OPU"),
        lambda r: r.config.get("label") in (None, "PGD"),
    ],
)
def test_a_partial_folder_has_a_page(tmp_path: Path, keep: Any) -> None:
    folder = built(tmp_path, keep=keep)
    page = (folder / "report.html").read_text()
    there = any(r.kind in ("craft", "transfer") for r in RecordStore.read(folder).records)
    assert ("transfer" in Reader(page).ids) == there
    assert Reader(page).open == []
    assert not re.search(r"\b(nan|NaN|inf|None)\b", Reader(page).text)
    found = study(folder)
    verdict = judge_transfers(trials(found), transfer_checks(found))
    assert verdict.text in TRANSFER_TONES
    transfer_answer(found, verdict)


def test_extremes_and_unknown_names(tmp_path: Path) -> None:
    """One radius, one image, names that this version does not know, a source that is never fooled, a second norm."""
    one = craft("Brand new", 0.1, fooled=0.0, count=1, eps_paper=None)
    l2 = craft("PGD", 1.0, count=1, norm="l2", eps_paper=None)
    made = [made_up.common(1), one, transfer(one, "VGG-16", 1.0), transfer(one, "VGG-OPU source", 0.0), l2]
    folder = built(tmp_path, [*made, transfer(l2, "VGG-16", 0.0)])
    assert rows(folder, "Table of transferred attacks, L∞")["VGG-16 ← Brand new"] == ["100.0 20.7–100.0"]
    assert rows(folder, "Table of transferred attacks, L2")["VGG-16 ← PGD"] == ["0.0 0.0–79.3"]
    assert len(Reader((folder / "report.html").read_text()).ids) == len(
        set(Reader((folder / "report.html").read_text()).ids)
    )


def test_the_figures_have_each_curve_from_one_hundred_percent(whole: Path) -> None:
    names = ("figure-4", "transfer-vgg-16", "transfer-vgg-opu-higher", "transfer-vgg-opu-lower")
    assert {p.name for p in (whole / "figures").iterdir()} == {f"{n}.{s}" for n in names for s in ("svg", "png")}
    told = re.findall(r'aria-label="(Accuracy[^"]*)"', (whole / "report.html").read_text())
    assert "VGG-OPU higher 84.8% untouched falls to 33% at 12.8/255" in told[0]
    assert "white-box: exact U falls to 0% at 12.8/255" in told[2]
    for curve in only(whole).curves:
        assert curve.series[0] == (0.0, Proportion(COMMON, COMMON))


def test_no_text_of_a_figure_lies_on_another() -> None:
    points = [(0.0, Proportion(640, 640)), (0.05, Proportion(12, 640))]
    labels = [*HELPS, "white-box:\nexact U", "white-box:\nBPDA (linear fit)"]
    lines = [Line(label, transfer_style(label), points) for label in labels]
    with drawing_style():
        figure = transfer_figures.accuracy(lines, norm="linf", paper={0.005: 0.01, 0.006: 0.012, 0.05: 0.1})
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        axes, top = figure.axes
        renderer = canvas.get_renderer()
        boxes = [t.get_window_extent(renderer) for t in axes.texts]
        ticks = [t.get_window_extent(renderer) for t in top.get_xticklabels() if t.get_text()]
    assert [t.get_text() for t in axes.texts] == labels
    assert sorted(t.get_text() for t in top.get_xticklabels()) == ["0", "0.012", "0.1"], "0.01 is too close"
    for box in boxes:
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
    for one, other in [*itertools.combinations(boxes, 2), *itertools.combinations(ticks, 2)]:
        assert not one.overlaps(other)


def test_colours_reach_the_page_and_none_has_two_meanings(whole: Path) -> None:
    names = css_names()
    assert {f"--rule-{key}" for key in TRANSFER_INK} <= {variable for variable, _ in names.values()}
    assert len({ink.light for ink in TRANSFER_INK.values()}) == len(TRANSFER_INK)
    for group in (made_up.TARGETS, tuple(HELPS)):
        keys = [transfer_style(name) for name in group]
        assert set(keys) <= set(TRANSFER_INK)
        assert len({marker(key) for key in keys}) == len(keys)
    assert "var(--rule-vgg-opu-lower)" in (whole / "report.html").read_text()


def test_the_same_records_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    assert outputs(built(tmp_path / "again")) == outputs(whole)
