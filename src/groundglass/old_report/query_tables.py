"""The tables of the black-box section: success and its price, the settings that were tried, what each attack took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from groundglass.core.statistics import Proportion
from groundglass.old_report.contests import Contest
from groundglass.old_report.queries import QueryCell
from groundglass.old_report.study import Study


@dataclass(frozen=True)
class SuccessTable:
    """A row an attack. `columns`: budgets; `rows`: the attack, and its success within each or None."""

    columns: tuple[int, ...]
    rows: tuple[tuple[QueryCell, tuple[Proportion | None, ...]], ...]


@dataclass(frozen=True)
class Trial:
    """One network at one value of a sweep."""

    cell: QueryCell
    chosen: bool


@dataclass(frozen=True)
class Sweep:
    """A setting of an attack that was varied. `rows`: the value, and what came of it on each of `models` or None."""

    attack: str
    parameter: str
    models: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Trial | None, ...]], ...]

    @property
    def is_open(self) -> bool:
        """Whether a network has no chosen value yet."""
        chosen = {trial.cell.model for _, trials in self.rows for trial in trials if trial and trial.chosen}
        return chosen != set(self.models)


@dataclass(frozen=True)
class QueryEffort:
    """What an attack took. `settings`: its fields in words."""

    cell: QueryCell
    settings: str


def success_table(contest: Contest) -> SuccessTable:
    columns = tuple(sorted({at for cell in contest.cells for at, _ in cell.success_at}))
    rows = []
    for cell in contest.cells:
        found = dict(cell.success_at)
        rows.append((cell, tuple(found.get(at) for at in columns)))
    return SuccessTable(columns, tuple(rows))


def sweeps(study: Study, contest: Contest | None) -> list[Sweep]:
    """The sweeps in the ball of a contest, or, with none, whatever was tried so far."""
    cells = [cell for cell in study.queries if cell.purpose == "sweep"]
    if contest is not None:
        cells = [cell for cell in cells if cell.ball == (contest.norm, contest.eps)]
    return [_sweep(study, attack, [c for c in cells if c.attack == attack]) for attack in _unique(cells, "attack")]


def _sweep(study: Study, attack: str, cells: Sequence[QueryCell]) -> Sweep:
    choices = [choice for choice in study.choices if choice.attack == attack]
    parameter = choices[0].parameter if choices else _varied(cells)
    models = tuple(_unique(cells, "model"))
    chosen = {choice.key for choice in choices}
    found = {(cell.settings.get(parameter), cell.model): Trial(cell, cell.record.key in chosen) for cell in cells}
    values = sorted({value for value, _ in found}, key=lambda value: (value is None, value))
    return Sweep(
        attack,
        parameter,
        models,
        tuple(
            ("–" if value is None else f"{value:g}", tuple(found.get((value, model)) for model in models))
            for value in values
        ),
    )


def _varied(cells: Sequence[QueryCell]) -> str:
    """The setting in which the records of a sweep differ, while no choice names it."""
    names = sorted({name for cell in cells for name in cell.settings})
    differing = [name for name in names if len({repr(cell.settings.get(name)) for cell in cells}) > 1]
    return "sigma" if "sigma" in names or not differing else differing[0]


def effort(cell: QueryCell) -> QueryEffort:
    settings = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in cell.settings.items())
    return QueryEffort(cell, settings or "–")


def _plain(value: Any) -> str:
    words = {None: "none", True: "yes", False: "no"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unique(cells: Sequence[QueryCell], field: str) -> list[str]:
    return list(dict.fromkeys(getattr(cell, field) for cell in cells))
