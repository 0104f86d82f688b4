"""Adversarial training: the section's numbers are those of the records, and its words go no further than intervals."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report.drawing import Folder, drawing_style
from groundglass.old_report.hardened import HardenedSection
from groundglass.old_report.hardened_figures import hardened_figure, hardened_rows
from groundglass.old_report.hardened_reading import Hardened, read_hardened
from groundglass.old_report.hardened_words import hardened_answer, hardened_words
from groundglass.old_report.page import build
from groundglass.old_report.study import Study
from groundglass.results.records import Record, RecordStore
from tests.old_report import synthetic_study
from tests.old_report.synthetic_study import TRAINED
from tests.old_report.test_audit_section import EPS, NOTHING, N, audit, check, result, written
from tests.old_report.test_black_box import table_rows
from tests.old_report.test_page import Reader, outputs

WIDE = 8 / 255
KEYS = {**TRAINED, "VGG-16 AT": "0123456789cc", "VGG-OPU AT": "0123456789dd"}
CLEAN = {"VGG-16": 0.82, "VGG-OPU": 0.81, "VGG-16 AT": 0.62, "VGG-OPU AT": 0.612}
# Of 200 images: untouched, claimed and in the worst case, at the paper's radius and at 8/255.
LEFT: Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "VGG-16": ((164, 1, 0), (164, 0, 0)),
    "VGG-OPU": ((162, 70, 0), (162, 60, 0)),
    "VGG-16 AT": ((124, 76, 74), (124, 66, 62)),
    "VGG-OPU AT": ((122, 110, 78), (122, 104, 60)),
}


def training(name: str, **adversarial: Any) -> Record:
    plain = synthetic_study.training(name.removesuffix(" AT"))
    attack = {
        "kind": "PGDTraining",
        "eps": WIDE,
        "steps": 7,
        "step_size": None,
        "rule": "dfa" if "OPU" in name else "bp",
        "fit_images": 2000,
        **adversarial,
    }
    config = {**plain.config, "training": {**plain.config["training"]}}
    if name.endswith("AT"):
        config["training"]["adversarial"] = attack
    return synthetic_study.record(
        "train", name, config, {**plain.result, "clean_accuracy": CLEAN[name]}, key=KEYS[name]
    )


def audited(name: str, counts: tuple[int, int, int], **ball: Any) -> Record:
    clean, claimed, worst = counts
    first = "PGD, dfa-fresh" if "OPU" in name else "PGD, own"
    attacks = [(first, "claim", clean - claimed), ("PGD, bpda-fit-linear", "adaptive", claimed - worst)]
    status = "failed" if claimed - worst > 20 else "passed"
    return audit(name, result(clean, attacks, [check("claim stands", status)]), network=KEYS[name], **ball)


def everything(left: Mapping[str, Any] = LEFT) -> list[Record]:
    made = [training(name) for name in CLEAN]
    made += [audited(name, left[name][0]) for name in left]
    return made + [audited(name, left[name][1], eps=WIDE, eps_paper=None) for name in left]


def write(
    folder: Path,
    made: list[Record] | None = None,
    *,
    keep: Callable[[Record], bool] = lambda _: True,
    name: str = "adversarial-training",
) -> Path:
    records = everything() if made is None else made
    plan = [{"key": r.key, "kind": r.kind, "name": r.name} for r in records]
    with RecordStore.open(folder, synthetic_study.manifest(study=name, cells=plan)) as store:
        for one in records:
            if keep(one):
                store.add(one)
    return folder


def study(folder: Path) -> Study:
    return Study(RecordStore.read(folder), Folder(folder / "figures"))


def read(folder: Path, made: list[Record] | None = None) -> Hardened:
    found = read_hardened(study(write(folder, made)))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("hardened") / "run")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def page(whole: Path) -> str:
    return (whole / "report.html").read_text()


def test_every_figure_of_every_network_is_that_of_its_records(page: str) -> None:
    rows = table_rows(page, "Table of adversarially trained networks")
    attack = {
        "VGG-16": "none",
        "VGG-OPU": "none",
        "VGG-16 AT": "PGD, 7 steps within 8/255, gradients by BP",
        "VGG-OPU AT": "PGD, 7 steps within 8/255, gradients by DFA",
    }
    assert [row[0] for row in rows] == list(CLEAN)
    for name, *cells in rows:
        (_, claimed, worst), (_, claimed_wide, worst_wide) = LEFT[name]
        assert cells == [
            attack[name],
            written(round(CLEAN[name] * 10_000), 10_000),
            *(written(count) for count in (claimed, worst, claimed_wide, worst_wide)),
        ]


def test_what_each_change_buys_is_decided_by_intervals(page: str) -> None:
    rows = table_rows(page, "Table of what layer and adversarial training buy")
    assert [row[2:] for row in rows] == [
        ["−1.0 intervals overlap", "0.0 intervals overlap", "0.0 intervals overlap"],
        ["−0.8 intervals overlap", "+2.0 intervals overlap", "−1.0 intervals overlap"],
        ["−20.0 intervals apart", "+37.0 intervals apart", "+31.0 intervals apart"],
        ["−19.8 intervals apart", "+39.0 intervals apart", "+30.0 intervals apart"],
    ]


def test_the_reading_says_what_buys_and_what_costs(page: str) -> None:
    words = Reader(page).text
    assert "What is trained on adversarial images withstands the strongest attacks here better." in words
    assert "On top of adversarial training the layer adds nothing that these images can show." in words
    assert (
        "On top of nothing the layer buys nothing clear in the worst case: at L∞ ε = 6.38/255 (the paper's 0.05)"
        in words
    )
    assert (
        "The paper's attacks would have credited it with +34.5 points at L∞ ε = 6.38/255 (the paper's 0.05) and +30.0 points "
        "at L∞ ε = 8/255." in words
    )
    assert "Without the layer adversarial training buys robustness in the worst case" in words
    assert (
        "Adversarial training costs VGG-16 20.0 points of clean accuracy (82.0% to 62.0% of 10,000) and costs VGG-OPU "
        "19.8 points of clean accuracy (81.0% to 61.2% of 10,000)." in words
    )


def test_a_layer_that_adds_or_takes_is_said_to(tmp_path: Path) -> None:
    told = {}
    for name, worst in (("adds", 110), ("takes", 30), ("mixed", 110)):
        left = {**LEFT, "VGG-OPU AT": ((122, 112, worst), (122, 112, 20 if name == "mixed" else worst))}
        found = read(tmp_path / name, everything(left))
        told[name] = (hardened_answer(found), hardened_words(found)[1])
    assert "still adds robustness" in told["adds"][0]
    assert "layer buys robustness in the worst case" in told["adds"][1]
    assert "takes some of what adversarial training gives" in told["takes"][0]
    assert "layer costs robustness in the worst case" in told["takes"][1]
    assert "adds at one radius and takes at another" in told["mixed"][0]


def test_adversarial_training_that_buys_nothing_is_not_praised(tmp_path: Path) -> None:
    found = read(tmp_path, everything({**LEFT, **dict.fromkeys(list(LEFT)[2:], ((120, 4, 1), (120, 3, 0)))}))
    assert "is not seen to withstand more in the worst case" in hardened_answer(found)


def test_a_defence_that_the_paper_would_not_credit_is_not_credited(tmp_path: Path) -> None:
    left = {**LEFT, "VGG-OPU": ((162, 2, 0), (162, 1, 0))}
    assert "credited" not in " ".join(hardened_words(read(tmp_path, everything(left))))


def test_the_figure_holds_the_records_and_its_names_fit(whole: Path) -> None:
    found = read_hardened(study(whole))
    assert found is not None
    rows = {row.name: row.panels for row in hardened_rows(found)}
    assert rows["VGG-OPU AT"] == (
        (("untouched", Proportion(6120, 10_000)),),
        (("paper's attacks", Proportion(110, N)), ("worst case", Proportion(78, N))),
        (("paper's attacks", Proportion(104, N)), ("worst case", Proportion(60, N))),
    )
    assert rows["VGG-16 AT"][1] == (("worst case", Proportion(74, N)),), (
        "no claim of the paper's for a network without it"
    )
    with drawing_style():
        figure = hardened_figure(found)
        FigureCanvasAgg(figure).draw()
        names = [text.get_window_extent() for text in figure.axes[0].texts]
        titles = [axes.title.get_window_extent() for axes in figure.axes]
    for box in [*names, *titles]:
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
    for boxes in (names, titles):
        for one, other in itertools.combinations(boxes, 2):
            assert not one.overlaps(other)


@pytest.mark.parametrize(
    "there",
    [
        ("VGG-16",),
        ("VGG-16", "VGG-OPU"),
        ("VGG-16 AT",),
        ("VGG-16", "VGG-OPU", "VGG-16 AT"),
        tuple(CLEAN),
    ],
)
@pytest.mark.parametrize("audits", ["none", "first", "narrow", "all"])
def test_partial_records_have_a_page_that_claims_nothing_of_what_is_missing(
    tmp_path: Path, there: tuple[str, ...], audits: str
) -> None:
    def keep(one: Record) -> bool:
        if one.kind == "train":
            return one.name in there
        enough = {"none": False, "first": one.config["model"] == there[0], "all": True}
        return one.config["model"] in there and enough.get(audits, one.config["eps"] == EPS)

    page = build(write(tmp_path, keep=keep)).read_text()
    read = Reader(page)
    assert read.open == []
    rows = table_rows(page, "Table of adversarially trained networks")
    assert [row[0] for row in rows if row[2] != "–"] == [name for name in CLEAN if name in there]
    names = [name for name in CLEAN if name not in there]
    assert ("Not trained here yet" in read.text) == bool(names)
    both = audits in ("narrow", "all")
    assert ("On top of nothing the layer" in read.text) == (both and {"VGG-16", "VGG-OPU"} <= set(there))
    assert ("On top of adversarial training the layer" in read.text) == (both and len(there) == 4)
    assert ("Adversarial training costs VGG-16" in read.text) == ({"VGG-16", "VGG-16 AT"} <= set(there))
    compared = both and len(there) > 2
    assert ("cannot be said yet" in read.text) == (not compared)
    assert ("withstands the strongest attacks here better" in read.text) == compared


def test_a_network_that_cannot_be_audited_is_no_figure(tmp_path: Path) -> None:
    made = [training("VGG-16"), training("VGG-16 AT")]
    made += [audited("VGG-16", LEFT["VGG-16"][0]), audit("VGG-16 AT", NOTHING, network=KEYS["VGG-16 AT"])]
    page = build(write(tmp_path, made)).read_text()
    rows = {row[0]: row for row in table_rows(page, "Table of adversarially trained networks")}
    assert rows["VGG-16 AT"][3:] == ["–", "not audited"]
    assert "cannot be said yet" in page


def test_other_studies_have_no_such_section(tmp_path: Path, complete: Path) -> None:
    assert read_hardened(study(complete)) is None
    with RecordStore.open(tmp_path, synthetic_study.manifest(study="adversarial-training")):
        pass
    assert HardenedSection().render(study(tmp_path)) is None


def test_another_study_with_such_networks_has_the_section(tmp_path: Path) -> None:
    made = everything()
    other = synthetic_study.record(
        "train", "VGG-16", {"seed": 9, **made[0].config}, {**made[0].result, "clean_accuracy": 0.1}, key="f" * 12
    )
    found = read_hardened(study(write(tmp_path, [other, *made], name="everything")))
    assert found is not None
    # Of two networks of a name the one that was audited.
    assert found.named("VGG-16").clean == Proportion(8200, 10_000)


def test_the_attack_inside_the_training_of_kept_features_is_told(tmp_path: Path) -> None:
    features = training("VGG-16 AT", kind="TRADES", steps=1)
    features = synthetic_study.record("train", "VGG-DFA AT", features.config, features.result, key="e" * 12)
    plain = training("VGG-OPU")
    placed = synthetic_study.record(
        "train", "VGG-OPU AT", plain.config, plain.result, key=KEYS["VGG-OPU AT"], inputs=("e" * 12,)
    )
    found = read(tmp_path, [features, placed])
    assert found.named("VGG-OPU AT").training == "TRADES, 1 step within 8/255, gradients by BP"


@pytest.mark.parametrize(
    "adversarial", [{"steps": "seven"}, {"eps": None}, {"rule": ...}, {"kind": ...}], ids=lambda one: next(iter(one))
)
def test_an_altered_training_is_refused_by_name(tmp_path: Path, adversarial: dict[str, Any]) -> None:
    made = training("VGG-OPU AT")
    for name, value in adversarial.items():
        if value is ...:
            del made.config["training"]["adversarial"][name]
        else:
            made.config["training"]["adversarial"][name] = value
    with pytest.raises(DamagedFileError, match=r"VGG-OPU AT.* no training as this version writes it"):
        build(write(tmp_path, [made]), sections=[HardenedSection()])


def test_an_altered_audit_or_accuracy_is_refused_by_name(tmp_path: Path) -> None:
    made = everything()
    made[-1].result["worst"]["count"] += 1
    with pytest.raises(DamagedFileError, match="audit of VGG-OPU AT"):
        build(write(tmp_path / "a", made), sections=[HardenedSection()])
    made = everything()
    made[2].result["clean_accuracy"] = 1.4
    with pytest.raises(DamagedFileError, match="VGG-16 AT"):
        build(write(tmp_path / "b", made), sections=[HardenedSection()])


def test_names_from_the_records_are_text_not_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    page = build(write(tmp_path, [training("VGG-OPU AT", rule=evil, kind=evil)])).read_text()
    assert evil not in page
    assert "&lt;script&gt;" in page


def test_the_same_records_give_the_same_page(whole: Path, page: str, tmp_path: Path) -> None:
    found = Reader(page)
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    again = write(tmp_path / "again")
    build(again)
    assert outputs(again) == outputs(whole)
