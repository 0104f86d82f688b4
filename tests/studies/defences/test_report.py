"""The section on defences: what it makes of records whose answer is known."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundglass.core.statistics import Proportion
from groundglass.report.markdown import tables as markdown_tables
from groundglass.report.section import Finding, Section
from groundglass.report.table import Repeats, Table
from groundglass.results.kinds import CERTIFY
from groundglass.results.repeats import repeat_name
from groundglass.studies.defences.report import section, tables
from tests.report.collisions import collisions
from tests.runs import Drawn, RunFolder, right
from tests.studies.pages import takeaway

LINF, L2 = {"norm": "linf", "eps": 8 / 255, "eps_paper": None}, {"norm": "l2", "eps": 0.25, "eps_paper": None}
RADII = (0.25, 0.5)
#: Of 200 images, in the worst case in both balls, in each of three repeats.
WORST: Mapping[str, Sequence[tuple[int, int]]] = {
    "VGG-16": [(0, 10)] * 3,
    "VGG-OPU": [(0, 12)] * 3,
    "VGG-16 AT": [(50, 90), (54, 92), (46, 88)],
    "VGG-OPU AT": [(52, 90), (54, 94), (44, 86)],
}


class Study:
    """A run folder of this study."""

    def __init__(self, folder: Path, study: str = "defences", **manifest: Any) -> None:
        self.made, self.folder = RunFolder(folder, study, **manifest), folder
        self.keys: dict[str, str] = {}

    def defence(
        self, name: str, number: int = 0, *at: int, of: int = 200, clean: float = 0.8, first: int = 0, **more: Any
    ) -> str:
        """A network, and audits of it in as many balls as there are counts of images that stand, from image `first` on."""
        called = repeat_name(name, number)
        key = self.keys[called] = self.made.network(called, clean=clean, **more)
        for count, ball in zip(at, (LINF, L2), strict=False):
            best = max(120 * of // 200, count)
            self.made.audit(called, clean=best, claimed=best, worst=count, of=of, first=first, inputs=[key], **ball)
        return key

    def certified(self, name: str, number: int, *counts: int, of: int = 100, broken: int = 0, first: int = 0) -> None:
        """So many images right with a certificate of each radius, from image `first` on; ten more with a smaller one."""
        right = counts[0] + 10
        radius = np.full(right, 0.1)
        for at, count in zip(RADII, counts, strict=True):
            radius[:count] = at
        padded = np.concatenate([radius, np.zeros(of - right)])
        prediction = np.concatenate([np.zeros(right), np.full(of - right, -1)]).astype(int)
        arrays = {"prediction": np.roll(prediction, first), "label": np.zeros(of, int), "index": np.arange(of)}
        arrays |= {"radius": np.roll(padded, first), "attacked": np.roll(padded > 0, first)}
        arrays |= {"broken": np.arange(of) < broken, "outside": np.arange(of) < 7}
        result = {
            "n_images": of,
            "right": Proportion(right, of),
            "abstained": of - right,
            "certified": tuple((r, Proportion(count, of)) for r, count in zip(RADII, counts, strict=True)),
            "attacked": right,
            "broken": broken,
            "outside": 7,
        }
        called = repeat_name(name, number)
        config = {"model": called, "sigma": 0.25, "n0": 100, "n": 1000, "radii": RADII}
        self.made.fill(CERTIFY, config, result, f"certificates of {called}", inputs=[self.keys[called]], arrays=arrays)

    def section(self, drawn: Drawn | None = None) -> Section:
        found = section(self.made.run(), drawn or Drawn())
        assert found is not None
        return found


def usual(folder: Path, worst: Mapping[str, Sequence[tuple[int, int]]] | None = None, **manifest: Any) -> Study:
    """Four defences in three repeats. `worst` replaces counts."""
    made = Study(folder, **manifest)
    counts = {**WORST, **(worst or {})}
    for number in range(3):
        for name, at in counts.items():
            if number < len(at):
                made.defence(
                    name, number, *at[number], clean=(0.8 if name in ("VGG-16", "VGG-OPU") else 0.5) + number / 100
                )
    return made


def cells(table: Table) -> dict[str, dict[str, Any]]:
    """By the name of the row, and of the column."""
    return {row.name: dict(zip(table.columns, row.values, strict=True)) for row in table.rows}


def counts(value: Any) -> list[int]:
    return [one.count for one in (value.values if isinstance(value, Repeats) else [value])]


def test_every_number_is_that_of_a_record_in_the_order_of_the_repeats(tmp_path: Path) -> None:
    main, changes = tables(usual(tmp_path).made.run())
    found = cells(main)
    assert list(found) == list(WORST)
    assert counts(found["VGG-16 AT"]["L∞ ε = 8/255: worst case"]) == [50, 54, 46]
    assert counts(found["VGG-16 AT"]["L2 ε = 0.25: worst case"]) == [90, 92, 88]
    assert counts(found["VGG-16 AT"]["L2 ε = 0.25: claimed"]) == [120] * 3
    assert counts(found["VGG-16 AT"]["clean accuracy"]) == [500, 510, 520]
    assert found["VGG-16 AT"]["clean accuracy"].summary == pytest.approx((0.51, 0.5, 0.52))
    assert [found[name]["frames an answer"].value for name in WORST] == [0, 1, 0, 1]
    added = cells(changes)["VGG-OPU AT − VGG-16 AT"]
    assert added["L∞ ε = 8/255: worst case"].numbers == pytest.approx([1, 0, -1])
    assert added["clean accuracy"].summary == (0, 0, 0)


@pytest.mark.parametrize(
    ("kept", "finding", "adds", "takes"),
    [
        ([(80, 90), (80, 92), (80, 88)], Finding.HOLDS, ["VGG-OPU AT"], []),
        ([(20, 90), (20, 92), (20, 88)], Finding.FALLS, [], ["VGG-OPU AT"]),
        ([(80, 50), (80, 50), (80, 50)], Finding.PART, ["VGG-OPU AT"], ["VGG-OPU AT"]),
        ([(52, 90), (54, 94), (44, 86)], Finding.NOTHING, [], []),
        # In two of three repeats, or with two signs: by luck.
        ([(80, 90), (80, 92), (46, 88)], Finding.NOTHING, [], []),
        ([(80, 90), (80, 92), (20, 88)], Finding.NOTHING, [], []),
        # Seven images, all won: p = 0.016 in each repeat, and 0.094 as one of six comparisons.
        ([(57, 90), (61, 92), (53, 88)], Finding.NOTHING, [], []),
        ([(62, 90), (66, 92), (58, 88)], Finding.HOLDS, ["VGG-OPU AT"], []),
        ([(80, 90)], Finding.HOLDS, ["VGG-OPU AT"], []),
    ],
)
def test_the_layer_adds_what_stands_in_every_repeat(
    tmp_path: Path, kept: list[tuple[int, int]], finding: Finding, adds: list[str], takes: list[str]
) -> None:
    one = usual(tmp_path, {"VGG-OPU AT": kept})
    verdict = one.section().verdict
    assert (verdict.finding, verdict.reasons["adds"], verdict.reasons["takes"]) == (finding, adds, takes)
    assert 60 < len(takeaway(one.folder, tmp_path / "page", "defences")) < 500


def test_a_difference_is_of_the_same_images(tmp_path: Path) -> None:
    """As many images in both, but others: the shares alone would say nothing, and so it is."""
    one = Study(tmp_path)
    one.defence("VGG-16 AT", 0, 60)
    one.defence("VGG-OPU AT", 0, 60, first=60)
    (_, changes), note = tables(one.made.run()), "not clear"
    assert cells(changes)["VGG-OPU AT − VGG-16 AT"]["L∞ ε = 8/255: worst case"].value == 0
    assert all(each.startswith(note) for each in changes.rows[0].notes)
    assert "exact McNemar" in changes.note


def test_who_keeps_most_and_who_is_not_clearly_behind(tmp_path: Path) -> None:
    linf, l2 = usual(tmp_path).section().verdict.reasons["best"]
    # Means: 50 and 50; 90 and 90.
    assert linf["names"] == ["VGG-16 AT", "VGG-OPU AT"]
    assert (linf["share"], linf["all"], linf["nothing"]) == ("25.0", False, False)
    assert l2["names"] == ["VGG-16 AT", "VGG-OPU AT"]
    ahead = usual(tmp_path / "ahead", {"VGG-OPU AT": [(20, 90)] * 3}).section().verdict.reasons["best"]
    assert ahead[0]["names"] == ["VGG-16 AT"]


def test_where_nothing_is_left_nobody_is_praised(tmp_path: Path) -> None:
    one = usual(tmp_path, {name: [(0, 10)] * 3 for name in WORST})
    linf, l2 = one.section().verdict.reasons["best"]
    assert (linf["nothing"], l2["all"]) == (True, True)
    said = takeaway(one.folder, tmp_path / "page", "defences")
    assert "nothing is left at L∞" in said
    assert "keeps most" not in said


def test_certificates_stand_beside_the_worst_case(tmp_path: Path) -> None:
    one = usual(tmp_path)
    for number in range(2):
        one.certified("VGG-16", number, 40 + number, 10)
        one.certified("VGG-OPU", number, 70, 10, first=20)
    main, changes, certificates = one.section().tables
    found = cells(main)
    assert counts(found["VGG-16"]["certified, L2 0.25"]) == [40, 41]
    assert found["VGG-16 AT"]["certified, L2 0.25"] is None
    costs = [(row["passes an answer"], row["frames an answer"], row["passes, certified"]) for row in found.values()]
    told = [tuple(one and one.value for one in each) for each in costs]
    assert told == [(1, 0, 1100), (1, 1, 1100), (1, 0, None), (1, 1, None)]
    assert cells(changes)["VGG-OPU − VGG-16"]["certified, L2 0.25"].numbers == pytest.approx([30, 29])
    assert changes.rows[0].notes[-1].startswith("more, p = 0.00")
    told = cells(certificates)["VGG-16"]
    assert (counts(told["0.25"]), counts(told["0.5"]), counts(told["right under noise"])) == (
        [40, 41],
        [10, 10],
        [50, 51],
    )
    assert [told[name].value for name in ("attacked", "broken", "broken farther out")] == [101, 0, 14]
    facts = one.section().facts
    assert facts["certificates"] == (101 + 160, 0)
    assert one.section().verdict.reasons["certified"] == ("VGG-OPU", pytest.approx(0.7))


def test_images_made_on_another_network_are_told_with_what_the_layer_adds(tmp_path: Path) -> None:
    one = Study(tmp_path)
    kept = {"VGG-OPU bp": (90, 88), "VGG-OPU bp without layer": (60, 86)}
    for number in (0, 1):
        for name in kept:
            one.defence(name, number, 0, layer="without" not in name)
    for number in (0, 1):
        for name, shares in kept.items():
            for share, label in zip(shares, ("PGD", "MI-DI"), strict=True):
                one.made.transfer(repeat_name(name, number), right(share), label=label, eps=2 / 255)
    table = tables(one.made.run())[-1]
    assert counts(cells(table)["VGG-OPU bp without layer"]["PGD, 2/255"]) == [60, 60]
    assert counts(cells(table)["VGG-OPU bp"]["MI-DI, 2/255"]) == [88, 88]
    assert cells(table)["VGG-OPU bp"]["without the layer"] == "VGG-OPU bp without layer"
    assert [each.partition(",")[0] for each in table.rows[0].notes] == ["", "more", "not clear"]


def test_a_broken_certificate_is_the_first_thing_that_is_said(tmp_path: Path) -> None:
    one = usual(tmp_path)
    one.certified("VGG-16", 0, 40, 10, broken=2)
    one.section()
    assert takeaway(one.folder, tmp_path / "page", "defences").startswith("2 of 50 certificates were broken")


@pytest.mark.parametrize("control", [True, False])
def test_a_network_on_anothers_features_is_compared_with_what_differs_by_the_layer_alone(
    tmp_path: Path, control: bool
) -> None:
    one = Study(tmp_path)
    robust = one.defence("VGG-16 AT", 0, 50)
    placed: dict[str, Any] = {"features": "VGG-16 AT", "inputs": [robust], "device": {}}
    one.defence("ROPUST", 0, 44, **placed)
    if control:
        one.defence("VGG-16 AT, new head", 0, 48, features="VGG-16 AT", inputs=[robust])
    main, changes = tables(one.made.run())
    other = "VGG-16 AT, new head" if control else "VGG-16 AT"
    assert [row.name for row in changes.rows] == [f"ROPUST − {other}"]
    seconds = {name: row["training"].value for name, row in cells(main).items()}
    assert (seconds["VGG-16 AT"], seconds["ROPUST"]) == (2, 4), (
        "of two epochs as quick as the first, and of the features too"
    )


def test_an_ensemble_is_compared_with_one_that_is_built_alike_without_the_layer(tmp_path: Path) -> None:
    one = Study(tmp_path)
    below = one.defence("VGG-OPU", 0, 0, 10)
    for name, layer, parts, model in (
        ("3 VGG-OPU, votes", True, 3, {"votes": True, "device_in": 512}),
        ("3 VGG-OPU, one classifier", True, 3, {"votes": False, "device_in": 512}),
        ("3 linear heads, votes", False, 3, {"votes": True, "linear_hidden": 512}),
        ("VGG-OPU at 3 depths", True, 3, {"votes": True, "depths": [3, 4, 5], "device_in": 512}),
        ("VGG-OPU without layer", False, 1, {"linear_hidden": 512}),
    ):
        one.defence(name, 0, 0, 10, layer=layer, parts=parts, model=model, features="VGG-OPU", inputs=[below])
    main, changes = tables(one.made.run())
    assert [row.name for row in changes.rows] == [
        "VGG-OPU − VGG-OPU without layer",
        "3 VGG-OPU, votes − 3 linear heads, votes",
    ]
    frames = {name: row["frames an answer"].value for name, row in cells(main).items()}
    assert list(frames.values()) == [1, 3, 3, 0, 3, 0]


def test_few_images_and_networks_that_were_not_audited(tmp_path: Path) -> None:
    few = Study(tmp_path / "few")
    few.defence("VGG-16", 0, 0, of=40)
    few.defence("VGG-OPU", 0, 30, of=40)
    assert few.section().verdict.finding is Finding.FEW
    bare = Study(tmp_path / "bare")
    bare.defence("VGG-16 AT")
    bare.defence("VGG-OPU AT")
    verdict = bare.section().verdict
    assert (verdict.finding, verdict.untried) == (Finding.OPEN, ("an audit of VGG-16 AT and VGG-OPU AT",))
    assert "cannot be said yet" in takeaway(bare.folder, tmp_path / "page", "defences")


def test_a_run_that_goes_on_shows_what_is_there(tmp_path: Path) -> None:
    """One network in one ball, another in none, a third in its second repeat alone."""
    one = Study(tmp_path)
    one.defence("VGG-16", 0, 3)
    one.defence("VGG-OPU")
    one.defence("VGG-16 AT", 1, 60, 80)
    main, changes = tables(one.made.run())
    assert list(cells(main)) == ["VGG-16", "VGG-OPU", "VGG-16 AT"]
    ((row, there),) = cells(changes).items()
    assert (row, [name for name, value in there.items() if value]) == ("VGG-OPU − VGG-16", ["clean accuracy"])
    assert main.rows[0].notes == ("1 of 2 repeats",)
    assert cells(main)["VGG-16"]["L2 ε = 0.25: worst case"] is None
    drawn = Drawn()
    assert one.section(drawn).verdict.finding is Finding.OPEN
    (figure,) = drawn.figures
    assert collisions(figure) == []


def test_features_that_nobody_audits_are_no_defence(tmp_path: Path) -> None:
    one = Study(tmp_path)
    below = one.defence("VGG-DFA")
    one.defence("VGG-OPU", 0, 0, features="VGG-DFA", inputs=[below])
    assert list(cells(tables(one.made.run())[0])) == ["VGG-OPU"]


@pytest.mark.parametrize("several", [True, False])
def test_no_label_of_the_figure_lies_on_another(tmp_path: Path, several: bool) -> None:
    one = usual(tmp_path, None if several else {name: at[:1] for name, at in WORST.items()})
    more = ("TRADES", "smoothed", "direct-feedback", "estimated-derivative", "of four devices, votes", "a $x$")
    for name in (f"{network} {kind}" for network in ("VGG-16", "VGG-OPU") for kind in more):
        one.defence(name, 0, 0, 90, clean=0.5)
    one.certified("VGG-16 smoothed", 0, 60, 10)
    drawn = Drawn()
    found = one.section(drawn)
    (figure,) = drawn.figures
    assert collisions(figure) == []
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["L∞ ε = 8/255", "L2 ε = 0.25"]
    for axes, points in zip(figure.axes, ((0, 25), (45, 45)), strict=True):
        drawn_at = {tuple(np.round(xy, 6)) for line in axes.lines for xy in line.get_xydata()}
        assert (51.0 if several else 50.0, float(points[1])) in drawn_at
    ticks = [line.get_ydata()[0] for axes in figure.axes for line in axes.lines if line.get_marker() == "_"]
    assert ticks == [60], "where the certificates are: in L2"
    assert "VGG-16 AT: clean" in found.figures[0].alt


def test_several_folders_of_several_repeats_are_one_mean(tmp_path: Path) -> None:
    folders = []
    for seed in range(3):
        one = usual(tmp_path / str(seed), {"VGG-16 AT": [(40 + 10 * seed + n, 90) for n in (0, 2, 4)]}, seed=seed)
        folders.append(one.made.run().folder)
    text = markdown_tables(folders, ["defences"])["defences"]
    (row,) = re.findall(r"^\| VGG-16 AT \|(.*)\|$", text, re.MULTILINE)
    assert row.split("|")[2].strip() == "26.0 (20.0–32.0)", "nine of them: 40 to 64 of 200, on the average 52"
    (row,) = re.findall(r"^\| VGG-OPU AT − VGG-16 AT \|(.*)\|$", text, re.MULTILINE)
    assert row.split("|")[1].strip() == "−1.0 (−10.0 to +6.0)"


def test_other_studies_have_no_such_section(tmp_path: Path) -> None:
    run = RunFolder(tmp_path).run()
    assert section(run, Drawn()) is None
    assert tables(run) == []


def test_images_made_on_vgg16_are_tried_on_vgg_opu_beside_its_own_features(tmp_path: Path) -> None:
    one = Study(tmp_path)
    for name, clean in (("VGG-16", 0.8), ("VGG-OPU", 0.8)):
        one.defence(name, 0, 10, 10, clean=clean)
    one.defence("VGG-OPU without layer", 0, 10, 10, features="VGG-OPU", layer=False)
    for name, kept in (("VGG-OPU", 60), ("VGG-OPU without layer", 30)):
        one.made.transfer(name, [k < kept for k in range(90)])
    transferred = tables(one.made.run())[-1]
    row = cells(transferred)["VGG-OPU"]
    assert row["without the layer"] == "VGG-OPU without layer"
