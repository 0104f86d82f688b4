"""Figures hold the numbers they are given, and no label lies on another or outside."""

import io
import itertools
import os
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from groundglass.core.statistics import Proportion
from groundglass.core.text import duration, visible
from groundglass.report.axes import declutter, new_axes, spread
from groundglass.report.drawing import Folder, drawing_style
from groundglass.report.figure import Curve, DotRow, Series, curves, dots, shares
from groundglass.report.style import OPEN, PLAIN, QUIET, of_attacker
from tests.report.collisions import collisions


@pytest.fixture(autouse=True)
def style() -> Any:
    with drawing_style():
        yield


def texts(figure: Any) -> list[Text]:
    return [one for one in figure.findobj(Text) if one.get_visible() and one.get_text().strip()]


def outside(figure: Any) -> list[str]:
    """The words of a figure that are not wholly within it."""
    collisions(figure)  # draws it
    ground = figure.bbox.padded(0.5)
    boxes = [(one.get_text(), one.get_window_extent()) for one in texts(figure)]
    return [word for word, box in boxes if not (ground.contains(box.x0, box.y0) and ground.contains(box.x1, box.y1))]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(1, 12)), min_size=1, max_size=8))
def test_spread_labels_overlap_nowhere_within_bounds_and_in_order(pairs: list[tuple[float, float]]) -> None:
    centres, heights = [list(column) for column in zip(*pairs, strict=True)]
    placed = spread(centres, heights, low=-8, high=108)
    order = sorted(range(len(pairs)), key=lambda i: (centres[i], i))
    for below, above in itertools.pairwise(order):
        assert placed[above] - placed[below] >= (heights[above] + heights[below]) / 2 - 1e-9
    assert all(placed[i] - heights[i] / 2 >= -8 - 1e-9 and placed[i] + heights[i] / 2 <= 108 + 1e-9 for i in order)


def test_labels_move_apart_by_equal_steps_and_stay_where_they_have_room() -> None:
    assert spread([20, 40, 60], [4, 19, 4], low=0, high=100) == pytest.approx([20, 40, 60])
    assert spread([51, 50], [4, 4], low=0, high=100) == pytest.approx([52.5, 48.5])
    assert spread([0, 0, 0], [4, 4, 4], low=0, high=100) == pytest.approx([2, 6, 10])


def test_labels_that_collide_are_found_and_tick_labels_are_parted() -> None:
    figure, axes = new_axes(left=0.1, right=0.9, bottom=0.1, top=0.9)
    axes.set_xticks([0.5, 0.505, 0.9], ["0.00784", "0.0157", "last"])
    assert collisions(figure) == [("0.0157", "0.00784")]
    declutter(figure)
    assert collisions(figure) == []
    assert {one.get_text() for one in axes.get_xticklabels() if one.get_visible()} == {"0.0157", "last"}
    axes.text(0.5, 0.5, "one")
    axes.text(0.51, 0.5, "two")
    assert collisions(figure) == [("two", "one")]


def test_curves_hold_their_shares_and_the_band_their_intervals() -> None:
    points = {0.0: Proportion(80, 100), 0.01: Proportion(30, 100)}
    (axes,) = curves([shares("DFA", points, of_attacker("dfa"), scale=255)], x="x", y="y").axes
    assert axes.lines[0].get_xydata().tolist() == [[0, 80], [pytest.approx(2.55), 30]]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (min(band), max(band)) == pytest.approx((100 * points[0.01].interval[0], 100 * points[0.0].interval[1]))


@pytest.mark.parametrize("n", [1, 3, 9])
def test_names_beside_curves_lie_within_the_picture_and_on_nothing(n: int) -> None:
    names = [*(f"name {i}" for i in range(n - 1)), "a name too long for its room"]
    above = ("paper's ε", {0: "0", 0.01: "0.01", 1: "1"})
    lines = [Curve(name, [0, 1], [90, 3], PLAIN) for name in names]
    figure = curves(lines, x="radius ε", y="accuracy (%)", above=above, level=("chance", 10))
    assert (collisions(figure), outside(figure)) == ([], [])
    assert {one.get_text() for one in figure.axes[1].get_xticklabels() if one.get_visible()} >= {"1"}
    smallest = min(one.get_fontsize() for one in texts(figure)) * 362 / (72 * figure.get_figwidth())
    assert smallest > 9, "pixels on a phone"


