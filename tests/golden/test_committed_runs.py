"""The runs under docs/results hold what they always held: the keys of their cells, and the tables made from them.

A key that changes would make a finished study run again, and `--reuse` train again. A table that changes needs an
entry in CHANGELOG.md that says which rule of judgement was wrong; then `python -m tests.golden.test_committed_runs`
writes the files anew.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from groundglass.attacks import ZOO, HopSkipJump, RayS, Square, TiledES
from groundglass.report.markdown import tables
from groundglass.results import RecordStore, Run
from groundglass.studies.engine.cell import key_of
from groundglass.studies.layer.study import Variant
from groundglass.studies.recipe import configure
from groundglass.studies.registry import find_study
from tests.runs import RESULTS, committed, opened_once, parts_once

TABLES = Path(__file__).parent / "tables"
SEEDS = ("white-box/seed-0", "white-box/seed-1", "white-box/seed-2")
RUNS = (
    "cifar10",
    "cifar100",
    "full-width",
    "black-box/cifar10",
    "black-box/further",
    "white-box/cifar100",
    "extraction/cifar10",
    "noise/cifar10",
    "service/cifar10",
    "secret/cifar10",
    "defences/cifar10",
    "defences/cifar100",
    "layer/cifar10",
    "white-box/float32",
    *SEEDS,
)
#: Settings of a run that are not its recipe's.
OTHERWISE: dict[str, dict[str, Any]] = {
    "black-box/further": {
        "budget": 5000,
        "sigmas": (0.1, 0.5),
        "fd_etas": (1.0,),
        "others": (
            *(Square(), RayS(), HopSkipJump(), TiledES(), ZOO(), ZOO(h=0.05)),
            TiledES(strategy="cma"),
        ),
    },
    "defences/cifar10": {"repeats": 2},
    "defences/cifar100": {"repeats": 1},
    "layer/cifar10": {
        "variants": (
            *(Variant(power=power) for power in (4.0, 1.0)),
            *(Variant(bits=1, saturation=0.5, outputs=count) for count in (None, 512)),
            *(Variant(encoding=encoding) for encoding in ("bits-zero", "float")),
            Variant(read_noise=64.0),
            Variant(outputs=256),
        ),
        "certified": (),
    },
}
#: Of a data set, all that a plan depends on.
DATA: dict[str, Any] = {
    "cifar10": SimpleNamespace(name="cifar10", num_classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, size=(32, 32)),
    "cifar100": SimpleNamespace(
        name="cifar100", num_classes=100, mean=(0.507, 0.486, 0.440), std=(0.267, 0.256, 0.276), size=(32, 32)
    ),
}
#: Made before their recipe gained cells, whose checks look at more: what they hold is still planned, but for the checks.
GAINED = ("cifar10", "cifar100", "white-box/float32")
#: Studies whose attacks by queries have changed since they ran: settings are chosen on other images, Square keeps equals, the
#: parsimonious attack runs in both of its settings. And one whose trainings are longer now. What these alone had planned is
#: planned anew.
CHANGED = {"black-box", "ablation", "redraw", "adversarial-training"}
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
    config = replace(config, **OTHERWISE.get(name, {}))
    planned = {key_of(cell) for cell in study.cells(config, DATA[told["data"]])}
    recorded = {record.key for record in store.records}
    assert recorded == {cell["key"] for cell in told["cells"]}
    if name not in GAINED:
        assert recorded == planned
    run = committed(name)
    gone = {record.key for record in store.records if record.kind != "check"} - planned
    assert {owner for key in gone for owner in run.studies(key)} <= CHANGED


def test_what_a_changed_study_took_over_unchanged_keeps_its_keys() -> None:
    """Networks, audits, gradients, and the attacks by queries whose settings are what they were."""
    store = RecordStore.read(RESULTS / "cifar10")
    config = configure(find_study("black-box"), "laptop", data="cifar10", seed=0, precision="bfloat16")
    planned = {key_of(cell) for cell in find_study("black-box").cells(config, DATA["cifar10"])}
    kept = {record.name for record in store.records if record.key in planned}
    assert {f"{model} <- {attack}" for model in ("VGG-16", "VGG-OPU") for attack in ("Parsimonious", "RayS")} < kept
    others = replace(config, others=(Square(ties=False),), choice_images=0)
    old = {key_of(cell) for cell in find_study("black-box").cells(others, DATA["cifar10"])}
    names = {record.name for record in store.records if record.key in old}
    swept = {f"{model} <- NES, sigma {s:g}" for model in ("VGG-16", "VGG-OPU") for s in config.sigmas}
    assert {"VGG-16 <- Square", "VGG-OPU <- Square", *swept} < names


@pytest.mark.parametrize("name", FILES)
def test_the_tables_are_what_they_were(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "open", opened_once)
    monkeypatch.setattr("groundglass.report.markdown.parts", parts_once)
    assert written(FILES[name]) == (TABLES / f"{name}.md").read_text(encoding="utf-8")


if __name__ == "__main__":
    for name, folders in FILES.items():
        (TABLES / f"{name}.md").write_text(written(folders), encoding="utf-8")
