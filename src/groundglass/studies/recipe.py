"""Recipes: named, complete configurations of a study, each with what it costs and what to expect."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, get_args

from groundglass.attacks.search import QueryAttack
from groundglass.core import lookup
from groundglass.data.registry import NAMES, cut, is_path
from groundglass.optics.medium import DeviceKind
from groundglass.studies import kit
from groundglass.studies.registry import STUDIES, Study
from groundglass.training import AdversarialTraining, Precision, TrainingConfig
from groundglass.training.schedule import Schedule

CIFAR = ("cifar10", "cifar100")
#: What the quick recipes are for.
SMALL = ("shapes", *CIFAR)
QUICK_COST = "under 5 minutes on two cores"
QUICK_EXPECT = "every part at work; too small to judge"
#: Of each study by the recipe `workstation`, in its `expect`.
AS_GOOD = "networks meant to be as good as the paper's (not run yet)"
FOR_A_GPU = "days on two cores; meant for a GPU (not run yet)"


@dataclass(frozen=True)
class Recipe:
    """A named configuration of a study.

    Attributes:
        name: `groundglass run STUDY --recipe NAME`.
        make: (data, seed, precision) -> config.
        data: the data sets it is for; the first is the default.
        cost: what it takes, on what.
        expect: what comes out.
        in_all: part of `groundglass run all` by the recipe of this name.
    """

    name: str
    make: Callable[[str, int, Precision], kit.TargetsConfig]
    data: tuple[str, ...]
    cost: str
    expect: str
    in_all: bool = True

    def __call__(self, data: str, seed: int, precision: Precision) -> Any:
        return self.make(data, seed, precision)


def recipe(
    data: tuple[str, ...], cost: str, expect: str, *, in_all: bool = True
) -> Callable[[Callable[[str, int, Precision], kit.TargetsConfig]], Recipe]:
    """Make a function of its name a `Recipe`."""
    return lambda make: Recipe(make.__name__.replace("_", "-"), make, data, cost, expect, in_all)


def find_recipe(study: Study, name: str) -> Recipe:
    """A recipe of a study by its name, or a ValueError with the nearest one."""
    return lookup(f"recipe of {study.name}", name, {recipe.name: recipe for recipe in study.recipes})


def configure(
    study: Study,
    recipe: str,
    *,
    data: str | None,
    seed: int,
    precision: Precision,
    device_kind: DeviceKind | None = None,
) -> kit.TargetsConfig:
    """The recipe's config for `data` (its own default when None), with devices of `device_kind` (as it says when None).

    Images of the user's, the path of a file or folder, are treated as CIFAR-10 is. A recipe may use the first images of a data
    set alone; `data` may say how many, "cifar10[:2000]".

    Raises:
        ValueError: unknown recipe, data set or kind, or a data set that the recipe is not for.
    """
    found = find_recipe(study, recipe)
    base, most = (found.data[0], None) if data is None else cut(data)
    if is_path(base):
        name = CIFAR[0] if CIFAR[0] in found.data else found.data[0]
    else:
        name = lookup("data set", base, {n: n for n in NAMES})
    if name not in found.data:
        others = [one.name for one in study.recipes if name in one.data]
        hint = (
            f"for {name} there are: {', '.join(others)}" if others else f"no recipe of {study.name} is for {name} yet"
        )
        raise ValueError(f"the recipe {recipe!r} is for {', '.join(found.data)}, not for {name}; {hint}")
    config = found.make(name, seed, precision)
    most = most or cut(config.data)[1]
    changes: dict[str, Any] = {"data": base if most is None else f"{base}[:{most}]"}
    if device_kind is not None:
        kinds = {kind: kind for kind in get_args(DeviceKind)}
        changes["device_kind"] = lookup("device kind", device_kind, kinds)
    return everywhere(config, **changes)


def everywhere(config: kit.TargetsConfig, **changes: Any) -> kit.TargetsConfig:
    """The same study with other settings, and the studies that it is made of with them."""
    parts = getattr(config, "studies", None)
    if parts is not None:
        changes = {**changes, "studies": {name: everywhere(one, **changes) for name, one in parts.items()}}
    return replace(config, **changes)


def described(config: Any) -> Any:
    """A config as plain JSON, for the run folder. The studies of `all` stand beside its own settings."""
    if isinstance(config, Schedule):
        return repr(config)
    if isinstance(config, QueryAttack):
        return {"attack": type(config).__name__, **described(asdict(config))}
    if isinstance(config, TrainingConfig | AdversarialTraining):
        return described(config.described())
    if is_dataclass(config):
        found = {field.name: described(getattr(config, field.name)) for field in fields(config)}
        parts = found.pop("studies", None)
        each = {} if parts is None else {study.name: parts.get(study.name) for study in STUDIES}
        return {**found, **{name.replace("-", "_"): part for name, part in each.items()}}
    if isinstance(config, Mapping):
        return {str(name): described(value) for name, value in config.items()}
    return [described(value) for value in config] if isinstance(config, list | tuple) else config
