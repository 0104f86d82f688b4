"""The black-box section: what it makes of records whose answer is known."""

from pathlib import Path

import pytest

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.report.section import Finding
from groundglass.results import Run
from groundglass.results.kinds import CHECK, CHOICE
from groundglass.results.kinds.audit import CheckConfig, CheckResult
from groundglass.results.kinds.query import ChoiceConfig, ChoiceResult
from groundglass.studies.black_box.report import _balls, _together, section, tables
from tests.runs import Drawn, RunFolder, committed, right

EPS = 8 / 256


def asked(fooled: int, of: int = 200, *, first: int = 0) -> list[int | None]:
    """Queries until each image was fooled: `fooled` of them, from image `first` on, after ten."""
    return [10 if hit else None for hit in right(fooled, of, first=first)]


def filled(path: Path, counts, *, of=200, given=(("dfa", None), ("exact", None)), failing="") -> RunFolder:
    """A study: attack -> images fooled of VGG-16 and of VGG-OPU; by rule what PGD leaves there, or (None) what the first does."""
    folder = RunFolder(path / "run", "black-box")
    for attack, pair in counts.items():
        for network, fooled in zip(("VGG-16", "VGG-OPU"), pair, strict=True):
            folder.query(network, attack, asked(fooled, of) if isinstance(fooled, int) else fooled)
    first = next((pair[1] for pair in counts.values() if isinstance(pair[1], int)), 0)
    for rule, left in given:
        after = right(left, of) if left is not None else right(of - first, of, first=first)
        folder.attack("VGG-OPU", after, rule=rule, eps=EPS, purpose="reference")
    for name in ("a check", failing):
        result = CheckResult(passed=name != failing, value={}, expected="so")
        folder.add(CHECK, name, CheckConfig(check=name), result) if name else None
    return folder


def shown(folder: RunFolder):
    found = section(folder.run(), Drawn())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("counts", "more", "finding"),
    [
        ({"Square": (200, 199)}, {}, Finding.FALLS),  # nearly all
        ({"Square": (150, 100), "RayS": (150, 145)}, {}, Finding.FALLS),  # one is hindered, the worst case is not
        ({"Square": (150, 60)}, {}, Finding.HOLDS),
        ({"Square": (60, 50)}, {}, Finding.HOLDS),  # the intervals overlap, but ten images are one-sided
        ({"Square": (150, 60)}, {"given": (("dfa", 0), ("exact", 0))}, Finding.PART),  # a budget, not robustness
        ({"Square": (100, 98)}, {}, Finding.NOTHING),
        ({"Square": (60, 150)}, {}, Finding.NOTHING),
        ({"Square": (150, 60)}, {"given": (("dfa", None),)}, Finding.OPEN),
        ({"Square": (150, 60)}, {"failing": "queries stronger than random noise"}, Finding.OPEN),
        ({"Square": (150, 199)}, {"failing": "queries within budget"}, Finding.OPEN),  # no success counts
        ({"Square": (150, 199)}, {"failing": "queries stronger than random noise"}, Finding.FALLS),
        ({"Square": (48, 10)}, {"of": 48}, Finding.FEW),
    ],
)
def test_the_verdict_is_that_of_the_worst_case(tmp_path: Path, counts, more, finding) -> None:
    assert shown(filled(tmp_path, counts, **more)).verdict.finding is finding


def test_networks_of_a_longer_name_are_compared_all_the_same(tmp_path: Path) -> None:
    """The paper's of Figure 3, beside those of Figure 2."""
    config = {"classes": [], "black_box": {"ending": " of Figure 3"}}
    folder = RunFolder(tmp_path / "run", "black-box", config=config)
    for network, fooled in (("VGG-16 of Figure 3", 150), ("VGG-OPU of Figure 3", 60)):
        folder.query(network, "Square", asked(fooled))
    found = shown(folder)
    (gain,) = (row for row in found.tables[0].rows if row.name == "Square")
    assert gain.values[:2] == (Proportion(150, 200), Proportion(60, 200))
    table, *_ = tables(folder.run())
    assert table.columns[0].startswith("VGG-16:")


def test_few_images_are_no_headline(tmp_path: Path) -> None:
    found = shown(filled(tmp_path, {"Square": (11, 0)}, of=11))
    assert (found.verdict.n_images, found.open_figures) == (11, 0)
    assert len(found.figures) == 2


def test_the_worst_case_is_image_by_image(tmp_path: Path) -> None:
    """Two attacks that are both hindered, and together miss no image."""
    halves = {"Square": (200, asked(100)), "RayS": (200, asked(100, first=100))}
    verdict = shown(filled(tmp_path, halves)).verdict
    assert verdict.reasons["hindered"] == ["Square", "RayS"]
    assert verdict.reasons["fooled"] == Proportion(200, 200)
    assert verdict.finding is Finding.FALLS


