"""Recipes: complete, frozen configurations, each with what it costs and what to expect."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, get_args

from groundglass.attacks.search import QueryAttack
from groundglass.core import lookup
from groundglass.data import Dataset
from groundglass.optics.medium import DeviceKind
from groundglass.studies import (
    ablation,
    adversarial_training,
    black_box,
    everything,
    redraws,
    retrieval,
    scale,
    transfer,
    white_box,
)
from groundglass.studies import recipes_laptop as laptop
from groundglass.studies import recipes_paper as paper
from groundglass.studies import recipes_quick as quick
from groundglass.studies.cells import Cell, plain
from groundglass.studies.targets import TargetsConfig
from groundglass.training import AdversarialTraining, Precision, TrainingConfig
from groundglass.training.schedule import Schedule


@dataclass(frozen=True)
class Recipe:
    """A named configuration of a study.

    Attributes:
        study, name: `groundglass run STUDY --recipe NAME`.
        data: the data sets it is for; the first is the default.
        cost: what it takes, on what.
        expect: what comes out.
        make: (data, seed, precision) -> config.
        plan: (config, data set) -> the cells of the study.
    """

    study: str
    name: str
    data: tuple[str, ...]
    cost: str
    expect: str
    make: Callable[[str, int, Precision], TargetsConfig]
    plan: Callable[[Any, Dataset], list[Cell]]


_QUICK = ("under 5 minutes on two cores", "every part at work; too small to judge")
_FOR_A_GPU = "days on two cores; meant for a GPU (not run yet)"
_CIFAR = ("cifar10", "cifar100")

_PLANS: dict[str, Callable[[Any, Dataset], list[Cell]]] = {
    "all": everything.cells,
    "white-box": white_box.cells,
    "black-box": black_box.cells,
    "transfer": transfer.cells,
    "redraw": redraws.cells,
    "retrieval": retrieval.cells,
    "ablation": ablation.cells,
    "adversarial-training": adversarial_training.cells,
    "scale": scale.cells,
}

RECIPES: dict[tuple[str, str], Recipe] = {
    (study, name): Recipe(study, name, data, cost, expect, make, _PLANS[study])
    for study, name, data, cost, expect, make in (
        ("all", "quick", ("shapes",), *_QUICK, quick.everything),
        (
            "all",
            "laptop",
            _CIFAR,
            "2.4 hours on two cores (AMD EPYC, Zen 4); CIFAR-100 2.9 hours",
            "all studies at a quarter of the width",
            laptop.everything,
        ),
        ("white-box", "quick", ("shapes",), *_QUICK, quick.white_box),
        (
            "white-box",
            "laptop",
            _CIFAR,
            "15 minutes on two cores (AMD EPYC, Zen 4), bfloat16, an hour on Zen 1, float32; CIFAR-100 some 30 (Zen 4)",
            "Figure 2 at a quarter of the width",
            laptop.white_box,
        ),
        (
            "white-box",
            "full-width",
            ("cifar10",),
            "2 hours on two cores (AMD EPYC, Zen 4), most of it training",
            "Figure 2 at the paper's width, with fewer radii",
            laptop.full_width,
        ),
        ("white-box", "paper", _CIFAR, _FOR_A_GPU, "Figure 2 at the paper's sizes", paper.white_box),
        ("black-box", "quick", ("shapes",), *_QUICK, quick.black_box),
        (
            "black-box",
            "laptop",
            _CIFAR,
            "about 30 minutes on two cores, a third of them training; CIFAR-100 some 40",
            "Figure 3 at a quarter of the width",
            laptop.black_box,
        ),
        ("black-box", "paper", _CIFAR, _FOR_A_GPU, "Figure 3 at the paper's sizes", paper.black_box),
        ("transfer", "quick", ("shapes",), *_QUICK, quick.transfer),
        (
            "transfer",
            "laptop",
            _CIFAR,
            "about 30 minutes on two cores, most of them training; CIFAR-100 some 40",
            "Figure 4 at a quarter of the width, and stronger transfer",
            laptop.transfer,
        ),
        ("transfer", "paper", _CIFAR, _FOR_A_GPU, "Figure 4 at the paper's sizes", paper.transfer),
        ("redraw", "quick", ("shapes",), *_QUICK, quick.redraw),
        (
            "redraw",
            "laptop",
            _CIFAR,
            "about 20 minutes on two cores, most of them training; CIFAR-100 some 25",
            "accuracy over three redraws, and what they undo",
            laptop.redraw,
        ),
        ("redraw", "paper", _CIFAR, _FOR_A_GPU, "the same at the paper's sizes", paper.redraw),
        ("retrieval", "quick", ("shapes",), *_QUICK, quick.retrieval),
        (
            "retrieval",
            "laptop",
            _CIFAR,
            "about 15 minutes on two cores, most of them training; CIFAR-100 some 40",
            "what U costs an attacker, and what it is worth",
            laptop.retrieval,
        ),
        ("retrieval", "paper", _CIFAR, _FOR_A_GPU, "the same at the paper's sizes", paper.retrieval),
        ("ablation", "quick", ("shapes",), "about 6 minutes on two cores", _QUICK[1], quick.ablation),
        (
            "ablation",
            "laptop",
            _CIFAR,
            "about 35 minutes on two cores; CIFAR-100 some 50",
            "which part brings what, at a quarter of the width",
            laptop.ablation,
        ),
        ("ablation", "paper", _CIFAR, _FOR_A_GPU, "the same at the paper's sizes", paper.ablation),
        ("adversarial-training", "quick", ("shapes",), *_QUICK, quick.adversarial_training),
        (
            "adversarial-training",
            "laptop",
            _CIFAR,
            "about 40 minutes on two cores, most of them training; CIFAR-100 some 45",
            "the layer beside the control: clean against worst-case accuracy",
            laptop.adversarial_training,
        ),
        (
            "adversarial-training",
            "paper",
            _CIFAR,
            _FOR_A_GPU,
            "the same at the paper's sizes",
            paper.adversarial_training,
        ),
        ("scale", "quick", ("shapes",), "about 2 minutes on one core", _QUICK[1], quick.scale),
        (
            "scale",
            "laptop",
            _CIFAR,
            "about 25 minutes on two cores; CIFAR-100 some 35",
            "what devices cost up to a million by a million, and what size buys a network",
            laptop.scale,
        ),
        ("scale", "paper", _CIFAR, _FOR_A_GPU, "the same at the paper's width", paper.scale),
    )
}


_DATA = ("cifar10", "cifar100", "shapes")


def find_recipe(study: str, name: str) -> Recipe:
    """The recipe, or a ValueError with the nearest name."""
    lookup("study", study, {s: s for s, _ in RECIPES})
    return lookup(f"recipe of {study}", name, {r.name: r for r in RECIPES.values() if r.study == study})


def configure(
    study: str,
    recipe: str,
    *,
    data: str | None,
    seed: int,
    precision: Precision,
    device_kind: DeviceKind | None = None,
) -> TargetsConfig:
    """The recipe's config for `data` (its own default when None), with devices of `device_kind` (as it says when None).

    Raises:
        ValueError: unknown study, recipe, data set or kind, or a data set that the recipe is not for.
    """
    found = find_recipe(study, recipe)
    name = found.data[0] if data is None else lookup("data set", data, {n: n for n in _DATA})
    if name not in found.data:
        others = [r.name for r in RECIPES.values() if r.study == study and name in r.data]
        hint = f"for {name} there are: {', '.join(others)}" if others else f"no recipe of {study} is for {name} yet"
        raise ValueError(f"the recipe {recipe!r} is for {', '.join(found.data)}, not for {name}; {hint}")
    config = found.make(name, seed, precision)
    if device_kind is None:
        return config
    return _with_devices(config, lookup("device kind", device_kind, {kind: kind for kind in get_args(DeviceKind)}))


def _with_devices(config: TargetsConfig, kind: DeviceKind) -> TargetsConfig:
    """The same study, and the studies that it is made of, with devices of this kind."""
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    parts = {name: _with_devices(one, kind) for name, one in values.items() if isinstance(one, TargetsConfig)}
    return replace(config, device_kind=kind, **parts)  # type: ignore[arg-type]


def described(config: Any) -> Any:
    """A config as plain JSON, for the run folder."""
    if isinstance(config, Schedule):
        return repr(config)
    if isinstance(config, QueryAttack):
        return {"attack": type(config).__name__, **plain(asdict(config))}
    if isinstance(config, TrainingConfig | AdversarialTraining):
        return plain(config.described())
    if is_dataclass(config):
        return {field.name: described(getattr(config, field.name)) for field in fields(config)}
    if isinstance(config, tuple):
        return [described(value) for value in config]
    return plain(config)
