"""The tables of the white-box section: nothing left out, and the worst case image by image."""

from pathlib import Path
from typing import Any

import numpy as np

from groundglass.core.statistics import Proportion
from groundglass.old_report.drawing import Folder, drawing_style
from groundglass.old_report.study import Study
from groundglass.old_report.tables import Row
from groundglass.old_report.white_box import WhiteBoxSection
from groundglass.results.records import RecordStore
from tests.old_report import synthetic_study


def context(folder: Path, attacks: list[Any]) -> dict[str, Any]:
    with RecordStore.open(folder, synthetic_study.manifest()) as store:
        for record, arrays in attacks:
            store.add(record, arrays)
    with drawing_style():
        section = WhiteBoxSection().render(Study(RecordStore.read(folder), Folder(folder / "figures")))
    assert section is not None
    return dict(section.context)


def rows(table: Any) -> dict[str, Row]:
    return {row.name: row for row in (*table.rows, *table.worst)}


def test_the_worst_case_is_image_by_image(tmp_path: Path) -> None:
    """Three attackers that fool different thirds leave nothing together, though each leaves two thirds."""
    attacks = []
    for third, rule in enumerate(("dfa", "bpda-fit-linear", "exact")):
        record, arrays = synthetic_study.attack("VGG-OPU", rule, eps=0.02, accuracy=0.8, n=300)
        arrays["clean_correct"] = np.ones(300, bool)
        arrays["success"] = np.arange(300) % 3 == third
        record.result.update(correct=200, clean_correct=300)
        attacks.append((record, arrays))
    ((table, _),) = context(tmp_path, attacks)["norms"]
    worst = {row.name: row.values for row in table.worst}
    assert worst["VGG-OPU: strongest without U"] == (Proportion(200, 300),)
    assert worst["VGG-OPU: all of those together"] == (Proportion(100, 300),)
    assert worst["VGG-OPU: all, with exact U"] == (Proportion(0, 300),)


def test_the_strongest_is_named_and_neither_the_control_nor_the_baseline_is_it(tmp_path: Path) -> None:
    attacks = [
        synthetic_study.attack("VGG-16", "bp", eps=0.02, accuracy=0.01),
        synthetic_study.attack("VGG-OPU", "dfa", eps=0.02, accuracy=0.5),
        synthetic_study.attack("VGG-OPU", "bpda-drawn", eps=0.02, accuracy=0.4),
        synthetic_study.attack("VGG-OPU", "exact", eps=0.02, accuracy=0.1),
        synthetic_study.attack("VGG-OPU", "none", method="RandomNoise", eps=0.02, accuracy=0.02),
    ]
    ((table, _),) = context(tmp_path, attacks)["norms"]
    strongest = rows(table)["VGG-OPU: strongest without U"]
    assert strongest.values == (Proportion(400, 1000),)
    assert strongest.notes == ("BPDA (drawn W)",)


def test_a_radius_that_was_not_attacked_is_empty_not_zero(tmp_path: Path) -> None:
    attacks = [
        synthetic_study.attack("VGG-OPU", "dfa", eps=0.01, eps_paper=0.02, accuracy=0.5),
        synthetic_study.attack("VGG-OPU", "dfa", eps=0.02, eps_paper=0.04, accuracy=0.4),
        synthetic_study.attack("VGG-OPU", "fa", eps=0.02, eps_paper=0.04, accuracy=0.45),
        synthetic_study.attack("VGG-OPU", "dfa", eps=0.5, norm="l2", accuracy=0.4),
    ]
    (linf, pictures), (l2, _) = context(tmp_path, attacks)["norms"]
    assert linf.columns == (("2.55", "0.02"), ("5.1", "0.04"))
    assert l2.columns == (("0.5", ""),)
    assert rows(linf)["VGG-OPU ← FA"].values == (None, Proportion(450, 1000))
    assert [p.name for p in pictures] == ["figure-2", "white-box-linf"]
    assert "VGG-OPU ← DFA falls from 83% to 40% at 5.1/255" in pictures[0].alt


def test_what_an_attack_took(tmp_path: Path) -> None:
    first = synthetic_study.attack("VGG-OPU", "bpda-fit-network", eps=0.01, accuracy=0.5)
    second = synthetic_study.attack("VGG-OPU", "bpda-fit-network", eps=0.02, accuracy=0.4)
    first[0].result.update(gradients=30_000, zero_gradient_share=0.25)
    second[0].result.update(gradients=10_000)
    second[0].config["steps"] = 200
    (effort,) = context(tmp_path, [first, second])["efforts"]
    assert effort.gradients == 20
    assert effort.zero_gradients == 0.25
    assert effort.settings == "50 to 200 steps"
    assert effort.fit == "10,000 images, R² 0.81 held out"
    assert effort.seconds == first[0].seconds + second[0].seconds


def test_controls_stay_out_of_the_comparison(tmp_path: Path) -> None:
    """No bound, one step and noise are shown beside PGD; they stretch no axis and win no worst case."""
    attacks = [
        synthetic_study.attack("VGG-OPU", "dfa", eps=0.02, accuracy=0.4),
        synthetic_study.attack("VGG-OPU", "dfa", eps=1.0, accuracy=0.01, n=100, purpose="control"),
        synthetic_study.attack("VGG-OPU", "dfa", eps=0.02, accuracy=0.6, method="FGSM", purpose="control"),
        synthetic_study.attack("VGG-OPU", "none", eps=0.02, accuracy=0.8, method="RandomNoise", purpose="control"),
    ]
    found = context(tmp_path, attacks)
    ((table, pictures),) = found["norms"]
    assert table.columns == (("5.1", ""),)
    assert [row.values for row in table.rows] == [(Proportion(400, 1000),)]
    assert "random noise falls" in pictures[-1].alt
    assert [(c.name, c.radius, c.robust, c.beside) for c in found["controls"]] == [
        ("VGG-OPU ← DFA, PGD", "any image", Proportion(1, 100), None),
        ("VGG-OPU ← DFA, FGSM", "5.1/255", Proportion(600, 1000), Proportion(400, 1000)),
        ("VGG-OPU ← random noise", "5.1/255", Proportion(800, 1000), None),
    ]


def test_smallest_distances_make_a_curve_at_the_radii_of_the_others(tmp_path: Path) -> None:
    record, arrays = synthetic_study.attack("VGG-OPU", "dfa", eps=10.0, norm="l2", method="CW", accuracy=0.1, n=5)
    arrays["clean_correct"] = np.array([True, True, True, True, False])
    arrays["success"] = np.array([True, True, True, False, False])
    arrays["norm"] = np.array([0.1, 0.25, 0.7, 0.0, 0.0], np.float32)
    record.result.update(correct=1, clean_correct=4)
    others = [synthetic_study.attack("VGG-OPU", "dfa", eps=e, norm="l2", accuracy=0.4) for e in (0.25, 0.5, 1.0)]
    ((table, _),) = context(tmp_path, [(record, arrays), *others])["norms"]
    assert [column for column, _ in table.columns] == ["0.25", "0.5", "1"]
    line = rows(table)["VGG-OPU ← DFA, C&W (5 images)"]
    assert line.values == (Proportion(2, 5), Proportion(2, 5), Proportion(1, 5))
    assert rows(table)["VGG-OPU: strongest without U"].values == (Proportion(400, 1000),) * 3
