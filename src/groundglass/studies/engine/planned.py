"""What a study is to do, from what was asked: its images, its precision, its cells. `run_study` does it, `forecast` tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

import torch

from groundglass.core import check_seed
from groundglass.data import Dataset, load
from groundglass.results.manifest import STUDY_FILE, load_manifest
from groundglass.studies.asked import Asked
from groundglass.studies.engine.cell import Cell, key_of
from groundglass.studies.engine.given import GivenDevice, LeftOut, Placing
from groundglass.studies.recipe import everywhere
from groundglass.studies.registry import ALL, Study
from groundglass.training import Precision, fastest_precision


@dataclass(frozen=True)
class StudyPlan:
    """A study that could begin.

    Attributes:
        settings: complete.
        precision: of trainings whose settings leave it open.
        why: it is that one.
        cells: inputs first.
        plan: the same, as the manifest has them.
        left_out: what the study has with a device of its own, and not with the one that was given.
    """

    dataset: Dataset
    settings: Any
    precision: Precision
    why: str
    cells: list[Cell]
    plan: list[dict[str, Any]]
    left_out: list[LeftOut]

    @classmethod
    def of(
        cls,
        asked: Asked,
        *,
        precision: Precision | None,
        folders: Sequence[Path] = (),
        where: torch.device | None,
        data_dir: Path | None,
        given: GivenDevice | None = None,
    ) -> Self:
        """Load the images, and plan.

        Args:
            precision: that was asked for.
            folders: the run's own, and those whose networks it takes: else it is the precision of the first that has one.
            where: else the faster one of this device. None: it is not here.
            given: the device that the study's network has, which somebody else holds.

        Raises:
            ValueError: settings that cannot be; no data; no precision, for a device that is not here.
        """
        settings = asked.config("float32")
        check_seed(settings.seed)
        dataset = load(settings.data, data_dir=data_dir)
        stored = next((found for folder in folders if (found := _stored(folder))), None)
        if precision is None and stored is None and where is None:
            raise ValueError(
                "this machine has no card on which to find out the faster precision: give --precision float32 or bfloat16"
            )
        chosen = precision or stored or fastest_precision(where or torch.device("cpu"))
        why = "as asked" if precision else "as before" if stored else "the faster here"
        settings = everywhere(asked.config(chosen), data=dataset.name)
        placing = None if given is None else Placing(given)
        cells, plan = planned(asked.study, settings, dataset, placing=placing)
        left_out = [] if placing is None else placing.left_out
        return cls(dataset, settings, chosen, why, cells, plan, left_out)


def _stored(folder: Path) -> Precision | None:
    """The precision that a run in this folder began with: it goes on in it, whatever this machine prefers."""
    if not (folder / STUDY_FILE).exists():
        return None
    found = load_manifest(folder)["config"].get("baseline", {}).get("precision")
    return next((precision for precision in get_args(Precision) if precision == found), None)


def planned(
    study: Study, config: Any, dataset: Dataset, *, placing: Placing | None = None
) -> tuple[list[Cell], list[dict[str, Any]]]:
    """The cells of a study, and the plan as the manifest has it: of `all` it says to which studies each cell belongs.

    Args:
        placing: puts a device that was given into them.
    """

    def cells_of(part: Study, settings: Any) -> list[Cell]:
        cells = part.cells(settings, dataset)
        return cells if placing is None else placing.cells(cells)

    cells = cells_of(study, config)
    plan: list[dict[str, Any]] = [{"key": key_of(cell), "kind": cell.kind, "name": cell.name} for cell in cells]
    if study == ALL:
        owned = [
            (part.name, {key_of(cell) for cell in cells_of(part, settings)})
            for part, settings in study.plan.parts(config).items()
        ]
        plan = [{**cell, "studies": [name for name, keys in owned if cell["key"] in keys]} for cell in plan]
    return cells, plan
