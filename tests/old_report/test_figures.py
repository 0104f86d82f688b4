"""The figures hold what the records hold, can be read, and look the same whatever the user's settings are."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from groundglass.core.statistics import Proportion
from groundglass.old_report import figures
from groundglass.old_report.cells import AttackCell, Curve, curves
from groundglass.old_report.dot_rows import DotRow, Series, dot_rows
from groundglass.old_report.drawing import Folder, drawing_style, for_page
from groundglass.old_report.style import ATTACKER_INK, INK, css_names, ink, marker
from groundglass.old_report.threat_models import ATTACKERS, attacker
from tests.old_report import synthetic_study


@pytest.fixture(scope="module")
def cells() -> list[AttackCell]:
    return [AttackCell.from_record(record) for record, _ in synthetic_study.attacks()]


def lines(cells: list[AttackCell], norm: str) -> list[Curve]:
    return curves([c for c in cells if not c.is_control or c.attack == "RandomNoise"], norm=norm)


def drawn(chosen: list[Curve], **more: Any) -> Any:
    options = {"bands": True, "paper_axis": False, "chance": 0.1, **more}
    with drawing_style():
        return figures.accuracy(chosen, [line.name for line in chosen], **options)


def test_curves_hold_the_records_and_start_at_the_clean_accuracy(cells: list[AttackCell]) -> None:
    (line,) = [c for c in lines(cells, "l2") if c.rule == "dfa"]
    (axes,) = drawn([line]).axes
    curve = axes.lines[1]  # after the line of chance
    share = [82.7, *(100 * synthetic_study.falling("VGG-OPU", "dfa", eps / 25) for eps in synthetic_study.L2_EPS)]
    assert curve.get_xdata() == pytest.approx([0, *synthetic_study.L2_EPS])
    assert curve.get_ydata() == pytest.approx(np.round(share, 1))
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() < min(share) < max(share) < band[:, 1].max()


def test_both_axes_show_the_same_radii(cells: list[AttackCell]) -> None:
    chosen = [line for line in lines(cells, "linf") if line.attack == "PGD"]
    below, above = drawn(chosen, paper_axis=True).axes
    assert below.get_xlim() == above.get_xlim() == (0, pytest.approx(6.375))
    ticks = dict(zip((t.get_text() for t in above.get_xticklabels()), above.get_xticks(), strict=True))
    assert ticks == {
        label: pytest.approx(float(label) / 2 * 255) for label in ("0", "0.01", "0.02", "0.03", "0.04", "0.05")
    }
    assert "255" in below.get_xlabel()
    assert "paper" in above.get_xlabel()


def test_the_papers_axis_does_not_stretch_over_radii_that_it_lacks() -> None:
    both = [(0.01, 0.02), (0.02, None)]
    records = [synthetic_study.attack("VGG-OPU", "dfa", eps=e, eps_paper=p, accuracy=0.5)[0] for e, p in both]
    below, above = drawn(curves([AttackCell.from_record(r) for r in records], norm="linf"), paper_axis=True).axes
    assert above.get_xlim() == below.get_xlim() == (0, pytest.approx(5.1))
    assert sorted(above.get_xticks()) == pytest.approx([0, 2.55])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_names_lie_within_the_picture_and_on_nothing_else(cells: list[AttackCell], norm: str) -> None:
    chosen = lines(cells, norm)
    names = [attacker(line.rule).label for line in chosen]
    with drawing_style():
        figure = figures.accuracy(chosen, names, bands=True, paper_axis=norm == "linf", chance=0.1)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        texts = [t for t in figure.axes[0].texts if t.get_text() != "chance"]
        boxes = [t.get_window_extent() for t in texts]
        plot = figure.axes[0].get_window_extent()
    assert [t.get_text() for t in texts] == names
    for box in boxes:
        assert plot.x1 < box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)


def outside(figure: Any) -> list[str]:
    """The words of a figure that are not wholly within it."""
    FigureCanvasAgg(figure).draw()
    words = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in words]
    ground = figure.bbox.padded(0.5)
    return [word for word, box in boxes if not (ground.contains(box.x0, box.y0) and ground.contains(box.x1, box.y1))]


def smallest_on_a_phone(figure: Any) -> float:
    """Pixels of the smallest letters where the figure is 362 pixels wide: 390 without the margins."""
    sizes = [float(text.get_fontsize()) for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    return min(sizes) * 362 / (72 * figure.get_figwidth())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_letters_are_large_enough_on_a_phone(cells: list[AttackCell], norm: str) -> None:
    figure = drawn(lines(cells, norm), paper_axis=norm == "linf")
    assert outside(figure) == []
    assert smallest_on_a_phone(figure) > 9


def test_many_networks_have_their_names_within_the_picture() -> None:
    names = ("VGG-OPU source", "VGG-OPU higher", "VGG-OPU lower", "VGG-DFA source", "VGG-16 AT")
    records = [dataclasses.replace(synthetic_study.training("VGG-OPU"), name=name) for name in names]
    with drawing_style():
        figure = figures.training(records)
        assert figure is not None
        assert outside(figure) == []


def test_a_name_too_long_for_its_room_goes_on_in_a_second_line(cells: list[AttackCell]) -> None:
    (line,) = [c for c in lines(cells, "l2") if c.rule == "dfa"]
    with drawing_style():
        figure = figures.accuracy([line], ["a name that is too long for it"], bands=True, paper_axis=False, chance=None)
        assert outside(figure) == []
    assert figure.axes[0].texts[0].get_text().count("\n") == 1


def test_rows_of_dots_have_their_names_and_titles_within_the_picture() -> None:
    kinds = [Series(name, INK, "o") for name in ("untouched", "paper's attacks", "worst case")]
    dots = tuple((kind.name, Proportion(3, 10)) for kind in kinds)
    rows = [DotRow(f"VGG-OPU AT, L∞ ε = {e}/255", (dots, dots, dots)) for e in ("6.38", "8")]
    titles = ["untouched", "L∞ ε = 6.38/255", "L∞ ε = 12.75/255"]
    with drawing_style():
        figure = dot_rows(rows, kinds, titles=titles, label="right (%)")
        assert outside(figure) == []
        above = [axes.title.get_window_extent() for axes in figure.axes]
    assert [axes.title.get_text() for axes in figure.axes][1:] == [
        "L∞\nε\u00a0=\u00a06.38/255",
        "L∞\nε\u00a0=\u00a012.75/255",
    ]
    assert all(not one.overlaps(other) for one, other in itertools.pairwise(above))
    assert smallest_on_a_phone(figure) > 9


def test_an_attacker_has_one_colour_and_one_marker_in_every_figure(cells: list[AttackCell]) -> None:
    seen: dict[str, set[tuple[str, str]]] = {}
    for norm in ("linf", "l2"):
        chosen = lines(cells, norm)
        curve_lines = [x for x in drawn(chosen).axes[0].lines if x.get_marker() not in ("None", None, "")]
        for line, curve in zip(chosen, curve_lines, strict=True):
            seen.setdefault(line.rule, set()).add((curve.get_color(), curve.get_marker()))
    assert all(len(looks) == 1 for looks in seen.values())
    # All but one meet in these figures: straight-through is of the ablation's network without a device.
    assert len({next(iter(looks)) for looks in seen.values()}) == len(ATTACKERS) - 1
    assert len({(ink(rule).light, marker(rule)) for rule in ATTACKER_INK}) == len(ATTACKERS) == len(ATTACKER_INK)
    assert len({marker(a.rule) for a in ATTACKERS}) == len(ATTACKERS)
    for shade in ("light", "dark"):
        assert len({getattr(ink, shade) for ink in ATTACKER_INK.values()}) == len(ATTACKERS)


def test_the_features_without_the_layer_are_hollow_and_have_a_marker_of_their_own(cells: list[AttackCell]) -> None:
    figured = [cell for cell in cells if not cell.is_control and cell.norm == "linf"]
    made = [dataclasses.replace(cell, model="VGG-DFA") for cell in figured if cell.rule == "bp"]
    chosen = curves([*figured, *made], norm="linf")
    figure = drawn(chosen, chance=None)
    found = {line.name: shown for line, shown in zip(chosen, figure.axes[0].lines, strict=False)}
    ours, plain, defended = (found[name] for name in ("VGG-DFA ← BP", "VGG-16 ← BP", "VGG-OPU ← DFA"))
    assert ours.get_markerfacecolor() == plain.get_markerfacecolor() == "white" != defended.get_markerfacecolor()
    assert ours.get_marker() != plain.get_marker()


def test_the_users_own_settings_change_nothing_and_come_back(cells: list[AttackCell], tmp_path: Path) -> None:
    chosen = lines(cells, "l2")[:2]

    def made(name: str) -> bytes:
        with drawing_style():
            figure = figures.accuracy(chosen, ["a", "b"], bands=True, paper_axis=False, chance=None)
            Folder(tmp_path / name).save("x", figure, alt="x", caption="x")
        return b"".join((tmp_path / name / f"x.{suffix}").read_bytes() for suffix in ("svg", "png"))

    plain = made("plain")
    with matplotlib.rc_context({"lines.linewidth": 9, "svg.hashsalt": "other", "xtick.direction": "in"}):
        assert made("odd") == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_on_the_page_a_figure_follows_the_theme(complete: Path) -> None:
    svg = (complete / "figures" / "figure-2.svg").read_text()
    shown = str(for_page(svg, "figure-2", 'what "it" shows'))
    for colour, (variable, _) in css_names().items():
        assert colour not in shown
        assert (colour in svg) == (f"var({variable})" in shown)
    assert shown.startswith('<svg role="img" aria-label="what &#34;it&#34; shows"')
    assert "viewBox" in shown
    assert ' width="' not in shown.split(">")[0]


def test_one_radius_alone_makes_a_figure() -> None:
    record = synthetic_study.attack("VGG-OPU", "dfa", eps=0.0, accuracy=0.5)[0]
    (line,) = curves([AttackCell.from_record(record)], norm="linf")
    assert drawn([line], paper_axis=True).axes[0].get_xlim()[1] > 0


def test_training_is_drawn_when_there_is_a_course() -> None:
    records = [synthetic_study.training(name) for name in synthetic_study.CLEAN]
    with drawing_style():
        figure = figures.training(records)
        assert figure is not None
        assert sorted(t.get_text() for t in figure.axes[0].texts) == [
            "VGG-16, test",
            "VGG-16, training",
            "VGG-OPU, test",
            "VGG-OPU, training",
        ]
        for record in records:
            record.result["epochs"] = record.result["epochs"][:1]
        assert figures.training(records) is None


def test_every_rule_of_the_contract_has_a_threat_model() -> None:
    rules = {
        "bp",
        "ste",
        "dfa",
        "dfa-fresh",
        "fa",
        "bpda-drawn",
        "bpda-fit-linear",
        "bpda-fit-network",
        "exact",
        "none",
    }
    assert {a.rule for a in ATTACKERS} == rules
    assert len({a.label for a in ATTACKERS}) == len(rules)
    for a in ATTACKERS:
        assert a.sentence.endswith(".")
        assert json.dumps(a.sentence).count(". ") == 0, "one sentence"
        assert a.knows
        assert a.costs
    assert attacker("retrieved").label == "retrieved"
