"""Every number of every configuration is looked at when it is made. No configuration is forgotten: they are all found."""

import importlib
import json
import math
import pkgutil
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np
import pytest
import torch
from torch import nn

import groundglass
from groundglass.adaptive.signs import Again, Border, Flat, Jump, Repeat
from groundglass.attacks import (
    APGD,
    FAB,
    FGSM,
    L0,
    L1,
    L2,
    NES,
    PGD,
    ZOO,
    Averaged,
    Bandits,
    CarliniWagnerL2,
    DeepFool,
    Ensemble,
    Exact,
    FittedLinear,
    FittedNetwork,
    GaussianKernel,
    GradientAccess,
    HopSkipJump,
    InputDiversity,
    Linf,
    Parsimonious,
    RandomNoise,
    RayS,
    ScoreAccess,
    SparseRS,
    Square,
    SurFree,
    SurrogatePGD,
    TiledES,
    TransferPGD,
)
from groundglass.attacks.adversarial_files import Origin
from groundglass.bench.sizes import Sizes
from groundglass.core.sequential import SequentialTest, SingleOut
from groundglass.core.settings import In, Settings, annotations
from groundglass.data import Augment
from groundglass.data.shapes import load_shapes
from groundglass.features import BitPlanes, Thermometer
from groundglass.models import defend, predict_logits, vgg16
from groundglass.models.defence import Defence, DefenceSpec
from groundglass.models.preprocessing import Preprocessing
from groundglass.models.zoo import Card
from groundglass.optics import Camera, DriftingDevice, LightOnOPU, MovingDevice, SimulatedOPU
from groundglass.optics.access import DeviceAccess
from groundglass.optics.camera import Exposure
from groundglass.optics.remote.wire import describe, read_facts
from groundglass.optics.retrieval import METHODS, GivenInputs, NaturalRows, retrieve
from groundglass.service.durations import Spread
from groundglass.service.guard import GuardSettings
from groundglass.service.policy import Redraw
from groundglass.service.status import ClientStatus, DeviceStatus, Status, Used
from groundglass.service.tokens import Budgets, Client
from groundglass.studies import STUDIES, find_study
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.draws import DrawsCell
from groundglass.studies.defences.study import FAMILIES
from groundglass.studies.engine.ray import Ray
from groundglass.studies.engine.run import run_study
from groundglass.studies.recipe import configure
from groundglass.training import TRADES, Freezing, Growing, PGDTraining, TrainingConfig
from groundglass.training.schedule import Both, OneCycle, Plateau, Steps
from tests.studies.tiny import pictures

