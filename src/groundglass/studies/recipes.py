"""Recipes: complete, frozen configurations, each with what it costs and what to expect."""

from collections.abc import Callable
from dataclasses import dataclass

from groundglass.core import lookup
from groundglass.studies.white_box import WhiteBoxConfig
from groundglass.training import Plateau, Precision, TrainingConfig


@dataclass(frozen=True)
class Recipe:
    """A named configuration of a study.

    Attributes:
        study, name: `groundglass run STUDY --recipe NAME`.
        data: the data sets it is for; the first is the default.
        cost: what it takes, on what.
        expect: what comes out.
        make: (data, seed, precision) -> config.
    """

    study: str
    name: str
    data: tuple[str, ...]
    cost: str
    expect: str
    make: Callable[[str, int, Precision], WhiteBoxConfig]


def _quick(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """`groundglass run white-box --recipe quick`: everything, small, on images that the package makes itself.

    Under 5 minutes on two cores with AVX2 alone. Too small to say anything about the defence: it shows the machinery.
    """
    training = TrainingConfig(epochs=6, learning_rate=0.1, precision=precision)
    return WhiteBoxConfig(
        data=data,
        width=0.125,
        device_in=256,
        device_out=1000,
        baseline=training,
        hybrid=training,
        n_images=64,
        # 0.5, 1, 2 and 4 / 255: the paper's axis, where most of this data set's curve lies.
        eps_paper=tuple(2 * level / 255 for level in (0.5, 1, 2, 4)),
        eps_l2=(0.25, 0.5),
        steps=20,
        step_size=0.002,
        fit_images=2000,
        gallery=4,
        seed=seed,
    )


def _laptop(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
    """`groundglass run white-box --data cifar10 --recipe laptop`: Figure 2 at a quarter of the width."""
    training = TrainingConfig(epochs=8, learning_rate=0.05, weight_decay=5e-4, precision=precision)
    return WhiteBoxConfig(
        data=data,
        width=0.25,
        device_in=512,
        device_out=8000,
        baseline=training,
        hybrid=training,
        n_images=256,
        fit_images=20_000,
        cw_images=64,
        seed=seed,
    )


def _paper(data: str, seed: int, precision: Precision) -> WhiteBoxConfig:
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


RECIPES: dict[tuple[str, str], Recipe] = {
    (r.study, r.name): r
    for r in (
        Recipe(
            "white-box",
            "quick",
            ("shapes",),
            "under 5 minutes on two cores",
            "every part at work; too small to judge",
            _quick,
        ),
        Recipe(
            "white-box",
            "laptop",
            ("cifar10",),
            "about 45 minutes on two cores",
            "Figure 2 at a quarter of the width",
            _laptop,
        ),
        Recipe(
            "white-box",
            "paper",
            ("cifar10",),
            "days on two cores; meant for a GPU (not run yet)",
            "Figure 2 at the paper's sizes",
            _paper,
        ),
    )
}


_DATA = ("cifar10", "cifar100", "shapes")


def find_recipe(study: str, name: str) -> Recipe:
    """The recipe, or a ValueError with the nearest name."""
    lookup("study", study, {s: s for s, _ in RECIPES})
    return lookup("recipe", name, {r.name: r for r in RECIPES.values() if r.study == study})


def configure(study: str, recipe: str, *, data: str | None, seed: int, precision: Precision) -> WhiteBoxConfig:
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
