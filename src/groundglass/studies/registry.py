"""The studies: the one list that the command line, `all`, the page, the tables and the docs go through.

A study is a package with three files: `study.py` (`RECIPES`, and `cells(config, dataset)`), `report.py`
(`tables(run)` and `section(run, drawings)`) and `page.html.j2`. To add one, add the package and a line here.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from groundglass.core import lookup


@dataclass(frozen=True)
class Study:
    """A study by its name. Its code is imported when it is asked for: a page needs no `study.py`, and no torch.

    Attributes:
        name: `groundglass run NAME`.
        package: dotted name of its package, in this project or in yours.
    """

    name: str
    package: str

    @property
    def plan(self) -> Any:
        """Its `study.py`."""
        return import_module(f"{self.package}.study")

    @property
    def report(self) -> Any:
        """Its `report.py`."""
        return import_module(f"{self.package}.report")

    @property
    def recipes(self) -> tuple[Any, ...]:
        """Its recipes, see `studies.recipe`."""
        return tuple(self.plan.RECIPES)

    def cells(self, config: Any, dataset: Any) -> list[Any]:
        """Every cell of the study, in an order in which inputs come first."""
        return list(self.plan.cells(config, dataset))


#: In the order of the page.
STUDIES: tuple[Study, ...] = (
    Study("white-box", "groundglass.studies.white_box"),
    Study("black-box", "groundglass.studies.black_box"),
    Study("transfer", "groundglass.studies.transfer"),
    Study("extraction", "groundglass.studies.extraction"),
    Study("redraw", "groundglass.studies.redraw"),
    Study("retrieval", "groundglass.studies.retrieval"),
    Study("secret", "groundglass.studies.secret"),
    Study("noise", "groundglass.studies.noise"),
    Study("service", "groundglass.studies.service"),
    Study("ablation", "groundglass.studies.ablation"),
    Study("layer", "groundglass.studies.layer"),
    Study("frontier", "groundglass.studies.frontier"),
    Study("adversarial-training", "groundglass.studies.adversarial_training"),
    Study("defences", "groundglass.studies.defences"),
    Study("scale", "groundglass.studies.scale"),
)
#: All of them in one folder.
ALL = Study("all", "groundglass.studies.everything")


def find_study(name: str) -> Study:
    """A study by its name, or a ValueError with the nearest one."""
    return lookup("study", name, {study.name: study for study in (ALL, *STUDIES)})