#: What comes out, and what is inside: nobody makes these to say what is to be done.
RESULTS = (
    "results",
    "report",
    "kernels",
    "cli",
    "core.statistics",
    "audit.signs",
    "audit.claims",
    "audit.findings",
    "audit.kept",
)
RESULTS += ("audit.probes", "audit.results", "data.cifar", "optics.fidelity.laws", "optics.secret_file")
RESULTS += ("optics.streams.measurement", "training.checkpoint", "training.loop", "training.state", "studies.redraw")
RESULTS += (
    "studies.redraw_model",
    "studies.noise.report",
    "studies.noise.matrix",
    "studies.noise.surrogates",
    "studies.zoo",
    "studies.engine",
    "compat",  # numbers as other libraries name them; our attacks, which are made of them, look at them
)
INSIDE = {"Job", "Live", "_Shuffled", "PairDesign", "HadamardInputs", "AnchorDesign", "Scale", "Shot", "Retrieved"}
INSIDE |= {
    "Call",
    "ErrorCurve",
    "ErrorPoint",
    "Setup",
    "_Ball",
    "_Made",
    "Tuned",
    "Outcome",
    "Guess",
    "_Plain",
    "_State",
    "DrawsState",
    "Subject",
    "Units",
}
# Of a frontier, a guard, a service, certificates.
INSIDE |= {"Trained", "Finding", "NaturalBits", "Looks", "_Tiles", "_Stream", "Held", "Address"}
INSIDE |= {"Alarm", "Request", "Service", "Watch", "Kept", "Batch", "Usage", "Version", "Refit"}
INSIDE |= {
    "ImageCertificate",
    "Certified",
    "CertifyState",
    "Challenge",
    "_Notes",
    "MaxPool",
    "FlippableBits",
    "ThroughDevice",
}
# Of sequential tests, and of the study of a secret.
INSIDE |= {"Detection", "Identification", "Known", "Line"}
# Of defences, and of benchmarks.
INSIDE |= {
    "AuditBall",
    "Defences",
    "Hardened",
    "Found",
    "Source",
    "Part",
    "Benchmark",
    "Row",
    "Spread",
    "Timing",
    "Ended",
    "Moment",
    "Machine",
    "Bench",
    "Change",
}
# They look at their numbers themselves, see FUNCTIONS.
INSIDE |= {"BitPlanes", "Thermometer"}
HAS_RAY = find_spec("ray") is not None
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
    made = [
        APGD(),
        FGSM(),
        NES(),
        PGD(),
        Bandits(),
        CarliniWagnerL2(),
        DeepFool(),
        FAB(),
        HopSkipJump(),
        Parsimonious(),
        RandomNoise(),
        RayS(),
        SparseRS(),
        Square(),
        SurFree(),
    ]
    made += [
        TiledES(),
        ZOO(),
        TransferPGD(),
        SurrogatePGD(),
        GaussianKernel(),
        InputDiversity(),
        Linf(0.1),
        Linf((0.1, 0.2)),
        L2(0.5),
        L1(2.0),
        L0(3),
        Preprocessing(mean=(0.5,) * 3, std=(0.2,) * 3),
        Linf.each([0.1, 0.2]),
        Augment(),
    ]
    made += [Sizes(), Camera(), Exposure(1.0, 2.0), TRADES(eps=0.1), PGDTraining(eps=0.1), TrainingConfig(epochs=2)]
    made += [Growing(), Freezing()]
    made += [
        OneCycle(),
        Plateau(),
        Steps(),
        Both(Steps(), Plateau()),
        Origin(source="", attack="", ball=Linf(0.1), seed=0),
    ]
    made += [method() for method in METHODS.values()]
    made += [GuardSettings(), GivenInputs(NaturalRows(torch.zeros(2, 4, dtype=torch.uint8)))]
    made += [Card(command="", key="", original="", original_accuracy=0.5, accuracy=0.5, images=1)]
    made += [Ray()] if HAS_RAY else []
    made += list(of_a_service())
    made += [Again(), Border(), Flat(), Jump(), Repeat(), SequentialTest(rare=0.1, often=0.5), SingleOut()]
    made += [DefenceSpec(defence=Defence(at="fc", hidden=8, device_out=12), network="Net", layers={}, torch="2.9")]
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
        whole = {"families": tuple(FAMILIES)} if study.name == "defences" else {}
        look(config)
        look(study.cells(replace(config, **whole), dataset))
    look(DrawsCell(first=found[AttackCell], draws=2))
    return found


def of_a_service() -> Iterator[Any]:
    """What is asked of it, and what it says of itself."""
    spread = Spread(counts=(1, 2), total=0.5)
    client = Client(id="a", name="alice", roles=("measure",), devices=("*",), budgets=Budgets(5, 4, 3), made=1.0)
    yield replace(client, expires=2.0, revoked=2.0)
    yield Redraw(frames=5, seconds=1.0)
    yield read_facts(json.dumps(describe(_opu())).encode(), "here")
    device = DeviceStatus(
        name="opu",
        kind="SimulatedOPU",
        in_features=32,
        out_features=8,
        alive=True,
        public=False,
        fingerprint="ab",
        age=1.0,
        frames=1,
        frames_left=1,
        seconds_left=1.0,
        can_redraw=True,
        redraws=0,
        measured=1,
        alarms=0,
        overlap=0.0,
        old={},
        rate=2000.0,
        requests=0,
        rows=0,
        guard=None,
        seconds={"measure": spread},
    )
    told = ClientStatus(
        name="alice",
        id="a",
        roles=("measure",),
        devices=("*",),
        expires=2.0,
        ended="",
        limits=Budgets(),
        left=Budgets(),
        held={},
        used=(Used("opu", 3, 2, 1),),
    )
    yield Status(now=1.0, ahead=0.0, up=1.0, devices=(device,), clients=(told,), alarms=())


