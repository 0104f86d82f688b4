"""The access ladder: every rung by hand from records whose answer is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from groundglass.adaptive.attackers import ATTACKERS, RUNGS
from groundglass.core import DamagedFileError
from groundglass.report.section import Finding
from groundglass.results.kinds import DRAWS, RETRIEVE
from groundglass.results.kinds.network import CameraSettings
from groundglass.results.kinds.retrieve import HeldOut, RowErrors
from groundglass.studies.white_box.draws import heads, redraws
from groundglass.studies.white_box.ladder import Ladder
from groundglass.studies.white_box.report import section
from tests.runs import Drawn, RunFolder, filled, right

#: L-inf radii of what `RunFolder` makes: the paper's .01 and .02.
NEAR, FAR = 0.005, 0.01
PAPER = {NEAR: 0.01, FAR: 0.02}


def draws(folder: RunFolder, rule: str, fell: list[int], *, eps: float = NEAR, count: int = 5) -> str:
    """Fresh draws: for each image the draw at which it fell, -1: never."""
    left = tuple(sum(f == -1 or f > k for f in fell) for k in range(count))
    config = {"model": "VGG-OPU", "rule": rule, "attack": "PGD", "norm": "linf", "eps": eps, "draws": count}
    result = {"n_images": len(fell), "clean_correct": len(fell), "correct": left[-1], "left": left}
    each = np.asarray(fell)
    arrays = {"index": np.arange(len(fell)), "clean_correct": each > -2, "success": each >= 0, "fell": each}
    return folder.fill(DRAWS, {**config, "purpose": "figure"}, result, rule, arrays=arrays)


def asked(folder: RunFolder, attack: str, fooled: list[bool], **config: Any) -> str:
    settings = {"eps": NEAR, "purpose": "ladder", **config}
    return folder.query("VGG-OPU", attack, [7 if one else None for one in fooled], **settings)


def whole(path: Path) -> RunFolder:
    """Every rung at one radius, of 100 images: each is fooled by few attacks, so that rungs differ from their sums."""
    folder = RunFolder(path / "run")
    clean = right(95)
    each = np.where(np.arange(100) < 10, 0.004, np.inf).astype(np.float32)
    asked(folder, "RayS", right(10), clean=clean, nearest=True, arrays={"nearest": each})  # fools 0-9
    asked(folder, "Square", right(10, first=5), clean=clean)  # fools 5-14
    for rule, left in (("own-head", right(70, first=20)), ("bit-flip", right(60))):  # leave 20-89; 0-59
        folder.attack("VGG-OPU", left, rule=rule, clean=clean)
    folder.attack("VGG-OPU", right(80, first=15), rule="dfa-fresh", clean=clean)
    folder.attack("VGG-OPU", right(30, first=20), rule="dfa", clean=clean)  # leaves 20-49
    folder.attack("VGG-OPU", right(25, first=20), rule="bpda-fit-linear", clean=clean)
    found = {"frames": 6144, "rows": 3, "error": filled(RowErrors), "held_out": filled(HeldOut)}
    camera = {"purpose": "price", "camera": filled(CameraSettings)}
    retrieved = folder.fill(RETRIEVE, camera, found, arrays={"error": np.zeros(3)})
    folder.attack(
        "VGG-OPU", right(21, first=20), rule="bpda-retrieved", clean=clean, purpose="ladder", inputs=[retrieved]
    )
    folder.attack("VGG-OPU", right(20, first=20), rule="exact", clean=clean)
    folder.attack("VGG-16", right(20), clean=clean)
    return folder


def test_every_rung_is_the_images_that_nothing_up_to_it_has_fooled(tmp_path: Path) -> None:
    table = Ladder(whole(tmp_path).run()).table()
    rows = {row.name: row.values for row in table.rows}
    assert list(rows) == ["no attack", *(rung.label for rung in RUNGS), "VGG-16, no layer"]
    alone, together = ({name: found[k].count if found[k] else None for name, found in rows.items()} for k in (1, 2))
    # Right at first: 0-94. RayS leaves 10-94, Square 0-4 and 15-94: together 15-94; own head and bit flip together 20-59.
    counts = {"labels only": (85, 85), "scores": (85, 80), "the lower weights": (60, 40), "all weights": (80, 40)}
    counts |= {"+ B": (30, 30), "+ bits and logits": (25, 25), "+ the device": (21, 21), "+ U": (20, 20)}
    assert {name: (alone[name], together[name]) for name in counts} == counts
    assert alone["no attack"] == 95
    assert alone["VGG-16, no layer"] == 20
    assert rows["the lower weights"][0] == "bit flip"
    frames = table.columns.index("frames")
    assert {name: found[frames].value for name, found in rows.items() if found[frames]} == {"+ the device": 6144}
    queries = table.columns.index("queries")
    # Of 100 images 95 are asked about: ten for 7 queries, the others for the whole 100.
    assert rows["labels only"][queries].value == pytest.approx((10 * 7 + 85 * 100) / 100)


def test_no_rung_keeps_an_image_that_one_before_it_lost_nor_a_larger_radius_one_that_a_smaller_lost(
    tmp_path: Path,
) -> None:
    folder, g = RunFolder(tmp_path / "run"), np.random.default_rng(0)
    for rule in ("own-head", "fa", "dfa", "bpda-fit-linear", "exact"):
        for eps in (NEAR, FAR):  # by chance: some attacks are weaker than those before them, and than in a smaller ball
            folder.attack("VGG-OPU", g.random(60) < 0.7, rule=rule, eps=eps, eps_paper=PAPER[eps])
    ladder = Ladder(folder.run())
    assert [step.label for step in ladder.steps] == [
        "the lower weights",
        "all weights",
        "+ B",
        "+ bits and logits",
        "+ U",
    ]
    before = {(eps, i): True for eps in (NEAR, FAR) for i in range(60)}
    for step in ladder.steps:
        for eps in (NEAR, FAR):
            for i, ok in step.together[eps].items():
                assert ok <= before[eps, i]
                assert ok <= step.together[NEAR][i]
                before[eps, i] = ok
    raw = [ladder.alone(step, eps)[1].count for step in ladder.steps for eps in (NEAR, FAR)]  # type: ignore[index]
    assert raw != sorted(raw, reverse=True), "alone they do rise: else nothing was tested"


def test_only_images_that_all_were_tried_on_count(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-OPU", right(60, 100), rule="dfa")
    asked(folder, "Square", right(10, 30))
    ladder = Ladder(folder.run())
    assert ladder.images == list(range(30))
    assert [sum(step.together[NEAR].values()) for step in ladder.steps] == [20, 20]


def test_a_larger_ball_takes_over_what_a_smaller_one_fooled_and_the_nearest_point_tells_of_all(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    asked(folder, "Square", right(4, 10))
    # In the larger ball only the six that are left are asked about, and two of them fall.
    asked(folder, "Square", right(2, 6), eps=FAR, arrays={"index": np.arange(4, 10)})
    nearest = np.array([0.001, 0.005, 0.0051, 0.009, 0.0101, *[np.inf] * 5], np.float32)
    asked(folder, "RayS", right(2, 10), nearest=True, arrays={"nearest": nearest})
    folder.attack("VGG-OPU", right(10, 10), rule="dfa")
    folder.attack("VGG-OPU", right(10, 10), rule="dfa", eps=FAR, eps_paper=0.02)
    ladder = Ladder(folder.run())
    labels, scores, _ = ladder.steps
    assert [ladder.alone(labels, eps)[1].count for eps in (NEAR, FAR)] == [8, 6]  # type: ignore[index]
    assert [ladder.alone(scores, eps)[1].count for eps in (NEAR, FAR)] == [6, 4]  # type: ignore[index]


def test_draws_stand_beside_the_first_and_their_table_has_what_each_number_of_them_left(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-OPU", right(60), rule="fa")
    draws(folder, "fa", [0] * 40 + [1] * 10 + [4] * 20 + [-1] * 30)
    run = folder.run()
    ladder = Ladder(run)
    (step,) = ladder.steps
    best, share = ladder.alone(step, NEAR)  # type: ignore[misc]
    assert (best.label, share.count) == ("FA, 5 draws", 30)
    table = redraws(run)
    assert table.columns == ("1 draw", "5 draws")
    assert [value.count for value in table.rows[0].values] == [60, 30]


def test_the_head_is_told_against_its_labels_at_the_radius_that_was_swept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for labels, left, purpose in ((1000, 30, "figure"), (100, 50, "sweep"), (10_000, 20, "sweep")):
        folder.attack("VGG-OPU", right(left), rule="own-head", labels=labels, purpose=purpose)
    folder.attack("VGG-OPU", right(5), rule="own-head", labels=1000, eps=FAR, eps_paper=0.02)
    rows = heads(folder.run()).rows
    assert [(row.name, row.values[0].count) for row in rows] == [
        ("100 labels", 50), ("1,000 labels", 30), ("10,000 labels", 20)
    ]  # fmt: skip


def others(folder: RunFolder, *without: str, left: int = 120, of: int = 200) -> None:
    """Attacks on the rungs that a test says nothing of: all of them leave as much as the paper's does."""
    for attack in {"RayS", "Square"} - {*without}:
        asked(folder, attack, right(of - left, of, first=left))
    for rule in {"bpda-fit-linear", "bpda-retrieved"} - {*without}:
        folder.attack("VGG-OPU", right(left, of), rule=rule)