def test_a_difference_that_falls_after_correction_is_none(tmp_path: Path) -> None:
    """Six images of one attack: p = .031 alone, and more than 5% among six comparisons."""
    alike = dict.fromkeys(("Bandits", "Parsimonious", "Square", "RayS"), (110, 110))
    found = shown(filled(tmp_path, {"NES": (106, 100), **alike}))
    assert found.verdict.reasons["hindered"] == []
    (row,) = [row for row in found.tables[0].rows if row.name == "NES"]
    assert row.values[3].value == pytest.approx(6 * 2 / 2**6)
    assert "6 comparisons" in found.tables[0].note


def test_networks_are_compared_on_images_that_both_get_right_and_judged_on_their_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "black-box")
    folder.query("VGG-16", "Square", asked(120), clean=right(120, 200))
    folder.query("VGG-OPU", "Square", asked(100, first=80), clean=right(150, 200, first=50))
    found = shown(folder)
    assert found.verdict.n_images == 70
    assert found.verdict.reasons["fooled"] == Proportion(100, 150)
    assert found.tables[0].rows[0].values[:2] == (Proportion(70, 70), Proportion(40, 70))


def test_other_budgets_are_not_compared_and_what_was_not_tried_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "black-box")
    folder.query("VGG-16", "NES", asked(200), budget=2000)
    folder.query("VGG-OPU", "NES", asked(2), budget=500)
    found = shown(folder)
    assert (found.verdict.finding, found.verdict.n_images) == (Finding.OPEN, 0)
    assert found.verdict.untried == (
        *("Bandits", "Parsimonious", "Hierarchical", "Square", "RayS"),
        *("PGD with DFA", "PGD with exact U", "the checks"),
    )
    assert tables(Run.open(folder.folder))[0].columns[1] == "VGG-16: whole budget"


def test_asking_that_beats_a_gradient_says_so(tmp_path: Path) -> None:
    found = shown(filled(tmp_path, {"Square": (150, 120)}, given=(("dfa", 180), ("exact", 80))))
    assert found.verdict.reasons["masked"] == ["DFA"]
    elsewhere = filled(tmp_path / "eps", {"Square": (150, 120)})
    elsewhere.attack("VGG-OPU", right(200, 200), rule="dfa-fresh", eps=EPS / 2, purpose="reference")
    assert shown(elsewhere).verdict.reasons["masked"] == [], "another radius is no comparison"


def test_an_attack_that_found_no_slope_is_no_evidence(tmp_path: Path) -> None:
    folder = filled(tmp_path, {"Square": (150, 150)}, failing="gradient estimates are not zero")
    folder.query("VGG-16", "Bandits", asked(150))
    folder.query("VGG-OPU", "Bandits", asked(20), flat_share=0.76)
    verdict = shown(folder).verdict
    assert (verdict.reasons["flat"], verdict.reasons["hindered"]) == (["Bandits"], [])
    assert verdict.finding is Finding.NOTHING
    assert verdict.reasons["failed"] == [], "said once"


def swept(folder: RunFolder, *settings: tuple[float, float, int]) -> None:
    """NES on VGG-OPU: (sigma, zero estimates, queries of a success); the first was chosen."""
    tried = [
        folder.query("VGG-OPU", "NES", [queries] * 60, purpose="sweep", settings={"sigma": sigma}, flat_share=flat)
        for sigma, flat, queries in settings
    ]
    config = ChoiceConfig(model="VGG-OPU", attack="NES", parameter="sigma", values=tuple(s for s, *_ in settings))
    found = ChoiceResult(chosen=settings[0][0], key=tried[0], table=tuple((s, 1.0, float(q)) for s, _, q in settings))
    folder.add(CHOICE, "sigma", config, found, inputs=tried)


def test_of_settings_that_tie_the_one_with_fewer_zero_estimates_is_shown_then_fewer_queries(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "black-box")
    swept(folder, (0.1, 0.9, 10), (0.5, 0.0, 30), (1.0, 0.0, 20))
    found = shown(folder)
    row, together = tables(Run.open(folder.folder))[0].rows
    assert row.values[1].value == 20
    assert together.values == (Proportion(60, 60), None)
    every = found.tables[-1]
    assert [row.values[every.columns.index("shown")] for row in every.rows] == [None, None, "✓"]
    assert found.verdict.reasons["flat"] == []


