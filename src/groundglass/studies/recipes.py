"""Recipes: complete, frozen configurations, each with what it costs and what to expect."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from groundglass.attacks.search import QueryAttack
from groundglass.core import lookup
from groundglass.data import Dataset
from groundglass.studies import black_box, everything, white_box
from groundglass.studies.black_box import BlackBoxConfig
from groundglass.studies.cells import Cell, plain
from groundglass.studies.everything import EverythingConfig
from groundglass.studies.targets import TargetsConfig
from groundglass.studies.white_box import WhiteBoxConfig
from groundglass.training import Plateau, Precision, TrainingConfig
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


def _quick_targets(data: str, seed: int, precision: Precision) -> dict[str, Any]:
    training = TrainingConfig(epochs=6, learning_rate=0.1, precision=precision)
    return {
        "data": data,
        "width": 0.125,
        "device_in": 256,
        "device_out": 1000,
        "baseline": training,
        "hybrid": training,
        "seed": seed,
    }


def _quick_white_box(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """`groundglass run white-box --recipe quick`: everything, small, on images that the package makes itself.

    Under 5 minutes on two cores with AVX2 alone. Too small to say anything about the defence: it shows the machinery.
    """
    return WhiteBoxConfig(
        **_quick_targets(data, seed, precision),
        n_images=64,
        # 0.5, 1, 2 and 4 / 255: the paper's axis, where most of this data set's curve lies.
        eps_paper=tuple(2 * level / 255 for level in (0.5, 1, 2, 4)),
        eps_l2=(0.25, 0.5),
        steps=20,
        step_size=0.002,
        fit_images=2000,
        gallery=4,
    )


def _quick_black_box(data: str, seed: int, precision: Precision) -> BlackBoxConfig:
    """`groundglass run black-box --recipe quick`: every attack by queries, with a budget of minutes."""
    return BlackBoxConfig(
        **_quick_targets(data, seed, precision),
        n_images=32,
        eps=2 / 255,
        budget=400,
        sigmas=(0.1, 1.0),
        reference_steps=20,
    )


def _quick(data: str, seed: int, precision: Precision) -> EverythingConfig:
    """`groundglass run all --recipe quick`, which is `make quick`."""
    return EverythingConfig(
        **_quick_targets(data, seed, precision),
        white_box=_quick_white_box(data, seed, precision),
        black_box=_quick_black_box(data, seed, precision),
    )


def _laptop_targets(data: str, seed: int, precision: Precision) -> dict[str, Any]:
    training = TrainingConfig(epochs=8, learning_rate=0.05, weight_decay=5e-4, precision=precision)
    return {
        "data": data,
        "width": 0.25,
        "device_in": 512,
        "device_out": 8000,
        "baseline": training,
        "hybrid": training,
        "seed": seed,
    }


def _laptop_white_box(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """`groundglass run white-box --data cifar10 --recipe laptop`: Figure 2 at a quarter of the width."""
    return WhiteBoxConfig(**_laptop_targets(data, seed, precision), n_images=256, fit_images=20_000, cw_images=64)


def _laptop_black_box(data: str, seed: int, precision: Precision) -> BlackBoxConfig:
    """`groundglass run black-box --data cifar10 --recipe laptop`: Figure 3 at a quarter of the width, with its budget.

    The networks are those of the white-box recipe: `--reuse` that run's folder to train nothing again.
    """
    return BlackBoxConfig(**_laptop_targets(data, seed, precision), n_images=100)


def _laptop(data: str, seed: int, precision: Precision) -> EverythingConfig:
    """`groundglass run all --data cifar10 --recipe laptop`: all studies on the same two networks, on one page."""
    return EverythingConfig(
        **_laptop_targets(data, seed, precision),
        white_box=_laptop_white_box(data, seed, precision),
        black_box=_laptop_black_box(data, seed, precision),
    )


def _paper_white_box(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """`groundglass run white-box --data cifar10 --recipe paper`: the paper's width, sizes, epochs and whole test set."""
    return WhiteBoxConfig(
        data=data,
        width=1.0,
        device_in=512,
        device_out=8000,
        baseline=TrainingConfig(
            epochs=38,
            optimiser="adam",
            learning_rate=1e-3,
            weight_decay=1e-4,
            schedule=Plateau(),
            precision=precision,
        ),
        hybrid=TrainingConfig(
            epochs=30, learning_rate=1e-3, weight_decay=0.01, schedule=Plateau(), precision=precision
        ),
        baseline_dropout=0.5,
        hybrid_dropout=0.5,
        n_images=10_000,
        fit_images=50_000,
        cw_images=1000,
        seed=seed,
    )