@pytest.mark.parametrize(
    ("head", "dfa", "finding", "lost"),
    [
        (20, 20, Finding.FALLS, "the weights below the layer and public labelled images"),
        (60, 20, Finding.FALLS, "all weights and B"),
        (60, 60, Finding.PART, None),
        (120, 120, Finding.HOLDS, None),
    ],
)
def test_the_verdict_names_the_lowest_rung_on_which_nothing_clear_is_left(tmp_path, head, dfa, finding, lost) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-16", right(20, 200))
    for rule, left in (("dfa-fresh", 120), ("own-head", head), ("dfa", dfa)):
        folder.attack("VGG-OPU", right(left, 200), rule=rule)
    others(folder)
    verdict = section(folder.run(), Drawn()).verdict
    assert verdict.finding is finding
    assert (verdict.reasons["lost"] and verdict.reasons["lost"][0]) == lost
    told = {says: (one.first.count, one.second.count, above) for says, _, one, above in verdict.reasons["kept"]}
    assert told["the weights below the layer and public labelled images"] == (head, 20, head > 20)
    assert verdict.reasons["worst"].first.count == min(head, dfa)


def test_every_attacker_of_the_registry_stands_on_a_rung_or_is_not_of_this_kind() -> None:
    assert {one.needs for one in ATTACKERS} - {rung.needs for rung in RUNGS} == {"nothing", "own network"}
    assert len({rung.label for rung in RUNGS}) == len(RUNGS)


