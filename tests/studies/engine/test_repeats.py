"""A study's cells again: other seeds, devices and names, and nothing of the first repeat below them."""

from dataclasses import replace

import pytest

from groundglass.results.repeats import repeat_name, repeat_of
from groundglass.studies import find_study
from groundglass.studies.cells.network import DeviceCell, TrainCell
from groundglass.studies.engine.cell import key_of, with_inputs
from groundglass.studies.engine.repeats import repeated
from groundglass.studies.engine.run import _check_names as check_names
from groundglass.studies.kit import targets
from tests.studies.tiny import DATA, MAKERS

#: Studies whose cells have cells in all kinds of places: alone, in tuples, as a network's features.
STUDIES = ("white-box", "retrieval", "transfer", "adversarial-training")


def planned(study):
    return find_study(study).cells(MAKERS[study](), DATA)


def keys(cells):
    return [key_of(cell) for cell in cells]


@pytest.mark.parametrize("study", STUDIES)
def test_the_first_are_the_cells_themselves_and_the_others_are_all_new(study):
    first = planned(study)
    every = repeated(first, 3)
    assert all(one is other for one, other in zip(first, every, strict=False))
    assert len(every) == 3 * len(first)
    parts = [set(keys(every[i : i + len(first)])) for i in range(0, len(every), len(first))]
    assert [len(part) for part in parts] == [len(parts[0])] * 3
    assert len(set.union(*parts)) == 3 * len(parts[0])
    assert keys(repeated(first, 1)) == keys(first)


@pytest.mark.parametrize("study", STUDIES)
def test_what_is_below_a_repeat_is_of_that_repeat(study):
    first = planned(study)
    again = repeated(first, 2)[len(first) :]
    closed = with_inputs(again)
    assert {key_of(cell) for cell in closed} == set(keys(again)), "nothing of the first"
    check_names(list({key_of(cell): cell for cell in [*first, *again]}.values()))
    for one, other in zip(first, again, strict=True):
        assert [cell.kind for cell in one.inputs] == [cell.kind for cell in other.inputs]


def test_seeds_devices_and_names_are_the_next_ones():
    plain, defended = targets(MAKERS["white-box"](seed=4), DATA)
    _, _, *others = repeated([plain, defended], 3)
    assert [cell.seed for cell in others] == [5, 5, 6, 6]
    assert [cell.name for cell in others] == [f"{name} repeat {n}" for n in (2, 3) for name in ("VGG-16", "VGG-OPU")]
    assert [cell.device.owner for cell in others[1::2]] == ["repeat 2", "repeat 3"]
    whose = replace(defended.device, owner="attacker")
    assert [cell.owner for cell in repeated([whose], 2)] == ["attacker", "attacker repeat 2"]
    # All that makes it what it is, is as it was.
    assert replace(others[1], name="VGG-OPU", seed=4, device=defended.device) == defended


def test_what_two_cells_share_stays_shared():
    plain, defended = targets(MAKERS["white-box"](), DATA)
    first = with_inputs([plain, defended, replace(defended, name="another")])
    _, device, one, another = repeated(first, 2)[len(first) :]
    assert isinstance(device, DeviceCell)
    assert isinstance(one, TrainCell)
    assert one.device is another.device is device


def test_a_name_says_its_repeat():
    for name, number in (("VGG-16", 0), ("VGG-OPU AT", 1), ("of repeat of", 4)):
        assert repeat_of(repeat_name(name, number)) == (name, number)
    assert (repeat_name("VGG-16", 0), repeat_name("VGG-16", 1)) == ("VGG-16", "VGG-16 repeat 2")
    assert repeat_of("VGG-16 repeat two") == ("VGG-16 repeat two", 0)