def settings() -> list[type]:
    abstract = {"AdversarialTraining", "QueryAttack", "ScoreAttack", "LabelAttack", "BaseCell", "BallCell", "TunedCell"}
    abstract |= {"BoundarySearch", "TargetsConfig", "_Told", "_Kept"}  # the last two are what files of devices say
    abstract |= {"Sign", "_Scores", "_StreamsCell"}
    abstract |= set() if HAS_RAY else {"Ray"}
    return [one for one in package() if issubclass(one, Settings) and one.__name__ not in abstract]


def test_a_dataclass_with_a_number_is_a_checked_configuration_or_none_at_all() -> None:
    for one in package():
        where = one.__module__.removeprefix("groundglass.")
        apart = one.__name__ in INSIDE or any(where == name or where.startswith(f"{name}.") for name in RESULTS)
        if not issubclass(one, Settings) and not apart:
            found = [name for name, hint in annotations(one) if any(numbers(hint))]
            assert not found, f"{one.__name__} has the numbers {found}: make it a Settings, or name it in INSIDE"


def test_every_configuration_has_an_example_and_says_where_its_numbers_must_be() -> None:
    assert len(settings()) > 45
    for one in settings():
        assert one in examples(), f"{one.__name__} is in no plan: give an example of it"
        for name, hint in annotations(one):
            for _, mark, _ in numbers(hint):
                assert mark is not None or name in ANY or issubclass(one, Linf | PGDTraining | TRADES), (one, name)


@pytest.mark.parametrize("kind", settings(), ids=lambda one: one.__name__)
def test_what_is_no_number_of_its_kind_is_refused_when_it_is_made(kind: type) -> None:
    example = examples()[kind]
    for name, hint in annotations(kind):
        for number, mark, within in numbers(hint):
            wrong: list[Any] = [math.nan, math.inf, -math.inf, True, "3", 1j, torch.zeros(2, 2), np.array("3"), 10**400]
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
    for name, hint in annotations(kind):
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


def _opu(**given: Any) -> Any:
    return SimulatedOPU.create(**{"in_features": 32, "out_features": 8, "seed": 1, **given})


class _Lab:
    n_components = 8

    def transform(self, bits: Any) -> Any:
        raise AssertionError("asked")


def _linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))


def _asked(images: torch.Tensor) -> torch.Tensor:
    raise AssertionError("asked")


