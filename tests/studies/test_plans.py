"""The plans of the recipes: what each study trains, attacks and shares. Nothing is run."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from groundglass.studies import STUDIES, find_study
from groundglass.studies.cells.network import DeviceCell, TrainCell
from groundglass.studies.engine.cell import key_of
from groundglass.studies.engine.run import _check_names as check_names
from groundglass.studies.recipe import configure, find_recipe
from tests.studies.tiny import DATA, pictures


def trainings(cells):
    """Networks by name. A plan with two of one name is refused, as a run refuses it."""
    check_names(cells)
    return {cell.name: cell for cell in cells if cell.kind == "train"}


@cache
def plan(study, data, recipe="laptop"):
    config = configure(find_study(study), recipe, data=data, seed=0, precision="float32")
    return find_study(study).cells(config, pictures(data, n_train=10, n_test=10))


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_the_laptop_recipe_does_every_study_and_trains_each_network_once(data):
    cells = plan("all", data)
    networks, keys = trainings(cells), {key_of(cell) for cell in cells}
    apart = {study.name for study in STUDIES if not find_recipe(study, "laptop").in_all}
    assert apart == {"defences", "layer", "frontier"}, "on fewer images, and three times; sweeps"
    for study in STUDIES:
        if study.name not in apart:
            assert {key_of(cell) for cell in plan(study.name, data)} <= keys, study.name
    # What is shared is one cell: the same weights under three studies' names for them.
    for name in ("VGG-OPU higher", "BIN", "RP", "OPU", "OPU M=500", "VGG-OPU 1024x8000", "VGG-OPU 1024x32000"):
        assert key_of(networks[name].features) == key_of(networks["VGG-DFA"]), name
    whole = {"VGG-OPU"} if data == "cifar10" else set()
    long = {cell.name for cell in networks.values() if isinstance(cell, TrainCell) and not cell.training.adversarial}
    others = {"VGG-16 lower", "VGG-DFA", "VGG-DFA lower", "VGG-DFA source", "DFA N=64", "DFA N=512", "VGG-DFA N=2048"}
    assert long == {"VGG-16", "VGG-16 source"} | whole | others
    hard = {cell.name: cell.training.epochs for cell in networks.values() if cell.training.adversarial}
    assert hard == {"VGG-16 AT": 12, "VGG-OPU AT" if whole else "VGG-DFA AT": 12}
    audits = [cell.name for cell in cells if cell.kind == "audit"]
    assert len(set(audits)) == len(audits)


@pytest.mark.parametrize(("data", "expected"), [("cifar10", 0), ("cifar100", 8)])
def test_a_vgg_opu_in_two_stages_is_attacked_beside_its_features_alone(data, expected):
    """They are all of it but the layer: what they keep, the layer has not bought."""
    cells = plan("white-box", data)
    attacks = [cell for cell in cells if cell.kind == "attack" and cell.config().purpose != "control"]
    alone, defended = ([c for c in attacks if c.target.name == name] for name in ("VGG-DFA", "VGG-OPU"))
    assert [cell.rule for cell in alone] == ["bp"] * expected
    of_dfa = {(cell.norm, cell.eps, cell.n_images) for cell in defended if cell.rule == "dfa"}
    assert {(cell.norm, cell.eps, cell.n_images) for cell in alone} == (of_dfa if expected else set())
    assert {key_of(c.target) for c in alone} == {key_of(c.target.features) for c in defended if expected}
    assert len([cell for cell in cells if cell.kind == "audit"]) == (3 if expected else 2)


def test_the_long_trainings_come_early_and_the_white_box_study_first():
    cells = plan("all", "cifar10")
    place = {key_of(cell): position for position, cell in enumerate(cells)}
    last = {study: max(place[key_of(cell)] for cell in plan(study, "cifar10")) for study in ("white-box", "transfer")}
    hard = [place[key_of(cell)] for cell in cells if cell.name in ("VGG-16 AT", "VGG-OPU AT")]
    assert last["white-box"] < min(hard) < max(hard) < last["white-box"] + 3 < last["transfer"]
    for position, cell in enumerate(cells):
        assert all(place[key_of(one)] < position for one in cell.inputs), cell.name


def test_the_full_width_differs_from_the_laptop_recipe_in_width_alone():
    ours, theirs = (trainings(plan("white-box", "cifar10", name)) for name in ("full-width", "laptop"))
    assert ours.keys() == theirs.keys()
    for name, cell in ours.items():
        assert cell.spec.width == 1
        assert replace(cell, spec=replace(cell.spec, width=0.25)) == theirs[name]
    rules = {cell.rule for cell in plan("white-box", "cifar10", "full-width") if cell.kind == "attack"}
    assert rules == {"bp", "none", "dfa-fresh", "fa", "bpda-drawn", "dfa", "bpda-fit-linear", "exact"}


def test_quick_leaves_out_what_would_make_it_slow():
    config = configure(find_study("all"), "quick", data=None, seed=0, precision="float32")
    assert {study.name for study in STUDIES} - set(config.studies) == {
        "ablation",
        "layer",
        "frontier",
        "scale",
        "adversarial-training",
    }
    transfer = {"VGG-DFA", "VGG-OPU higher", "VGG-DFA lower", "VGG-OPU lower", "VGG-16 source"}
    smoothed = {"VGG-16 smoothed", "VGG-OPU smoothed"}
    assert set(trainings(plan("all", "shapes", "quick"))) == {"VGG-16", "VGG-OPU"} | transfer | smoothed


@pytest.mark.parametrize(
    ("recipe", "data"),
    [(recipe.name, data) for recipe in find_study("all").recipes for data in recipe.data],
)
def test_one_name_is_one_network_in_a_folder_of_all(recipe, data):
    """And in that of the defences, where these are no part of it: each may give the other networks, by `--reuse`."""
    own = plan("defences", data, recipe) if recipe in {one.name for one in find_study("defences").recipes} else []
    cells = [*plan("all", data, recipe), *own]
    check_names({key_of(cell): cell for cell in cells}.values())


@pytest.mark.parametrize("study", ["all", *(study.name for study in STUDIES)])
def test_every_study_can_have_devices_of_another_kind(study):
    asked = {"data": None, "seed": 0, "precision": "float32"}
    config = configure(find_study(study), "quick", **asked, device_kind="structured")
    devices = [cell for cell in find_study(study).cells(config, DATA) if isinstance(cell, DeviceCell)]
    assert devices
    assert {cell.device_kind for cell in devices} == {"structured"}
    usual = configure(find_study(study), "quick", **asked)
    assert configure(find_study(study), "quick", **asked, device_kind="dense") == usual


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
@pytest.mark.parametrize("recipe", ["laptop", "paper"])
def test_the_plans_of_the_scale_study_have_every_network_once(recipe, data):
    trainings(plan("scale", data, recipe))
    config = find_recipe(find_study("scale"), recipe).make(data, 0, "float32")
    assert max(n * m for n, m in config.networks) > 8000 * 2000, "past the paper's"
    assert all(a != b for a, b in pairwise(config.networks))


def test_a_budget_too_small_for_an_attack_is_refused_before_anything_is_trained() -> None:
    study = find_study("black-box")
    config = replace(configure(study, "quick", data="shapes", seed=0, precision="float32"), budget=20)
    with pytest.raises(ValueError, match=r"`budget` \(=20\) must be at least 52 queries an image: NES"):
        study.cells(config, DATA)
    assert study.cells(replace(config, budget=52), DATA)
