"""Labels of the price curve, methods with two rows, and folders that end anywhere."""

from pathlib import Path

import pytest

from groundglass.old_report.page import build
from groundglass.old_report.retrieval import RetrievalSection
from groundglass.old_report.retrieval_attacks import Radius, read_radii
from groundglass.old_report.retrieval_price_figure import dot_names
from groundglass.old_report.retrieval_reading import read_retrievals
from tests.old_report import synthetic_retrieval as synthetic
from tests.old_report.synthetic_retrieval import NEEDED, Made, attacks, price, retrieve, with_u
from tests.old_report.test_page import Reader
from tests.old_report.test_retrieval_section import context, study

# Decades of the error axis in a point of type: about as on the page.
DECADES = 0.02


def radius(folder: Path, made: list[Made]) -> Radius:
    found = study(synthetic.write(folder, made))
    return read_radii(found, read_retrievals(found))[0]


def priced(points: dict[float, tuple[float, float]]) -> list[Made]:
    """frames / N -> error, accuracy left."""
    return [
        one
        for per_input, (error, left) in points.items()
        for one in with_u(retrieve("price", per_input, error=error), left, left)
    ]


def test_close_dots_share_a_label_and_periods_have_none(tmp_path: Path) -> None:
    points = {2.0: (0.9, 0.7), 3.0: (0.3, 0.25), 4.0: (0.1, 0.22)}
    points |= {k: (e, 0.21) for k, e in ((8.0, 0.0048), (12.0, 0.0039), (16.0, 0.0031), (24.0, 0.0022))}
    between = [
        one
        for seconds, error in ((3.0, 0.0045), (4.0, 0.0036), (5.0, 0.0028), (6.0, 0.0024), (60.0, 0.002))
        for one in with_u(synthetic.period(seconds, error, 0.0), 0.21, 0.01)
    ]
    at = radius(tmp_path, [*priced(points), *between])
    names = dot_names(at.retrieved, DECADES)
    assert [name.text for name in names] == ["8–24 N", "4 N", "3 N", "2 N"]
    assert 0.22 < names[0].x < 0.48
    assert dot_names([one for one in at.retrieved if one.retrieval and one.retrieval.period], DECADES) == []


def test_dots_far_apart_in_height_keep_their_own_labels(tmp_path: Path) -> None:
    at = radius(tmp_path, priced({4.0: (0.005, 0.6), 8.0: (0.0045, 0.2)}))
    assert {name.text for name in dot_names(at.retrieved, DECADES)} == {"4 N", "8 N"}


def test_a_label_stands_above_the_dots_of_periods(tmp_path: Path) -> None:
    hidden = with_u(synthetic.period(6.0, 0.0031, 0.0), 0.25, 0.02)
    alone = radius(tmp_path / "a", priced({8.0: (0.003, 0.21)}))
    beside = radius(tmp_path / "b", [*priced({8.0: (0.003, 0.21)}), *hidden])
    (low,), (high,) = (dot_names(at.retrieved, DECADES) for at in (alone, beside))
    assert low.top < high.top
    assert high.top == pytest.approx(100 * max(one.robust.interval[1] for one in beside.retrieved))


def test_a_method_with_two_rows_is_named_once(tmp_path: Path) -> None:
    exposed = [retrieve("method", k, n=256, m=256, method="closed-form", exposure_control=True) for k in (3.0, 12.0)]
    folder = synthetic.write(tmp_path, [retrieve("method", 12.0, n=256, m=256), *exposed])
    words = Reader(build(folder, sections=[RetrievalSection()]).read_text()).text
    assert "closed-form: the attacker must set the camera's exposure, which whoever" in words
    assert "closed-form, closed-form" not in words
    assert "fewer frames, but" not in words


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 12, 16, 20, 26, 30, 40, 55])
def test_the_first_records_of_a_run_have_a_page(tmp_path: Path, count: int) -> None:
    page = Reader(build(synthetic.write(tmp_path, synthetic.everything()[:count])).read_text())
    assert page.open == []
    assert page.text.count("None") == 0


def test_no_period_with_enough_frames_before_the_run_is_over_is_called_too_short(tmp_path: Path) -> None:
    found = context(tmp_path, [price(12.0), *attacks(NEEDED)], periods=(0.5, 60.0))
    assert [row.lacks for row in found["periods"]] == ["too few frames", "not done yet"]