def test_a_setting_that_was_chosen_on_other_images_is_shown_on_the_first_and_nothing_else_is(tmp_path: Path) -> None:
    """What was tried there fools all of its 60 images; the one that is reported, 40 of its 200."""
    folder = filled(tmp_path, {"Square": (150, 60)})
    tried = [
        folder.query("VGG-OPU", "Bandits", [9] * 60, purpose="sweep", settings={"fd_eta": eta}, first=200, budget=50)
        for eta in (0.1, 1.0)
    ]
    config = ChoiceConfig(model="VGG-OPU", attack="Bandits", parameter="fd_eta", values=(0.1, 1.0))
    found = ChoiceResult(chosen=1.0, key=tried[1], table=((0.1, 1.0, 9.0), (1.0, 1.0, 9.0)))
    key = folder.add(CHOICE, "best", config, found, inputs=tried)
    folder.query("VGG-OPU", "Bandits", asked(40), choice="fd_eta", chosen=1.0, inputs=[key])
    section_of = shown(folder)
    table = tables(Run.open(folder.folder))[0]
    assert [row.values[2] for row in table.rows] == [Proportion(40, 200), Proportion(60, 200), Proportion(60, 200)]
    (choices,) = (one for one in section_of.tables if one.title == "Settings chosen")
    assert choices.rows[0].values == ("fd_eta 1", "0.1: 100.0, 1: 100.0", "60 other images, 50 queries")


def test_all_together_is_the_union_at_every_number_of_queries(tmp_path: Path) -> None:
    """Four images: one that two attacks share, one of each alone, and one late."""
    folder = RunFolder(tmp_path / "run", "black-box")
    for network in ("VGG-16", "VGG-OPU"):
        late = 90 if network == "VGG-OPU" else 10
        first, second = [10, 20, None, late, None], [5, None, 40, None, None]
        folder.query(network, "Square", first)
        folder.query(network, "RayS", second)
    run = folder.run()
    (ball,) = _balls(run)
    for within, expected in ((4, 0), (5, 1), (20, 2), (40, 3), (90, 4), (None, 4)):
        assert ball.fooled("VGG-OPU", ["Square", "RayS"], within) == Proportion(expected, 5)
    assert ball.fooled("VGG-16", ["Square", "RayS"], 40) == Proportion(4, 5)
    assert [row.values[:2] for row in _together(ball).rows] == [(Proportion(4, 5), Proportion(4, 5))]
    assert tables(run)[0].rows[-1].values[0] == Proportion(4, 5)


def test_before_a_setting_is_chosen_there_is_no_figure_but_what_was_tried_is_seen(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "black-box")
    folder.query("VGG-OPU", "NES", asked(20), purpose="sweep", settings={"sigma": 0.1})
    found = shown(folder)
    assert (found.verdict.finding, found.figures, len(found.tables)) == (Finding.OPEN, (), 1)
    assert tables(Run.open(folder.folder)) == []
    assert section(RunFolder(tmp_path / "empty").run(), Drawn()) is None


def test_the_table_has_the_numbers_of_the_records(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", "black-box")
    folder.query("VGG-OPU", "Square", [5, 9, None, 7], clean=[True, True, True, False])
    folder.query("VGG-OPU", "Square", [5, 5, None, None], eps=0.5, norm="l2")
    linf, l2 = tables(folder.run())
    assert linf.columns == ("VGG-OPU: 100 queries", "VGG-OPU: median queries")
    assert (linf.rows[0].values[0], linf.rows[0].values[1].value) == (Proportion(2, 3), 7)
    assert (l2.title, l2.rows[0].values[0]) == ("Images fooled, L2 ε = 0.5, %", Proportion(2, 4))


def test_arrays_that_contradict_their_record_stop_the_page(tmp_path: Path, monkeypatch) -> None:
    run = filled(tmp_path, {"Square": (60, 50)}).run()
    whole = run._store.arrays
    monkeypatch.setattr(
        run._store, "arrays", lambda one: {k: v + 100 * (k == "check_queries") for k, v in whole(one).items()}
    )
    with pytest.raises(DamagedFileError, match="0 of 200 images fooled, by the result 60"):
        section(run, Drawn())


@pytest.mark.parametrize(
    ("name", "hindered"), [("cifar10", ["Square"]), ("cifar100", ["NES", "Parsimonious", "Square"])]
)
def test_the_committed_runs_fall(name, hindered) -> None:
    found = section(committed(name).of("black-box"), Drawn())
    assert [one.name for one in found.figures] == ["black-box-attackers", "figure-3", "black-box"]
    assert (found.verdict.finding, found.verdict.reasons["best"].config.attack) == (Finding.FALLS, "RayS")
    assert (found.verdict.reasons["hindered"], found.verdict.reasons["flat"]) == (hindered, ["Bandits"])
