"""The section of a secret: what it makes of records whose answer is known."""

import math
from pathlib import Path
from typing import Any

import pytest

from groundglass.adaptive.information import gaussian_bits, uniform_bits
from groundglass.report.section import Finding, Section
from groundglass.results.kinds import ATTACK, DETECT, DEVICE, RETRIEVE
from groundglass.results.kinds.attack import Fit
from groundglass.results.kinds.network import CameraSettings
from groundglass.results.kinds.retrieve import HeldOut, RowErrors
from groundglass.studies.secret.report import gains, known, section, tables
from tests.runs import Drawn, RunFolder, right
from tests.studies.pages import takeaway

N, M, CLASSES = 512, 8000, 10
CAMERA = CameraSettings(bits=8, saturation=0.01, read_noise=0.0, shot_noise=0.0, density=0.5)


class Secret:
    """A run folder of this study. Attackers leave the first so many of 100 images right, at 2.55/255."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, RunFolder(folder, study="secret")
        told = {"in_features": N, "out_features": M, "owner": "", "camera": CAMERA}
        self.made.fill(DEVICE, told, {"fingerprint": "9f"})
        self.made.network("VGG-OPU", model={"classes": CLASSES})
        self.made.network("VGG-16")

    def left(self, count: int, rule: str, **config: Any) -> str:
        told: dict[str, Any] = {"eps": 0.01, "eps_paper": 0.02, "purpose": "secret", **config}
        return self.made.attack("VGG-OPU", right(count), rule=rule, **told)

    def wrong(self, count: int, rule: str, error: float, **config: Any) -> str:
        return self.left(count, rule, matrix_error=error, error_scale="law", **config)

    def said(self, sign: str, right: int, median: float | None, **config: Any) -> None:
        told = {"model": "VGG-OPU", "subject": "itself", "question": "layer", "there": True, "access": "scores"}
        told |= {"alpha": 0.001, "beta": 0.001, "budget": 5000, "settings": {"digits": 5}, **config, "sign": sign}
        result = {"right": right, "wrong": 20 - right, "undecided": 0, "events": 9, "learned": 10, "each": 2.0}
        result |= {"median": median, "low": median, "high": median, "path": ((2.0, 1.0), (4.0, 3.0))}
        result["accuracies"] = told.pop("accuracies", None)
        self.made.fill(DETECT, told, result, f"{sign} of {told['model']}")

    def section(self) -> Section:
        found = section(self.made.run(), Drawn())
        assert found is not None
        return found


def usual(folder: Path, *, none: int = 5, whole: int = 4) -> Secret:
    one = Secret(folder)
    for rule, count in (("bpda-drawn", 50), ("exact", whole), ("dfa-fresh", 45), ("dfa", 4)):
        one.left(count, rule)
    one.wrong(40, "exact-blurred", 1.35)
    one.wrong(whole, "exact-blurred", 0.6)
    one.wrong(20, "dfa", 1.25)
    one.left(30, "own-head", labels=10)
    one.left(none, "own-head", labels=1000)
    one.left(whole, "bpda-fit-linear", fit_images=1000)
    return one


def test_bits_are_those_of_all_entries(tmp_path: Path) -> None:
    found = [(one.of, one.name, one.bits) for one in known(usual(tmp_path).made.run())]
    assert found == [
        ("U", "no U: one drawn at random", 0.0),
        ("U", "U wrong by 1.35", pytest.approx(N * M * gaussian_bits(1.35))),
        ("U", "U wrong by 0.6", pytest.approx(N * M * gaussian_bits(0.6))),
        ("U", "U", math.inf),
        ("B", "no B: one drawn at random", 0.0),
        ("B", "B wrong by 1.25", pytest.approx(N * CLASSES * uniform_bits(1.25))),
        ("B", "B", math.inf),
    ]


def test_a_retrieved_u_has_the_bits_of_its_error(tmp_path: Path) -> None:
    one = usual(tmp_path)
    rows = RowErrors(median=0.02, q10=0.01, q90=0.03, max=0.1, mean=0.02)
    held = HeldOut(median=0.3, chance=23.0, noise=0.0)
    key = one.made.fill(RETRIEVE, {"purpose": "price", "camera": CAMERA}, {"error": rows, "held_out": held})
    one.left(4, "bpda-retrieved", inputs=(key,))
    (found,) = (one for one in known(one.made.run()) if one.name.startswith("U retrieved"))
    assert found.bits == pytest.approx(N * M * gaussian_bits(0.02))


@pytest.mark.parametrize(
    ("none", "whole", "finding"),
    [(4, 4, Finding.FALLS), (3, 4, Finding.FALLS), (40, 4, Finding.HOLDS), (8, 4, Finding.OPEN)],
)
def test_the_verdict_is_what_the_secret_buys(tmp_path: Path, none: int, whole: int, finding: Finding) -> None:
    one = usual(tmp_path, none=none, whole=whole)
    verdict = one.section().verdict
    assert verdict.finding is finding
    assert (verdict.reasons["none"].count, verdict.reasons["all"]["U"].count, verdict.reasons["labels"]) == (
        none,
        whole,
        1000,
    )
    # An error of 0.6 is as good as all of U, one of 1.35 is not.
    assert verdict.reasons["enough"] == {"U": "6.59 Mbit"}
    assert 20 < len(takeaway(one.folder, tmp_path / "page", "secret")) < 400


def test_what_b_buys_counts_as_what_u_buys_and_all_are_compared_together(tmp_path: Path) -> None:
    """Exact McNemar of 6 images, all one way: p = .031, and .062 where it is one of two comparisons."""
    for name, left, finding in (("six", 11, Finding.OPEN), ("many", 24, Finding.HOLDS)):
        one = Secret(tmp_path / name)
        one.left(left, "exact")
        one.left(5, "dfa")
        one.left(left, "own-head", labels=1000)
        family = gains(one.made.run())
        assert set(family.found) == {("U", 0.01), ("B", 0.01)}
        assert (family.found["B", 0.01].p < 0.05, family.above(("B", 0.01))) == (True, name == "many")
        verdict = one.section().verdict
        assert verdict.finding is finding
        assert {of: share.count for of, share in verdict.reasons["all"].items()} == {"U": left, "B": 5}
        if finding is Finding.HOLDS:
            assert verdict.reasons["test"].points == pytest.approx(19)
        assert "all of B" in takeaway(one.folder, tmp_path / f"page-{name}", "secret")


@pytest.mark.parametrize(("there", "enough"), [(None, None), (45, None), (30, "6.59 Mbit")])
def test_bits_are_enough_only_where_they_are_at_every_radius(
    tmp_path: Path, there: int | None, enough: str | None
) -> None:
    """At the larger radius they are; at the smaller they were not tried, fail, or are enough too."""
    one, smaller = usual(tmp_path), {"eps": 0.005, "eps_paper": 0.01}
    for rule, labels in (("exact", None), ("dfa", None), ("own-head", 1000)):
        one.left(30, rule, labels=labels, **smaller)
    if there is not None:
        one.wrong(there, "exact-blurred", 0.6, **smaller)
    assert one.section().verdict.reasons["enough"].get("U") == enough


def test_the_accuracy_of_a_head_of_few_labels_is_not_told(tmp_path: Path) -> None:
    one = Secret(tmp_path)
    result = {"n_images": 4, "clean_correct": 4, "correct": 4, "robust_accuracy": 1.0, "success_rate": 0.0}
    for labels in (10, 100, 1000):
        told = {"norm": "linf", "eps": 0.01, "purpose": "secret", "rule": "own-head", "labels": labels}
        told |= {"model": "VGG-OPU", "attack": "PGD", "matrix_error": None}
        one.made.fill(ATTACK, told, result | {"fit": Fit(n_images=labels, held_out_accuracy=0.9)})
    (images,) = (table for table in tables(one.made.run()) if table.title.startswith("Images instead"))
    assert [row.values[1] in ("", None) for row in images.rows] == [True, True, False]


def test_few_images_are_too_few_to_judge(tmp_path: Path) -> None:
    one = Secret(tmp_path)
    for rule in ("exact", "own-head"):
        one.made.attack("VGG-OPU", [True, False], rule=rule, labels=10, purpose="secret")
    assert one.section().verdict.finding is Finding.FEW


def test_only_attacks_of_this_study_and_of_retrieval_count(tmp_path: Path) -> None:
    one = usual(tmp_path)
    one.left(99, "exact", purpose="figure")
    one.left(99, "own-head", labels=50, purpose="sweep")
    # Rows as long as the true ones: of the study of retrieval, and of bits that nobody counted.
    one.left(99, "exact-blurred", matrix_error=0.6, purpose="retrieval")
    verdict = one.section().verdict
    assert verdict.reasons["all"]["U"].count == 4
    assert verdict.reasons["enough"]["U"] == "6.59 Mbit"
    (images,) = (table for table in tables(one.made.run()) if table.title.startswith("Images instead"))
    assert [row.name for row in images.rows] == [
        "own head, 10 labels",
        "own head, 1,000 labels",
        "linear fit, 1,000 images",
    ]


def test_how_soon_is_told_and_who_is_wrong(tmp_path: Path) -> None:
    one = usual(tmp_path)
    one.said("Flat", 20, 6.0)
    one.said("Border", 19, 700.0, settings={}, access="labels")
    one.said("Flat", 18, 22.0, model="VGG-16", there=False)
    one.said("Flat", 0, 22.0, model="VGG-OPU noise 16")
    one.said("Repeat", 20, 4.0, model="VGG-OPU noise 16", question="noise")
    which = {"candidates": 10, "matrix_error": 0.0, "miss": 0.05}
    one.said("candidates", 20, 4.0, question="which", settings=which, accuracies=(0.9, 0.1, 0.2))
    facts = one.section().facts
    assert (facts["scores"]["median"], facts["labels"]["median"]) == (6, 700)
    assert (facts["wrong"], facts["streams"]) == (2, 20)
    assert facts["hidden"] == ["scores that stay as they are"]
    assert (facts["which"]["scores"]["median"], facts["candidates"]) == (4, 10)
    assert facts["public"] == (0.9, 0.2)
    titles = [table.title for table in tables(one.made.run())]
    assert len(titles) == 4


def test_who_is_sure_of_what_is_not_so_knows_nothing(tmp_path: Path) -> None:
    one = usual(tmp_path)
    one.said("Flat", 20, 6.0)
    one.said("Border", 3, 700.0, settings={}, access="labels")
    facts = one.section().facts
    assert (facts["scores"]["median"], facts["labels"]["median"]) == (6, None)


def test_the_picture_goes_from_no_bit_to_all(tmp_path: Path) -> None:
    one, drawn = usual(tmp_path), Drawn()
    one.said("Flat", 20, 6.0)
    assert section(one.made.run(), drawn) is not None
    worth, soon = drawn.figures
    above, below = worth.axes
    names = [label.get_text() for label in above.get_xticklabels()]
    assert (names[0], names[-1]) == ("0", "all")
    points = [list(map(float, line.get_ydata())) for line in above.lines]
    assert [50, 40, 4, 4] in points
    assert [45, 20, 4] in points
    assert [30, 5] in [list(map(float, line.get_ydata())) for line in below.lines]
    assert [1, 3] in [list(map(float, line.get_ydata())) for line in soon.axes[0].lines]


def test_no_own_head_is_no_section(tmp_path: Path) -> None:
    assert section(RunFolder(tmp_path, study="secret").run(), Drawn()) is None
