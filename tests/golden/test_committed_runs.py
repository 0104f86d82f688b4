"""The runs under docs/results hold what they always held: the keys of their cells, and the tables made from them.

A key that changes would make a finished study run again, and `--reuse` train again. A table that changes needs an
entry in CHANGELOG.md that says which rule of judgement was wrong; then `python -m tests.golden.test_committed_runs`
writes the files anew.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from groundglass.report.markdown import tables
from groundglass.results import RecordStore
from groundglass.studies.engine.cell import key_of
from groundglass.studies.recipe import configure
from groundglass.studies.registry import find_study

RESULTS = Path(__file__).parents[2] / "docs" / "results"
TABLES = Path(__file__).parent / "tables"
SEEDS = ("white-box/seed-0", "white-box/seed-1", "white-box/seed-2")
RUNS = ("cifar10", "cifar100", "full-width", "white-box/float32", *SEEDS)
#: Of a data set, all that a plan depends on.
DATA: dict[str, Any] = {
    "cifar10": SimpleNamespace(name="cifar10", num_classes=10, mean=(0.5,) * 3, std=(0.5,) * 3),
    "cifar100": SimpleNamespace(
        name="cifar100", num_classes=100, mean=(0.507, 0.486, 0.440), std=(0.267, 0.256, 0.276)
    ),
}
#: Made before their recipe gained cells, whose checks look at more: what they hold is still planned, but for the checks.
GAINED = ("cifar10", "cifar100", "white-box/float32", *SEEDS)
FILES = {name.replace("/", "-"): (name,) for name in RUNS} | {"white-box-seeds": SEEDS}


def written(names: tuple[str, ...]) -> str:
    """All tables of some folders."""
    found = tables([RESULTS / name for name in names])
    return "\n\n".join(f"## {part}\n\n{text}" for part, text in found.items()) + "\n"


@pytest.mark.parametrize("name", RUNS)
def test_the_recipe_plans_the_cells_that_are_recorded(name: str) -> None:
    store = RecordStore.read(RESULTS / name)
    told = store.manifest
    study = find_study(told["study"])
    config = configure(
        study,
        told["recipe"],
        data=told["data"],
        seed=told["seed"],
        precision=told["config"]["baseline"]["precision"],
    )
    planned = {key_of(cell) for cell in study.cells(config, DATA[told["data"]])}
    recorded = {record.key for record in store.records}
    assert recorded == {cell["key"] for cell in told["cells"]}
    if name in GAINED:
        assert {record.key for record in store.records if record.kind != "check"} < planned
    else:
        assert recorded == planned


@pytest.mark.parametrize("name", FILES)
def test_the_tables_are_what_they_were(name: str) -> None:
    assert written(FILES[name]) == (TABLES / f"{name}.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, folders in FILES.items():
        (TABLES / f"{name}.md").write_text(written(folders), encoding="utf-8")
