"""Query attacks as the report reads them: the curve, the counts, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundglass.core import DamagedFileError
from groundglass.core.statistics import Proportion
from groundglass.old_report.queries import QueryCell, ball_name, ordered, success_curve
from tests.old_report import synthetic_queries


def arrays(images: list[tuple[bool, bool, int, int]]) -> dict[str, np.ndarray]:
    names = ("clean_correct", "success", "loss_queries", "check_queries")
    return {name: np.array([image[i] for image in images]) for i, name in enumerate(names)}


def test_the_curve_of_five_images_by_hand() -> None:
    curve = success_curve(
        arrays(
            [
                (True, True, 100, 3),  # fooled by 103 queries: checks count
                (True, True, 90, 13),  # the same
                (True, False, 900, 100),  # withstood the whole budget
                (False, False, 0, 1),  # wrong at first: in no count at all
                (True, True, 999, 1),  # fooled by the last query
            ]
        ),
        1000,
    )
    assert curve.queries == (0, 103, 1000)
    assert curve.fooled == (0, 2, 3)
    assert curve.total == 4
    assert [curve.at(q) for q in (0, 102, 103, 104, 999, 1000, 10**9)] == [0, 0, 2, 2, 2, 3, 3]


def test_what_is_no_success_is_not_counted() -> None:
    late = arrays([(True, True, 1000, 1), (False, True, 5, 1), (True, False, 5, 1)])
    curve = success_curve(late, 1000)
    assert (curve.queries, curve.fooled, curve.total) == ((0, 1000), (0, 0), 2)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 50), st.integers(1, 50)), max_size=30))
def test_a_curve_rises_to_what_was_fooled(images: list[tuple[bool, bool, int, int]]) -> None:
    curve = success_curve(arrays(images) if images else arrays([(False, False, 0, 1)]), 60)
    assert list(curve.queries) == sorted(set(curve.queries))
    assert list(curve.fooled) == sorted(curve.fooled)
    assert (curve.queries[0], curve.fooled[0], curve.queries[-1]) == (0, 0, 60)
    for budget in range(0, 61, 7):
        assert curve.at(budget) == sum(right and fooled and a + b <= budget for right, fooled, a, b in images)


def test_images_wrong_at_first_are_in_no_denominator() -> None:
    cell = QueryCell.from_record(synthetic_queries.query("VGG-OPU", "Square", fooled=41, right=82, n=200)[0])
    assert cell.success == Proportion(41, 82)
    assert {p.total for _, p in cell.success_at if p} == {82}
    assert (cell.attacked, cell.wrong_before) == (82, 118)


def test_nothing_right_at_first_is_no_rate() -> None:
    cell = QueryCell.from_record(synthetic_queries.query("VGG-OPU", "Square", fooled=0, right=0)[0])
    assert cell.success is None
    assert [p for _, p in cell.success_at] == [None] * 3
    assert cell.median is None


def test_a_budget_that_is_no_milestone_is_the_last_column() -> None:
    made, _ = synthetic_queries.query("VGG-OPU", "Square", fooled=30, median=100, budget=2000)
    made.result["success_at"] = [[1000, 28], [5000, 30], [15000, 30]]
    cell = QueryCell.from_record(made)
    assert cell.success_at == ((1000, Proportion(28, 82)), (2000, Proportion(30, 82)))


@pytest.mark.parametrize(
    "wrong", [{"fooled": 83}, {"clean_correct": 101}, {"fooled": -1}, {"mean_queries": "many"}, {"success_at": None}]
)
def test_impossible_records_are_named(wrong: dict[str, Any]) -> None:
    made, _ = synthetic_queries.query("VGG-OPU", "Square", fooled=41)
    made.result.update(wrong)
    with pytest.raises(DamagedFileError, match="VGG-OPU <- Square"):
        QueryCell.from_record(made)


def test_order_is_baseline_first_and_the_papers_attacks_before_others() -> None:
    names = [("VGG-OPU", "Square"), ("VGG-OPU", "NES"), ("VGG-16", "RayS"), ("VGG-16", "Later"), ("VGG-16", "Bandits")]
    cells = [QueryCell.from_record(synthetic_queries.query(*name, fooled=1)[0]) for name in names]
    assert [(c.model, c.attack) for c in ordered(cells)] == [
        ("VGG-16", "Bandits"),
        ("VGG-16", "RayS"),
        ("VGG-16", "Later"),
        ("VGG-OPU", "NES"),
        ("VGG-OPU", "Square"),
    ]


def test_radii_are_said_as_the_paper_says_them() -> None:
    assert ball_name("linf", 8 / 256) == "L∞ ε = 8/256"
    assert ball_name("linf", 8 / 255) == "L∞ ε = 8/255"
    assert ball_name("l2", 0.5) == "L2 ε = 0.5"
    assert ball_name("linf", 1.0) == "L∞ ε = any image"
