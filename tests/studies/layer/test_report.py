"""The section on what a layer would have to be: what it makes of audits whose answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundglass.core.statistics import Proportion
from groundglass.report import build
from groundglass.report.section import Finding
from groundglass.results import Run
from groundglass.results.kinds import CERTIFY, DEVICE
from groundglass.results.kinds.network import CameraSettings
from groundglass.studies.layer.report import layers, section, tables
from groundglass.studies.registry import find_study
from tests.runs import Drawn, RunFolder, right

WIDE: dict[str, Any] = {"norm": "l2", "eps": 0.25, "eps_paper": None}
#: Layers, and what of the camera and of N differs.
LAYERS: dict[str, dict[str, Any]] = {"standard": {}, "p=4": {"power": 4.0}, "1 bit, M=50": {"bits": 1, "out": 50}}


def run(
    path: Path, worst: dict[str, int], *, knowing: dict[str, int] | None = None, untried: tuple[str, ...] = ()
) -> Run:
    """Of 200 images 150 right at first. Layers that keep so many images where no layer keeps 60, and where U is known so many."""
    folder = RunFolder(path / "run", "layer")
    model = {"features": "VGG-OPU", "encoding": "bits"}
    none = folder.network("no layer, bits", clean=0.8, model={**model, "linear_hidden": 512})
    folder.audit("no layer, bits", clean=150, claimed=60, worst=60, of=200, inputs=[none])
    folder.audit("no layer, bits", clean=150, claimed=60, worst=60, of=200, inputs=[none], **WIDE)
    for name, facts in LAYERS.items():
        seen = {"bits": 8, "saturation": 0.01, "read_noise": 0.0, "shot_noise": 0.0, "density": 0.5, **facts}
        out = seen.pop("out", 8000)
        config = {"in_features": 512, "out_features": out, "camera": CameraSettings(**seen)}
        device = folder.fill(DEVICE, config, {"fingerprint": "f" * 64, "mean_reading": 50.0}, f"device {name}")
        own = folder.network(f"layer {name}", clean=0.79, device={}, model=model, inputs=[device])
        kept = worst.get(name, 60)
        folder.audit(f"layer {name}", clean=150, claimed=max(60, kept), worst=kept, of=200, inputs=[own])
        folder.audit(f"layer {name}", clean=150, claimed=60, worst=60, of=200, inputs=[own], **WIDE)
        if name in untried:
            continue
        left = right((knowing or worst).get(name, 60), 200)
        folder.attack(f"layer {name}", left, rule="exact", purpose="layer", inputs=[own], eps=0.025, eps_paper=0.05)
    return folder.run()


@pytest.mark.parametrize(
    ("worst", "knowing", "finding"),
    [
        ({}, {}, Finding.FALLS),
        ({"p=4": 30}, {"p=4": 20}, Finding.FALLS),
        # Four images, all won: no more than chance.
        ({"p=4": 64}, {"p=4": 64}, Finding.FALLS),
        ({"p=4": 90}, {"p=4": 60}, Finding.PART),
        ({"p=4": 90, "standard": 80}, {"p=4": 90}, Finding.HOLDS),
    ],
)
def test_a_layer_helps_where_more_images_stay_than_without_it(tmp_path, worst, knowing, finding) -> None:
    assert section(run(tmp_path, worst, knowing=knowing), Drawn()).verdict.finding is finding


def test_a_gain_whose_attacker_with_u_was_not_tried_is_open(tmp_path: Path) -> None:
    made = run(tmp_path, {"p=4": 90}, untried=("p=4",))
    verdict = section(made, Drawn()).verdict
    assert verdict.finding is Finding.OPEN
    assert verdict.reasons["standing"] == ["p=4"]
    assert any("p=4" in one for one in verdict.untried)
    page = build(made.folder, studies=[find_study("layer")]).read_text()
    assert "not tried for each" in page


def test_what_is_gained_is_counted_on_images_that_both_get_right(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "layer")
    model = {"features": "VGG-OPU", "encoding": "bits"}
    # Images 0 to 99 are right without the layer, 40 to 139 with it; it keeps 40 to 99, and the control 0 to 49.
    for name, first, kept in (("no layer, bits", 0, 50), ("layer standard", 40, 60)):
        own = folder.network(name, model=model, device={} if name.startswith("layer") else None)
        folder.audit(name, clean=100, claimed=kept, worst=kept, of=160, first=first, inputs=[own])
    (found,) = layers(folder.run())
    ((here, there),) = found.left.values()
    assert set(here) == set(there) == set(range(40, 100))
    assert (sum(here.values()), sum(there.values())) == (60, 10)


def test_layers_stand_by_what_differs_and_the_table_has_their_numbers(tmp_path: Path) -> None:
    made = run(tmp_path, {"p=4": 90}, knowing={"p=4": 60})
    assert [(one.name, one.group) for one in layers(made)] == [
        ("standard", "the study's own"),
        ("p=4", "power of |Ux|"),
        ("1 bit, M=50", "several"),
    ]
    (table,) = tables(made)
    row = next(row for row in table.rows if "p=4" in row.name)
    clean, without, first, second, secret, known = row.values[:6]
    assert (clean.count, without.count) == (790, 800)
    assert (first.count, second.count, first.total) == (60, 90, 150)
    assert (secret.value, known.value) == pytest.approx((20, 0))


def test_the_figure_has_a_row_a_layer_and_a_line_at_no_gain(tmp_path: Path) -> None:
    drawn = Drawn()
    section(run(tmp_path, {"p=4": 90}), drawn)
    (figure,) = drawn.figures
    first, second = figure.axes
    assert first.get_xlim() == second.get_xlim()
    low, high = first.get_xlim()
    assert -low == high > 20
    assert high % 10 == 0


def test_certificates_are_compared_on_all_images_that_were_certified(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path / "run", "layer"), {"features": "VGG-OPU", "encoding": "bits"}
    for name, sure in (("no layer, bits", 10), ("layer standard", 30)):
        own = folder.network(name, model=model, device={} if name.startswith("layer") else None)
        folder.audit(name, clean=80, claimed=10, worst=10, of=100, inputs=[own])
        result = {
            "n_images": 60,
            "right": Proportion(50, 60),
            "abstained": 10,
            "certified": ((0.1, Proportion(sure, 60)),),
        }
        arrays = {"index": np.arange(60), "label": np.zeros(60, int), "count": np.zeros(60, int)}
        arrays |= {
            "prediction": np.repeat([0, -1], [50, 10]),
            "radius": np.repeat([0.2, 0.05, 0], [sure, 50 - sure, 10]),
        }
        arrays |= {flag: np.zeros(60, bool) for flag in ("attacked", "broken", "outside")}
        folder.fill(
            CERTIFY, {"model": name, "radii": (0.1,)}, result, f"certificates of {name}", arrays=arrays, inputs=[own]
        )
    made = folder.run()
    _, table = tables(made)
    without, with_it, gained = table.rows[0].values
    assert (without.count, with_it.count, gained.value) == (10, 30, pytest.approx(100 / 3))
    reasons = section(made, Drawn()).verdict.reasons
    assert reasons["certified"] == reasons["surer"] == ["standard"]


def test_the_page_says_what_it_found(tmp_path: Path) -> None:
    path = build(run(tmp_path, {"p=4": 90}, knowing={"p=4": 60}).folder, studies=[find_study("layer")])
    text = path.read_text(encoding="utf-8").partition('id="layer"')[2].partition("<figure")[0]
    assert "as long as nobody knows U: p=4" in text


def test_few_images_are_too_few_and_other_studies_have_no_such_section(tmp_path: Path) -> None:
    folder, model = RunFolder(tmp_path / "run", "layer"), {"features": "VGG-OPU", "encoding": "bits"}
    for name, kept in (("no layer, bits", 0), ("layer standard", 40)):
        own = folder.network(name, model=model, device={} if name.startswith("layer") else None)
        folder.audit(name, clean=45, claimed=kept, worst=kept, of=48, inputs=[own])
    folder.attack(name, right(kept, 48), rule="exact", purpose="layer", inputs=[own], eps=0.025, eps_paper=0.05)
    assert section(folder.run(), Drawn()).verdict.finding is Finding.FEW
    assert section(RunFolder(tmp_path / "other").run(), Drawn()) is None