_PIXELS = torch.zeros(4, 3, 32, 32)
_SPEC: dict[str, Any] = {"classes": 4, "mean": (0.5,) * 3, "std": (0.5,) * 3, "seed": 0}
#: What takes numbers and is no dataclass: a number -> the call with it. Nothing is asked before it is refused.
FUNCTIONS: dict[str, Any] = {
    "budget": lambda value: GradientAccess(_asked, value),
    "per_image": lambda value: ScoreAccess(_asked, per_image=value),
    "batch_size": lambda value: PGD()(
        GradientAccess(_asked), _PIXELS, torch.arange(4), Linf(0.1), seed=0, batch_size=value
    ),
    "batch_size ": lambda value: Square()(
        ScoreAccess(_asked, per_image=9), _PIXELS, torch.arange(4), Linf(0.1), seed=0, batch_size=value
    ),
    "indices": lambda value: FGSM()(
        GradientAccess(_asked), _PIXELS[:1], torch.arange(1), Linf(0.1), seed=0, indices=[value]
    ),
    "samples": lambda value: Averaged(nn.Identity(), value),
    "rows": lambda value: Averaged(nn.Identity(), 2, rows=value),
    "weights": lambda value: Ensemble([_asked, _asked], weights=[1, value]),
    "in_features": lambda value: _opu(in_features=value),
    "out_features": lambda value: _opu(out_features=value),
    "noise_seed": lambda value: _opu(noise_seed=value),
    "count": lambda value: MovingDevice.create(32, 8, count=value, seed=1),
    "correlation": lambda value: DriftingDevice(_opu(), correlation=value),
    "hold": lambda value: DriftingDevice(_opu(), correlation=9.0, hold=value),
    "rows_per_call": lambda value: LightOnOPU(_Lab(), 32, 8, mean_reading=1.0, rows_per_call=value),
    "mean_reading": lambda value: LightOnOPU(_Lab(), 32, 8, mean_reading=value),
    "frames": lambda value: LightOnOPU.calibrate(_Lab(), 32, 8, frames=value),
    "density": lambda value: LightOnOPU.calibrate(_Lab(), 32, 8, density=value),
    "budget ": lambda value: DeviceAccess(_opu(), budget=value),
    "frame_rate": lambda value: DeviceAccess(_opu(), frame_rate=value),
    "rows ": lambda value: retrieve(DeviceAccess(_opu()), METHODS["fixed-exposure"](), frames=512, seed=0, rows=value),
    "hidden": lambda value: defend(_linear(), at="1", device=None, hidden=value, seed=0),
    "dropout": lambda value: defend(_linear(), at="1", device=None, hidden=8, dropout=value, seed=0),
    "width": lambda value: vgg16(value, **_SPEC),
    "classes": lambda value: vgg16(0.05, **{**_SPEC, "classes": value}),
    "std": lambda value: vgg16(0.05, **{**_SPEC, "std": (0.5, 0.5, value)}),
    "batch_size  ": lambda value: predict_logits(_linear(), _PIXELS, batch_size=value),
    "n_train": lambda value: load_shapes(value, 10),
    "jobs": lambda value: run_study("white-box", "quick", Path("nowhere"), jobs=value),
    "ridge": lambda value: FittedLinear.fit(torch.ones(40, 4), torch.ones(40, 2), ridge=(1.0, value)),
    "epochs": lambda value: FittedNetwork.fit(torch.ones(40, 4), torch.ones(40, 2), seed=0, epochs=value),
    "saturation": lambda value: Exact(torch.ones(4, 4), saturation=value),
    "levels": lambda value: Thermometer(levels=value),
    "n_bits": lambda value: BitPlanes(n_bits=value),
    "scale": lambda value: BitPlanes(scale=value),
}
_FRACTIONS = {
    "weights",
    "correlation",
    "mean_reading",
    "density",
    "frame_rate",
    "dropout",
    "width",
    "std",
    "ridge",
    "saturation",
    "scale",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_no_number_is_refused_by_functions_too(name: str) -> None:
    wrong: list[Any] = [math.nan, math.inf, True, "3", torch.zeros(2, 2), 10**400]
    wrong += [-0.5] if name in _FRACTIONS else [2.5, np.float32(2.5)]
    wrong += [] if name in ("noise_seed", "indices") else [-1, np.int64(-1)]
    wrong += [] if name in ("noise_seed", "indices", "dropout") else [0]
    for value in wrong:
        with pytest.raises((TypeError, ValueError), match=name.strip()):
            FUNCTIONS[name](value)


# --- negative controls ---


def test_a_configuration_that_looks_at_nothing_fails_the_contract() -> None:
    @dataclass(frozen=True)
    class Careless:
        steps: int = 3

    assert any(numbers(hint) for _, hint in annotations(Careless))
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
        (lambda: Linf("8 of 255"), "eps"),
        (lambda: Linf(()), "empty"),
        (lambda: Origin(source="", attack="", ball=0.1, seed=0), "ball"),
        (lambda: Steps(at=(1, 2.5)), r"at\[1\]"),
    ):
        with pytest.raises((TypeError, ValueError), match=says):
            make()
