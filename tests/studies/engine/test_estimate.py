"""Estimates grow with the work as they should, and are as good on a committed run as is said."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from groundglass.models.vgg import multiplications, vgg16
from groundglass.results import Record, Run, cell_key
from groundglass.results.kinds import KINDS
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.network import TrainCell
from groundglass.studies.engine.cell import Cell, as_json, key_of
from groundglass.studies.engine.estimate import OF_A_CELL, USUAL, measured, priority, timed
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.work import WORK, passes
from groundglass.studies.recipe import configure
from groundglass.studies.registry import find_study
from tests.studies.tiny import pictures

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    config = configure(find_study("white-box"), "quick", data="shapes", seed=0, precision="float32")
    return find_study("white-box").cells(config, pictures("shapes", n_train=10, n_test=10))


def seconds(cell: Cell, below: tuple[Cell, ...] = ()) -> float:
    plan = Plan.of([*below, cell])
    return timed(plan)[key_of(cell)].seconds


def test_every_kind_has_its_work() -> None:
    assert WORK.keys() == KINDS.keys()


@pytest.mark.parametrize(("width", "size"), [(0.25, None), (0.1, (20, 24))])
def test_multiplications_are_those_of_the_network(width: float, size: tuple[int, int] | None) -> None:
    network = vgg16(width, classes=3, mean=(0.5,) * 3, std=(1.0,) * 3, size=size, seed=0).eval()
    counted = 0

    def count(layer: nn.Module, given: Any, found: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, nn.Conv2d)
        counted += layer.weight.numel() * found.shape[2] * found.shape[3]

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    network(torch.zeros(1, 3, *(size or (32, 32)), dtype=torch.float32))
    assert multiplications(width, size=size) == counted


def test_twice_the_work_is_twice_the_time(cells: list[Cell]) -> None:
    trained = next(cell for cell in cells if isinstance(cell, TrainCell))
    longer = replace(trained, training=replace(trained.training, epochs=2 * trained.training.epochs))
    wider = replace(trained, spec=replace(trained.spec, width=4 * trained.spec.width))
    assert seconds(longer) == pytest.approx(2 * seconds(trained), rel=0.1)
    assert seconds(wider) == pytest.approx(16 * seconds(trained), rel=0.2)
    attacked = next(
        cell for cell in cells if isinstance(cell, AttackCell) and cell.rule == "bp" and cell.purpose == "figure"
    )
    more = replace(attacked, n_images=100 * attacked.n_images, smaller=None)
    begin = seconds(replace(attacked, n_images=1, smaller=None), (trained,))
    assert seconds(more, (trained,)) - begin == pytest.approx(
        100 * (seconds(replace(attacked, smaller=None), (trained,)) - begin), rel=0.2
    )
    # It is the network's work: a wider one takes longer to attack.
    on_wider = replace(attacked, target=wider, n_images=5000, smaller=None)
    on_this = replace(attacked, n_images=5000, smaller=None)
    assert seconds(on_wider, (wider,)) > 8 * seconds(on_this, (trained,))


def test_a_plan_has_all_its_cells_and_longer_chains_are_more_urgent(cells: list[Cell]) -> None:
    urgent = priority(Plan.of(cells))
    assert urgent.keys() == {key_of(cell) for cell in cells}
    for cell in cells:
        for needed in cell.inputs:
            assert urgent[key_of(needed)] > urgent[key_of(cell)]


def test_an_earlier_run_says_how_long_its_cells_take_and_their_like(cells: list[Cell]) -> None:
    plan = Plan.of(cells)
    usual = timed(plan)
    some = [cell for cell in cells if cell.kind == "train"]
    assert len(some) > 1
    first = some[0]
    known = recorded(first, 3 * usual[key_of(first)].seconds)
    assert known.key == key_of(first)
    found = timed(plan, like=[known])
    assert found[known.key].seconds == known.seconds
    for other in cells:
        # Of a kind that has no record there, as all that has.
        assert found[key_of(other)].seconds == pytest.approx(3 * usual[key_of(other)].seconds)


def recorded(cell: Cell, seconds: float) -> Record:
    return record(cell.kind, as_json(cell.config()), tuple(map(key_of, cell.inputs)), seconds)


def record(kind: str, config: dict[str, Any], inputs: tuple[str, ...], seconds: float) -> Record:
    key, finished = cell_key(kind, config, inputs), "2026-01-01T00:00:00+00:00"
    return Record(
        key=key, kind=kind, name="a", config=config, inputs=inputs, result={}, seconds=seconds, finished=finished
    )


def test_cells_of_a_kind_of_your_own_take_a_moment() -> None:
    mine = record("mine", {}, (), 7.0)
    assert USUAL.seconds(passes(Plan.of_records([mine]), mine.key)) == 1


def test_nine_of_ten_cells_of_a_committed_run_are_as_near_as_is_said() -> None:
    run = Run.open(REPOSITORY / "docs" / "results" / "full-width")
    plan = Plan.of_records(run.records)
    ratios = sorted(r.seconds / USUAL.seconds(passes(plan, r.key)) for r in run.records if r.seconds >= 1)
    assert len(ratios) > 40
    scale = ratios[len(ratios) // 2]
    within = [r for r in ratios if 1 / OF_A_CELL <= r / scale <= OF_A_CELL]
    assert len(within) >= 0.9 * len(ratios)


def test_the_speed_of_this_machine_leaves_its_threads() -> None:
    threads = torch.get_num_threads()
    found = measured(0.05, size=(8, 8), threads=1, seconds=0)
    assert min(vars(found).values()) > 0
    assert torch.get_num_threads() == threads
