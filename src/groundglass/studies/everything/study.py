"""All studies in one folder: each network is trained once, and one page shows all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from groundglass.core import lookup
from groundglass.core.changes import Change, changed, changes_of, written_settings
from groundglass.data import Dataset
from groundglass.studies import kit
from groundglass.studies.engine.cell import Cell, with_inputs
from groundglass.studies.recipe import AS_GOOD, CIFAR, FOR_A_GPU, QUICK_COST, QUICK_EXPECT, SMALL, Recipe
from groundglass.studies.registry import STUDIES, Study
from groundglass.studies.workstation import REPEATED
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

    @classmethod
    def of(cls, studies: Mapping[str, kit.TargetsConfig]) -> Self:
        """These studies, in the order of the page."""
        first = next(iter(studies.values()))
        shared: dict[str, Any] = {field.name: getattr(first, field.name) for field in fields(kit.TargetsConfig)}
        return cls(**shared, studies=studies)

    def changed(self, changes: Sequence[Change]) -> Self:
        """With these changes: of one study, by `studies.NAME.SETTING`; of any other setting, in every study that has it.

        Raises:
            ValueError: a study or setting that there is not, or a value that is refused.
        """
        known = {name: dict.fromkeys(field.name for field in fields(part)) for name, part in self.studies.items()}
        own: dict[str, list[Change]] = {name: [] for name in self.studies}
        shared = [change for change in changes if change.path[0] != "studies"]
        for change in shared:
            lookup("setting", change.path[0], {name: None for names in known.values() for name in names})
        for change in (change for change in changes if change.path[0] == "studies"):
            for one in _within(change):
                lookup("study of this recipe", one.path[0], known)
                own[one.path[0]] += _within(one)
        studies = {}
        for name, part in self.studies.items():
            everywhere = [change for change in shared if change.path[0] in known[name]]
            studies[name] = changed(part, [*everywhere, *own[name]], f"studies.{name}")
        return self.of(studies)

    def written(self) -> dict[str, Any]:
        """As a table: what all studies share, then the other settings of each."""
        each = {name: written_settings(part) for name, part in self.studies.items()}
        parts = {name: {k: v for k, v in table.items() if k not in _COMMON} for name, table in each.items()}
        return {**{name: next(iter(each.values()))[name] for name in _COMMON}, "studies": parts}


def _within(change: Change) -> list[Change]:
    """A change of what is within a table, as seen from there.

    Raises:
        ValueError: it would replace the table by something else.
    """
    if len(change.path) > 1:
        return [replace(change, path=change.path[1:])]
    if change.how != "=" or not isinstance(change.value, Mapping):
        raise ValueError(f"`{change.name}` is a table: change what is in it, {change.name}.NAME=VALUE")
    return changes_of(change.value)


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


def _recipe(
    name: str, data: tuple[str, ...], cost: str, expect: str, *, of: str = "", only: Sequence[str] = ()
) -> Recipe:
    """The recipe of this name, or `of` another, of every study that has it in a run of all; or of some only."""
    wanted = of or name

    def make(data: str, seed: int, precision: Precision) -> EverythingConfig:
        studies = {
            study.name: recipe.make(data, seed, precision)
            for study in STUDIES
            for recipe in study.recipes
            if recipe.name == wanted and data in recipe.data and recipe.in_all
            if not only or study.name in only
        }
        return EverythingConfig.of(studies)

    return Recipe(name, make, data, cost, expect)


RECIPES = (
    _recipe("quick", SMALL, QUICK_COST, QUICK_EXPECT),
    _recipe(
        "laptop",
        CIFAR,
        "2.6 hours on two cores (AMD EPYC, Zen 4); CIFAR-100 3 hours",
        "all studies at a quarter of the width",
    ),
    _recipe("workstation", CIFAR, "4.5 core-hours by estimate; CIFAR-100 15", f"{AS_GOOD}: six studies, once"),
    _recipe(
        "workstation-seeds",
        CIFAR,
        "1.6 core-hours a seed by estimate; CIFAR-100 7.3",
        f"{' and '.join(REPEATED)} of that, to be repeated with another --seed",
        of="workstation",
        only=REPEATED,
    ),
    _recipe("paper", CIFAR, FOR_A_GPU, "all studies at the paper's sizes, trained as its scripts have it"),
)
