"""Every number of every configuration is looked at when it is made. No configuration is forgotten: they are all found."""

import importlib
import math
import pkgutil
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np
import pytest
import torch

import groundglass
from groundglass.attacks import (
    APGD,
    FGSM,
    L2,
    NES,
    PGD,
    Bandits,
    CarliniWagnerL2,
    GaussianKernel,
    InputDiversity,
    Linf,
    Parsimonious,
    RandomNoise,
    RayS,
    Square,
    TransferPGD,
)
from groundglass.attacks.adversarial_files import Origin
from groundglass.core.settings import In, Settings, _annotations
from groundglass.data import Augment
from groundglass.optics import Camera
from groundglass.optics.camera import Exposure
from groundglass.optics.retrieval import METHODS
from groundglass.studies import STUDIES, find_study
from groundglass.studies.recipe import configure
from groundglass.training import TRADES, PGDTraining, TrainingConfig
from groundglass.training.schedule import OneCycle, Plateau, Steps
from tests.studies.tiny import pictures

#: What comes out, and what is inside: nobody makes these to say what is to be done.
RESULTS = ("results", "report", "kernels", "cli", "core.statistics", "audit.checks", "audit.findings", "audit.kept")
RESULTS += ("audit.probes", "audit.results", "data.cifar", "optics.fidelity.laws", "optics.secret_file")
RESULTS += ("optics.streams.measurement", "training.checkpoint", "training.loop", "training.state", "studies.redraw")
RESULTS += ("studies.redraw_model",)
INSIDE = {"Job", "Live", "_Shuffled", "PairDesign", "HadamardInputs", "AnchorDesign", "Scale", "Shot", "Retrieved"}
INSIDE |= {"Tuned", "Outcome"}
#: Any number will do for these.
ANY = {"seed", "mean"}


@cache
def package() -> list[type]:
    found: dict[type, None] = {}
    for module in pkgutil.walk_packages(groundglass.__path__, "groundglass."):
        if not module.name.endswith("__main__"):
            for one in vars(importlib.import_module(module.name)).values():
                if isinstance(one, type) and is_dataclass(one) and one.__module__.startswith("groundglass"):
                    found[one] = None
            # Some packages offer a function by its module's name: the module must not stay in its place.
            parent, name = sys.modules[module.name.rpartition(".")[0]], module.name.rpartition(".")[2]
            if name in getattr(parent, "__all__", ()) and isinstance(vars(parent).get(name), types.ModuleType):
                vars(parent).pop(name)
    return list(found)


