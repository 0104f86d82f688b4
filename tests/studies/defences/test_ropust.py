"""The family "ropust": what is planned, for data that is trained in one stage and in two."""

from dataclasses import replace

import pytest

from groundglass.results.repeats import repeat_of
from groundglass.studies.cells.network import PlaceCell, TrainCell
from groundglass.studies.defences import study
from groundglass.studies.engine.cell import key_of
from groundglass.studies.engine.frames import frames_of
from groundglass.studies.engine.plan import Plan
from groundglass.studies.recipe import configure
from groundglass.studies.registry import find_study
from tests.studies import tiny


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
@pytest.mark.parametrize("recipe", ["laptop", "paper"])
def test_the_device_and_its_control_are_behind_the_features_of_the_robust_network(data, recipe):
    config = configure(find_study("defences"), recipe, data=data, seed=0, precision="float32")
    pictures = tiny.pictures(data, n_train=10, n_test=10)
    cells = study.cells(replace(config, families=("adversarial", "ropust"), repeats=2), pictures)
    networks = {cell.name: cell for cell in cells if cell.kind == "train"}
    robust = networks["VGG-16 AT"]
    assert isinstance(robust, TrainCell)
    assert robust.training.adversarial is not None
    for suffix in ("", " repeat 2"):
        opu, new = networks["ROPUST" + suffix], networks["VGG-16 AT, new head" + suffix]
        assert isinstance(opu, PlaceCell)
        assert isinstance(new, PlaceCell)
        assert opu.spec is not None
        assert new.spec is not None
        assert key_of(opu.features) == key_of(new.features) == key_of(networks["VGG-16 AT" + suffix])
        assert (opu.frozen, opu.training, opu.seed) == (new.frozen, new.training, new.seed)
        assert (opu.spec.device_in, opu.spec.device_out) == (config.device_in, config.device_out)
        assert (new.device, new.spec.device_in, new.spec.linear_hidden) == (None, None, config.device_in)
        assert opu.spec.head == new.spec.head == config.head
        assert opu.training.adversarial is None
    audited = {repeat_of(cell.target.name)[0] for cell in cells if cell.kind == "audit"}
    assert {"ROPUST", "VGG-16 AT, new head"} <= audited


def test_a_given_device_is_asked_about_every_image_in_every_epoch():
    config = configure(find_study("defences"), "laptop", data="cifar10", seed=0, precision="float32")
    pictures = tiny.pictures("cifar10", n_train=10, n_test=10)
    cells = study.cells(replace(config, families=("ropust",), repeats=1), pictures)
    (cell,) = (cell for cell in cells if cell.name == "ROPUST")
    given = replace(cell, device=replace(cell.device, given="0" * 32))
    plan = Plan.of([given.features, given.device, given], train=100, test=7)
    assert frames_of(plan, key_of(given)) == 100 * config.hardening.epochs + 7
