"""The same cells once more, with other seeds and other devices: so a figure says how much of it is luck."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from groundglass.core.settings import Count
from groundglass.results.repeats import repeat_name
from groundglass.studies.engine.cell import Cell


def repeated(cells: Iterable[Cell], times: Count) -> list[Cell]:
    """The cells, and `times` - 1 copies of each: with the seeds that follow, devices of their own, and names that say so.

    The first are the cells themselves, so a study of one repeat has the records of any other. A cell that has a `seed` gets the
    next one; a device gets another `owner`, which is what its secret depends on.
    """
    first = list(cells)
    found = list(first)
    for number in range(1, times):
        known: dict[int, Any] = {}
        found += [_again(cell, number, known) for cell in first]
    return found


def _again(cell: Any, number: int, known: dict[int, Any]) -> Any:
    """A copy, and of all that it needs; what two cells share stays shared."""
    if isinstance(cell, tuple):
        return tuple(_again(one, number, known) for one in cell)
    if not (hasattr(cell, "run") and is_dataclass(cell)) or isinstance(cell, type):
        return cell
    if id(cell) not in known:
        changes = {field.name: _again(getattr(cell, field.name), number, known) for field in fields(cell)}
        if "owner" in changes:
            changes["owner"] = repeat_name(changes["owner"], number)
        if "seed" in changes:
            changes["seed"] += number
        if isinstance(changes.get("name"), str):
            changes["name"] = repeat_name(changes["name"], number)
        known[id(cell)] = replace(cell, **changes)
    return known[id(cell)]
