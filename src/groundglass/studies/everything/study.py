"""All studies in one folder: each network is trained once, and one page shows all of it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from groundglass.data import Dataset
from groundglass.studies import kit
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, Recipe
from groundglass.studies.registry import STUDIES, Study
from groundglass.training import Precision

# One name is one network, and one network is audited in one way.
_COMMON = ("data", "seed", "audit_images", "audit_eps_paper", "audit")


@dataclass(frozen=True, kw_only=True)
class EverythingConfig(kit.TargetsConfig):
    """Some studies, by name, with the networks of the first.

    Raises:
        ValueError: a study has another data set, another seed or other audits.
    """

    studies: Mapping[str, kit.TargetsConfig]

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, part in self.studies.items():
            for field in _COMMON:
                if getattr(part, field) != getattr(self, field):
                    raise ValueError(f"the study {name} has another `{field}`: all studies share their networks")


def parts(config: EverythingConfig) -> dict[Study, kit.TargetsConfig]:
    """The studies of a config, in the order of the page."""
    return {study: config.studies[study.name] for study in STUDIES if study.name in config.studies}


def cells(config: EverythingConfig, dataset: Dataset) -> list[Cell]:
    """The cells of every study, each once.

    What a study calls `early` comes after the first study: trainings so long that at the end one worker would wait for them.
    """
    first, *rest = parts(config).items()
    early = [cell for study, part in rest if hasattr(study.plan, "early") for cell in study.plan.early(part, dataset)]
    planned = [first[0].cells(first[1], dataset), early, *(study.cells(part, dataset) for study, part in rest)]
    return with_inputs(cell for some in planned for cell in some)


def _recipe(name: str, data: tuple[str, ...], cost: str, expect: str) -> Recipe:
    def make(data: str, seed: int, precision: Precision) -> EverythingConfig:
        studies = {
            study.name: recipe.make(data, seed, precision)
            for study in STUDIES
            for recipe in study.recipes
            if recipe.name == name and data in recipe.data and recipe.in_all
        }
        first = next(iter(studies.values()))
        shared: dict[str, Any] = {field.name: getattr(first, field.name) for field in fields(kit.TargetsConfig)}
        return EverythingConfig(**shared, studies=studies)

    return Recipe(name, make, data, cost, expect)


RECIPES = (
    _recipe("quick", ("shapes",), QUICK_COST, QUICK_EXPECT),
    _recipe(
        "laptop",
        CIFAR,
        "2.4 hours on two cores (AMD EPYC, Zen 4); CIFAR-100 2.9 hours",
        "all studies at a quarter of the width",
    ),
    _recipe("paper", CIFAR, FOR_A_GPU, "all studies at the paper's sizes, trained as its scripts have it"),
)
