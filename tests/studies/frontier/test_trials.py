"""What a trial is, and what the recipe tries. Nothing is trained."""

from dataclasses import replace

import pytest

from groundglass.studies.asked import Asked
from groundglass.studies.engine.cell import key_of
from groundglass.studies.frontier.study import Trial, cells
from groundglass.studies.recipe import configure
from groundglass.studies.registry import find_study
from groundglass.training import Freezing, Growing
from groundglass.training.classifier import FINE_TUNING
from tests.studies.tiny import DATA, frontier, pictures

CONFIG = frontier()


def test_a_trial_says_in_its_name_all_that_it_changes():
    trial = Trial(
        width=0.5, batch_size=256, learning_rate=0.2, warmup=0.1, dropout=0.1, growing=Growing(start=0.75, until=0.4)
    )
    assert trial.label == "width 0.5, batches of 256, rate 0.2, warm-up 0.1, dropout 0.1, growing from 0.75 until 0.4"
    (cell,) = cells(replace(CONFIG, trials=(trial,)), DATA)
    assert (cell.spec.width, cell.spec.dropout, cell.training.schedule.warmup) == (0.5, 0.1, 0.1)
    assert (cell.training.batch_size, cell.training.learning_rate) == (256, 0.2)
    assert Trial().label == "standard"
    several = (Trial(growing=Growing()), Trial(growing=Growing(until=0.5)), Trial(freezing=Freezing()))
    assert len({one.label for one in several}) == 3


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_the_laptop_recipe(data):
    """The cheap trainings first, so that a run which is stopped has said most; VGG-OPU beside some of them."""
    config = configure(find_study("frontier"), "laptop", data=data, seed=0, precision="float32")
    made = cells(config, pictures(data, n_train=10, n_test=10))
    names = [cell.name for cell in made if cell.kind == "train"]
    assert len(set(names)) == len(names)
    assert len([name for name in names if name.startswith("VGG-16 ")]) == len(config.trials)
    assert names[0] == "VGG-16 width 0.25"
    placed = [cell for cell in made if cell.name.startswith("VGG-OPU ")]
    assert len(placed) == len([trial for trial in config.trials if trial.defended]) > 2
    for cell in placed:
        if data == "cifar100":
            assert cell.features.name == cell.name.replace("OPU", "DFA")
            assert cell.training == FINE_TUNING
        else:
            assert cell.credit == "hybrid-dfa"
    again = cells(config, pictures(data, n_train=10, n_test=10))
    assert [key_of(cell) for cell in made] == [key_of(cell) for cell in again]


def test_a_list_of_ones_own_by_set():
    asked = Asked.of(
        find_study("frontier"),
        "laptop",
        None,
        ["trials=[{width=0.5, epochs=30, growing={until=0.7}, augment={rotation=0}}]", "trials+={epochs=8}"],
        data="cifar10",
    )
    first, second = asked.config("float32").trials
    assert (first.width, first.epochs, first.growing.until, first.augment.rotation) == (0.5, 30, 0.7, 0.0)
    assert second == Trial(epochs=8)