@pytest.mark.parametrize("missing", ["RayS", "Square", "bpda-fit-linear", "bpda-retrieved"])
@pytest.mark.parametrize(("head", "finding"), [(120, Finding.OPEN), (60, Finding.OPEN), (20, Finding.FALLS)])
def test_without_a_rung_nothing_is_said_for_the_defence(
    tmp_path: Path, missing: str, head: int, finding: Finding
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-16", right(20, 200))
    for rule, left in (("dfa-fresh", 120), ("own-head", head), ("dfa", 120)):
        folder.attack("VGG-OPU", right(left, 200), rule=rule)
    others(folder, missing)
    verdict = section(folder.run(), Drawn()).verdict
    assert verdict.finding is finding
    assert len(verdict.untried) == 1


def test_at_a_radius_at_which_an_attack_was_not_made_the_ladder_says_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-OPU", right(60), rule="own-head")
    folder.attack("VGG-OPU", right(50), rule="dfa", eps=FAR, eps_paper=0.02)
    ladder = Ladder(folder.run())
    assert ladder.radii == []
    assert len(ladder.table().rows[0].values) == 1 + 5
    assert ladder.figure(Drawn()) is None


def test_costs_are_those_of_the_radii_of_the_ladder_with_the_first_draw(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.attack("VGG-OPU", right(60), rule="dfa", eps=FAR, eps_paper=0.02)
    folder.attack("VGG-OPU", right(60), rule="dfa")
    first = folder.attack("VGG-OPU", right(90), rule="fa")
    config = {"model": "VGG-OPU", "rule": "fa", "attack": "PGD", "norm": "linf", "eps": NEAR, "draws": 3}
    result = {"n_images": 50, "clean_correct": 50, "correct": 0, "left": (50, 20, 0), "gradients": 500}
    fell = np.array([1] * 30 + [2] * 20)
    arrays = {"index": np.arange(50), "clean_correct": fell > -2, "success": fell >= 0, "fell": fell}
    folder.fill(DRAWS, {**config, "purpose": "figure"}, result, "fa", inputs=[first], arrays=arrays)
    ladder = Ladder(folder.run())
    assert ladder.radii == [NEAR]
    at = ladder.table().columns.index("gradients")
    rows = {row.name: row.values for row in ladder.table().rows}
    assert rows["+ B"][at].value == pytest.approx(10)  # not of the other radius too
    assert rows["all weights"][at].value == pytest.approx(500 / 50 + 10)  # what the first draw took is not left out


def test_draws_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    draws(folder, "fa", [0] * 4 + [1] * 2 + [-1] * 3, count=2)
    assert folder.run().draws["accuracy_after_1"].iloc[0] == pytest.approx(5 / 9)
    other = RunFolder(tmp_path / "other")
    fell = np.array([0] * 3 + [1] * 3 + [-1] * 3)
    config = {"model": "VGG-OPU", "rule": "fa", "attack": "PGD", "norm": "linf", "eps": NEAR, "draws": 2}
    result = {"n_images": 9, "clean_correct": 9, "correct": 3, "left": (5, 3)}
    arrays = {"index": np.arange(9), "clean_correct": fell > -2, "success": fell >= 0, "fell": fell}
    other.fill(DRAWS, config, result, arrays=arrays)
    run = other.run()
    with pytest.raises(DamagedFileError, match="each draw"):
        run.right(run.draws.index[0])