def numbers(hint: Any) -> Iterator[tuple[type, In | None, bool]]:
    """The kinds of number that a hint has, with the interval of each, and whether it stands in a tuple."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (int, float):
        yield hint, None, False
    elif origin is Annotated:
        marks = [mark for mark in inner[1:] if isinstance(mark, In)]
        yield from ((kind, marks[0], within) for kind, _, within in numbers(inner[0]))
    elif origin in (Union, types.UnionType):
        for one in inner:
            yield from numbers(one)
    elif origin is tuple:
        yield from ((kind, mark, True) for one in inner for kind, mark, _ in numbers(one))


@cache
def examples() -> dict[type, Any]:
    """An instance of each: made here, or found in the quick plans of the studies."""
    made = [APGD(), FGSM(), NES(), PGD(), Bandits(), CarliniWagnerL2(), Parsimonious(), RandomNoise(), RayS(), Square()]
    made += [TransferPGD(), GaussianKernel(), InputDiversity(), Linf(0.1), Linf((0.1, 0.2)), L2(0.5), Augment()]
    made += [Camera(), Exposure(1.0, 2.0), TRADES(eps=0.1), PGDTraining(eps=0.1), TrainingConfig(epochs=2)]
    made += [OneCycle(), Plateau(), Steps(), Origin(source="", attack="", ball=Linf(0.1), seed=0)]
    made += [method() for method in METHODS.values()]
    found: dict[type, Any] = {}

    def look(one: Any) -> None:
        if isinstance(one, tuple | list):
            for part in one:
                look(part)
        elif isinstance(one, Mapping):
            look(list(one.values()))
        elif is_dataclass(one) and not isinstance(one, type) and type(one) not in found:
            found[type(one)] = one
            look([getattr(one, f.name) for f in fields(one)])

    look(made)
    dataset = pictures("shapes", n_train=10, n_test=10)
    look(dataset)
    for study in (*STUDIES, find_study("all")):
        config = configure(study, "quick", data=None, seed=0, precision="float32")
        look(config)
        look(study.cells(config, dataset))
    return found


def settings() -> list[type]:
    abstract = {"AdversarialTraining", "QueryAttack", "ScoreAttack", "LabelAttack", "BaseCell", "BallCell", "TunedCell"}
    return [one for one in package() if issubclass(one, Settings) and one.__name__ not in abstract | {"TargetsConfig"}]


def test_a_dataclass_with_a_number_is_a_checked_configuration_or_none_at_all() -> None:
    for one in package():
        where = one.__module__.removeprefix("groundglass.")
        apart = one.__name__ in INSIDE or any(where == name or where.startswith(f"{name}.") for name in RESULTS)
        if not issubclass(one, Settings) and not apart:
            found = [name for name, hint in _annotations(one) if any(numbers(hint))]
            assert not found, f"{one.__name__} has the numbers {found}: make it a Settings"


def test_every_configuration_has_an_example_and_says_where_its_numbers_must_be() -> None:
    assert len(settings()) > 45
    for one in settings():
        assert one in examples(), f"{one.__name__} is in no plan: give an example of it"
        for name, hint in _annotations(one):
            for _, mark, _ in numbers(hint):
                assert mark is not None or name in ANY or issubclass(one, Linf | PGDTraining | TRADES), (one, name)


@pytest.mark.parametrize("kind", settings(), ids=lambda one: one.__name__)
def test_what_is_no_number_of_its_kind_is_refused_when_it_is_made(kind: type) -> None:
    example = examples()[kind]
    for name, hint in _annotations(kind):
        for number, mark, within in numbers(hint):
            wrong: list[Any] = [math.nan, math.inf, -math.inf, True, "3", 1j, torch.zeros(2, 2), np.array("3")]
            wrong += [2.5, np.float32(2.5), torch.tensor(2.5)] if number is int else []
            wrong += [-1, np.int64(-1), -0.5] if mark is not None and -1 not in mark else []
            for value in wrong:
                there = getattr(example, name)
                given = (value,) * (len(there) if isinstance(there, tuple) and there else 2) if within else value
                with pytest.raises((TypeError, ValueError), match=name):
                    replace(example, **{name: given})


@pytest.mark.parametrize("kind", settings(), ids=lambda one: one.__name__)
def test_numbers_of_other_libraries_become_pythons_own(kind: type) -> None:
    example = examples()[kind]
    for name, hint in _annotations(kind):
        value = getattr(example, name)
        if type(value) is bool:
            for other in (np.bool_(value), torch.tensor(value)):
                assert getattr(replace(example, **{name: other}), name) is value
        if type(value) is int and any(numbers(hint)):
            for other in (np.int64(value), torch.tensor(value), np.array(value)):
                found = getattr(replace(example, **{name: other}), name)
                assert type(found) in (int, float)
                assert found == value
        if type(value) is float:
            for other in (np.float64(value), torch.tensor(value, dtype=torch.float64), np.array(value)):
                found = getattr(replace(example, **{name: other}), name)
                assert type(found) is float
                assert found == value


def test_the_loop_that_never_ended() -> None:
    with pytest.raises(ValueError, match=r"`steps` \(=2.5\) must be a whole number, at least 1"):
        PGD(steps=2.5)  # type: ignore[arg-type]
    assert PGD(steps=np.int64(3)) == PGD(steps=3)  # type: ignore[arg-type]
    assert repr(PGD(steps=3.0, step_size=np.float64(0.01))) == repr(PGD(steps=3, step_size=0.01))  # type: ignore[arg-type]


# --- negative controls ---


def test_a_configuration_that_looks_at_nothing_fails_the_contract() -> None:
    @dataclass(frozen=True)
    class Careless:
        steps: int = 3

    assert any(numbers(hint) for _, hint in _annotations(Careless))
    assert replace(Careless(), steps=2.5).steps == 2.5  # type: ignore[arg-type]


def test_classes_whose_annotations_are_strings_are_checked_as_far_as_their_names_are_known() -> None:
    @dataclass(frozen=True)
    class Outside(PGD):
        mine: "Unheard" = None  # type: ignore[name-defined]

    assert Outside(mine=3).mine == 3  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="steps"):
        Outside(steps=0)


def test_objects_are_what_they_should_be() -> None:
    for make, says in (
        (lambda: TrainingConfig(epochs=1, schedule=0.5), "schedule"),
        (lambda: TrainingConfig(epochs=1, adversarial="pgd"), "adversarial"),
        (lambda: TransferPGD(diversity=0.5), "diversity"),
        (lambda: TransferPGD(keep="best"), "highest"),
        (lambda: PGD(random_start="yes"), "True or False"),
        (lambda: Linf("8/255"), "eps"),
        (lambda: Linf(()), "empty"),
        (lambda: Origin(source="", attack="", ball=0.1, seed=0), "ball"),
        (lambda: Steps(at=(1, 2.5)), r"at\[1\]"),
    ):
        with pytest.raises((TypeError, ValueError), match=says):
            make()
