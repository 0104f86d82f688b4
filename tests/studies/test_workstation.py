"""The recipe `workstation`: what it plans, and what it costs. Nothing is trained."""

from dataclasses import replace
from functools import cache

import pytest

from groundglass.studies import find_study
from groundglass.studies.cells.network import PlaceCell, TrainCell
from groundglass.studies.engine.cell import key_of
from groundglass.studies.engine.estimate import timed
from groundglass.studies.engine.plan import Plan
from groundglass.studies.engine.run import _check_names as check_names
from groundglass.studies.recipe import configure
from groundglass.studies.workstation import CORE_HOURS, EPOCHS, LOWER_EPOCHS, REPEATED, SEEDS, WIDTH
from tests.studies.tiny import pictures

DATA = ("cifar10", "cifar100")
STUDIES = ("white-box", "black-box", "transfer", "redraw", "ablation", "defences")


def config(study, data, recipe="workstation", seed=0):
    return configure(find_study(study), recipe, data=data, seed=seed, precision="bfloat16")


@cache
def plan(study, data, recipe="workstation", seed=0):
    return find_study(study).cells(config(study, data, recipe, seed), pictures(data, n_train=10, n_test=10))


def seconds(cells):
    return sum(cell.seconds for cell in timed(Plan.of(cells)).values())


@pytest.mark.parametrize("data", DATA)
def test_all_six_studies_share_their_networks(data):
    cells = plan("all", data)
    check_names(cells)
    keys = {key_of(cell) for cell in cells}
    assert set(config("all", data).studies) == set(STUDIES)
    for study in STUDIES:
        own = {key_of(cell) for cell in plan(study, data)}
        assert own <= keys, study
    sources = [cell for cell in cells if cell.name == "VGG-16 source"]
    assert len(sources) == 1


@pytest.mark.parametrize("data", DATA)
def test_networks_are_those_of_the_one_schedule(data):
    trained = {cell.name: cell for cell in plan("all", data) if isinstance(cell, TrainCell)}
    hard = {name for name, cell in trained.items() if cell.training.adversarial}
    assert hard == {name for name in trained if name.endswith((" AT", " TRADES"))}
    for name, cell in trained.items():
        assert cell.spec.width == WIDTH[data], name
        assert (cell.training.label_smoothing > 0) == (name not in hard), "which adversarial training refuses"
        if name not in hard and "smoothed" not in name:
            assert cell.training.epochs == (LOWER_EPOCHS if name.endswith("lower") else EPOCHS)[data], name
    defended = next(cell for cell in plan("white-box", data) if cell.name == "VGG-OPU")
    assert isinstance(defended, PlaceCell if data == "cifar100" else TrainCell)


@pytest.mark.parametrize("data", DATA)
def test_sizes_are_those_at_which_claims_are_decided(data):
    white, black, transfer = (config(name, data) for name in ("white-box", "black-box", "transfer"))
    assert white.n_images == 1000
    assert (black.n_images, black.budget, black.choice_images) == (400, 15_000, 100)
    assert transfer.n_images >= 1500, "of which about 1,000 are right on all networks"


@pytest.mark.parametrize("data", DATA)
def test_the_other_seeds_repeat_what_the_first_did(data):
    """White-box and transfer alone: the same cells by another seed, which a table puts beside those of the first."""
    first = {key_of(cell): cell.name for cell in plan("all", data)}
    again = {key_of(cell): cell.name for cell in plan("all", data, "workstation-seeds")}
    other = {key_of(cell): cell.name for cell in plan("all", data, "workstation-seeds", seed=1)}
    assert again.items() <= first.items()
    assert sorted(other.values()) == sorted(again.values())
    shared = {cell.kind for cell in plan("all", data, "workstation-seeds") if key_of(cell) in other}
    assert shared == {"device"}, "which draws its U from the folder's own secret"
    assert set(config("all", data, "workstation-seeds").studies) == set(REPEATED)


def test_a_plan_that_is_made_again_has_the_same_keys():
    for data in DATA:
        first = [key_of(cell) for cell in plan("all", data)]
        again = find_study("all").cells(config("all", data), pictures(data, n_train=10, n_test=10))
        assert [key_of(cell) for cell in again] == first


def test_all_records_together_stay_within_what_they_may_cost():
    once = sum(seconds(plan("all", data)) for data in DATA)
    again = sum(seconds(plan("all", data, "workstation-seeds", seed=1)) for data in DATA)
    total = (once + (SEEDS - 1) * again) / 3600
    assert 0.5 * CORE_HOURS < total < CORE_HOURS


def test_the_plan_knows_that_small_images_and_still_layers_cost_less():
    """A third less than as many whole epochs: what the recipe's schedule is for."""
    (cell,) = (cell for cell in plan("white-box", "cifar10") if cell.name == "VGG-16")
    whole = replace(cell, training=replace(cell.training, growing=None, freezing=None))
    assert 0.55 < seconds([cell]) / seconds([whole]) < 0.75
