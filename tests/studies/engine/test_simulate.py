"""Makespans with known answers."""

import random

import pytest

from groundglass.studies.engine.forecast import Forecast
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.simulate import Timed, bound, longest_chain, remaining, simulate


def test_one_worker_takes_the_sum_and_many_the_longest_chain() -> None:
    cells = [Timed("a", 2), Timed("b", 3, ("a",)), Timed("c", 4), Timed("d", 1, ("b", "c"))]
    assert simulate(cells, 1) == bound(cells, 1) == 10
    assert simulate(cells, 2) == bound(cells, 2) == 6
    assert simulate(cells, 9) == bound(cells, 9) == 6
    assert [cell.key for cell in longest_chain(cells)] == ["a", "b", "d"]
    assert remaining(cells) == {"a": 6, "b": 4, "c": 5, "d": 1}


def test_the_longest_first_is_sooner_than_the_plans_order() -> None:
    cells = [*(Timed(f"short {i}", 1) for i in range(4)), Timed("long", 4)]
    assert simulate(cells, 2) == 6
    assert simulate(cells, 2, priority=remaining(cells)) == bound(cells, 2) == 4


def test_a_forecast_is_by_the_rule_of_the_engine_few_workers_take_the_plans_order() -> None:
    cells = (*(Timed(f"short {i}", 1) for i in range(6)), Timed("long", 4))
    one = Forecast("toys", "tiny", "shapes", Plan(()), cells, jobs=4, nodes=1, threads=1, speeds={})
    assert one.wall(2) == (simulate(cells, 2), 5) == (7, 5)
    assert one.wall(3) == (simulate(cells, 3, priority=remaining(cells)), 4) == (4, 4)


def test_inputs_that_are_there_are_not_waited_for() -> None:
    assert simulate([Timed("b", 3, ("a",))], 1) == 3
    assert simulate([], 3) == bound([], 3) == 0
    assert longest_chain([]) == []


def test_a_cell_that_measures_time_has_a_computer_to_itself() -> None:
    timing = [Timed("t1", 5, alone=True), Timed("t2", 5, alone=True), Timed("after", 1, ("t1",))]
    cells = [*timing, Timed("a", 3), Timed("b", 3)]
    # Both others first, then each in turn; what needs the first waits for no other than that it needs.
    assert simulate(cells, 2) == 3 + 5 + 1 + 5
    # Two computers: they do not disturb each other.
    assert simulate(cells, 4, nodes=2) == 3 + 5 + 1
    with pytest.raises(ValueError, match="2 workers"):
        simulate(cells, 2, nodes=3)


def test_no_order_beats_the_bound_and_list_scheduling_is_within_twice_of_it() -> None:
    draw = random.Random(3)
    for _ in range(50):
        count = draw.randrange(1, 40)
        cells = [
            Timed(str(i), draw.uniform(0, 5), tuple(str(draw.randrange(i)) for _ in range(draw.randrange(3)) if i))
            for i in range(count)
        ]
        workers = draw.randrange(1, 9)
        for priority in (None, remaining(cells)):
            found = simulate(cells, workers, priority=priority)
            # Graham 1966: within 2 - 1 / workers of the best.
            assert bound(cells, workers) * (1 - 1e-9) <= found <= bound(cells, workers) * 2