@pytest.mark.parametrize("low", [1e-5, 0.3])
def test_logarithmic_axes_have_units_and_no_label_on_another(low: float) -> None:
    ticks = {2**k: f"{2**k:,}" for k in range(8, 21)}
    lines = [Curve(name, list(ticks), [low * n / 256 for n in ticks], PLAIN) for name in ("a", "b")]
    axes = {"x_log": True, "y_log": True, "x_ticks": ticks, "y_write": duration}
    figure = curves(lines, x="N", y="time", y_range=None, left=0.21, **axes)
    assert collisions(figure) == []
    assert min(one.get_window_extent().x0 for one in texts(figure)) > 0
    shown = [one.get_text() for one in figure.axes[0].get_xticklabels() if one.get_visible()]
    assert (shown[-1], len(shown) < len(ticks)) == ("1,048,576", True)
    assert len({one.get_text() for one in figure.axes[0].get_yticklabels()} & {"100 µs", "10 ms", "1 s", "10 s"}) >= 1


def test_dots_hold_their_shares_and_names_collide_nowhere() -> None:
    series = [Series("clean", QUIET), Series("the claim's attacks", OPEN), Series("worst case", PLAIN)]
    panel = tuple((one.name, Proportion(10 * i, 40)) for i, one in enumerate(series))
    rows = [DotRow(f"VGG-OPU AT, L∞ ε = {e}/255", (panel, panel, panel)) for e in ("6.38", "8")]
    figure = dots(rows, series, x="right (%)", titles=["clean", "L∞ ε = 6.38/255", "L∞ ε = 12.75/255"])
    assert (collisions(figure), outside(figure)) == ([], [])
    markers = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", None)]
    assert [line.get_xdata()[0] for line in markers] == [0, 25, 50] * 2
    assert [line.get_markerfacecolor() for line in markers[:3]] == ["white", "white", PLAIN.ink.light]


def test_a_dollar_in_a_name_begins_no_formula() -> None:
    name = "a $x_1$ b"
    row, series = DotRow(name, (((name, Proportion(1, 2)),),)), [Series(name, PLAIN)]
    for figure in (curves([Curve(name, [0, 1], [1, 2], PLAIN)], x=name, y=name), dots([row], series, x=name)):
        assert [one.get_parse_math() for one in texts(figure) if "$" in one.get_text()] == [False] * 3


HOSTILE = ["$\\frac{$", "a\x1b[31m\x00b", "<script>alert(1)</script>--><x>", "\udcff", "猫 $x$", "[bold]"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_in_figures_are_text_whatever_they_are(name: str, tmp_path: Any) -> None:
    share = Proportion(1, 3)
    made = {
        "curves": curves(
            [Curve(name, [0, 1], [0, 50], PLAIN)], x=name, y=name, level=(name, 20), above=(name, {1: name})
        ),
        "dots": dots([DotRow(name, ((("s", share),),))], [Series("s", OPEN)], x=name, titles=[name]),
        "key": dots([DotRow("a", (((name, share), ("s", share)),))], [Series(name, OPEN), Series("s", PLAIN)], x="x"),
    }
    for what, figure in made.items():
        drawing = Folder(tmp_path).save(what, lambda figure=figure: figure, alt=name, caption=name)
        root = ElementTree.fromstring((tmp_path / f"{what}.svg").read_bytes())
        assert not [one for one in root.iter() if "script" in str(one.tag)]
        assert "<script" not in drawing.svg
        assert "\x1b" not in drawing.svg
    shown = "".join(one.get_text() for one in texts(made["curves"]))
    assert visible(name).split()[0] in shown


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "backend", ["module://matplotlib_inline.backend_inline", "module://nowhere", "nonsense", "qtagg"]
)
def test_figures_need_no_backend_and_leave_the_users_choice(backend: str) -> None:
    code = (
        "import os; from groundglass.core.plots import load_matplotlib; from groundglass.report.style import rc_params\n"
        "m = load_matplotlib(); from matplotlib.figure import Figure; Figure().savefig('/dev/null', format='svg')\n"
        f"assert os.environ['MPLBACKEND'] == {backend!r}\n"
        f"assert 'nonsense' in {backend!r} or 'inline' in {backend!r} or m.rcParams['backend'] == {backend!r}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "MPLBACKEND": backend}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_users_settings_change_no_figure_and_are_back_afterwards() -> None:
    import matplotlib

    odd = {
        "text.usetex": True,
        "svg.fonttype": "none",
        "savefig.bbox": "tight",
        "path.sketch": (1, 100, 2),
        "savefig.dpi": 10,
    }
    odd |= {"font.size": 3, "axes.formatter.use_locale": True, "figure.constrained_layout.use": True}

    def picture() -> bytes:
        with drawing_style():
            out = io.BytesIO()
            curves([Curve("a", [0, 1], [0, 50], PLAIN)], x="x", y="y").savefig(
                out, format="svg", metadata={"Date": None}
            )
        return out.getvalue()

    plain = picture()
    with matplotlib.rc_context(odd):
        before = dict(matplotlib.rcParams)
        assert picture() == plain
        assert dict(matplotlib.rcParams) == before