def _paper_black_box(data: str, seed: int, precision: Precision) -> BlackBoxConfig:
    """`groundglass run black-box --data cifar10 --recipe paper`: the paper's networks and every test image."""
    return BlackBoxConfig(
        data=data,
        width=1.0,
        device_in=2000,
        device_out=10_000,
        baseline=TrainingConfig(
            epochs=55, optimiser="adam", learning_rate=1e-3, weight_decay=1e-4, schedule=Plateau(), precision=precision
        ),
        hybrid=TrainingConfig(
            epochs=55, learning_rate=1e-3, weight_decay=0.005, schedule=Plateau(), precision=precision
        ),
        baseline_dropout=0.5,
        hybrid_dropout=0.5,
        n_images=10_000,
        seed=seed,
    )


_QUICK = ("under 5 minutes on two cores", "every part at work; too small to judge")
_FOR_A_GPU = "days on two cores; meant for a GPU (not run yet)"

RECIPES: dict[tuple[str, str], Recipe] = {
    (study, name): Recipe(study, name, data, cost, expect, make, plan)
    for study, name, data, cost, expect, make, plan in (
        ("all", "quick", ("shapes",), *_QUICK, _quick, everything.cells),
        (
            "all",
            "laptop",
            ("cifar10",),
            "about 2 hours on two cores",
            "all figures at a quarter of the width",
            _laptop,
            everything.cells,
        ),
        ("white-box", "quick", ("shapes",), *_QUICK, _quick_white_box, white_box.cells),
        (
            "white-box",
            "laptop",
            ("cifar10",),
            "about 45 minutes on two cores",
            "Figure 2 at a quarter of the width",
            _laptop_white_box,
            white_box.cells,
        ),
        (
            "white-box",
            "paper",
            ("cifar10",),
            _FOR_A_GPU,
            "Figure 2 at the paper's sizes",
            _paper_white_box,
            white_box.cells,
        ),
        ("black-box", "quick", ("shapes",), *_QUICK, _quick_black_box, black_box.cells),
        (
            "black-box",
            "laptop",
            ("cifar10",),
            "about 90 minutes on two cores, 30 of them training",
            "Figure 3 at a quarter of the width",
            _laptop_black_box,
            black_box.cells,
        ),
        (
            "black-box",
            "paper",
            ("cifar10",),
            _FOR_A_GPU,
            "Figure 3 at the paper's sizes",
            _paper_black_box,
            black_box.cells,
        ),
    )
}


_DATA = ("cifar10", "cifar100", "shapes")


def find_recipe(study: str, name: str) -> Recipe:
    """The recipe, or a ValueError with the nearest name."""
    lookup("study", study, {s: s for s, _ in RECIPES})
    return lookup("recipe", name, {r.name: r for r in RECIPES.values() if r.study == study})


def configure(study: str, recipe: str, *, data: str | None, seed: int, precision: Precision) -> TargetsConfig:
    """The recipe's config for `data` (its own default when None).

    Raises:
        ValueError: unknown study, recipe or data set, or a data set that the recipe is not for.
    """
    found = find_recipe(study, recipe)
    name = found.data[0] if data is None else lookup("data set", data, {n: n for n in _DATA})
    if name not in found.data:
        others = [r.name for r in RECIPES.values() if r.study == study and name in r.data]
        hint = f"for {name} there are: {', '.join(others)}" if others else f"no recipe of {study} is for {name} yet"
        raise ValueError(f"the recipe {recipe!r} is for {', '.join(found.data)}, not for {name}; {hint}")
    return found.make(name, seed, precision)


def described(config: Any) -> Any:
    """A config as plain JSON, for the run folder."""
    if isinstance(config, Schedule):
        return repr(config)
    if isinstance(config, QueryAttack):
        return {"attack": type(config).__name__, **plain(asdict(config))}
    if is_dataclass(config):
        return {field.name: described(getattr(config, field.name)) for field in fields(config)}
    if isinstance(config, tuple):
        return [described(value) for value in config]
    return plain(config)
