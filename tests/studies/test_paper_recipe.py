"""The recipe `paper`, held setting by setting to the table in docs/theory.md. Nothing is trained."""

import ast
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from groundglass.data import registry
from groundglass.studies import STUDIES, find_study
from groundglass.studies.cells.attack import AttackCell
from groundglass.studies.cells.craft import CraftCell
from groundglass.studies.cells.network import DeviceCell
from groundglass.studies.engine.planned import planned
from groundglass.studies.engine.run import _check_names as check_names
from groundglass.studies.recipe import configure, described
from groundglass.training import Both, Plateau, Steps, TrainingConfig
from tests.studies.tiny import pictures

THEORY = Path(__file__).parents[2] / "docs" / "theory.md"
FIGURES = ("white-box", "black-box", "transfer", "ablation")
DATA = ("cifar10", "cifar100")
#: What a user chooses.
CHOSEN = {"data", "seed"}
PLATEAU, MILESTONES = Plateau(patience=2, by=0.5, threshold=0.01), Steps(at=(45, 60), by=0.5)
SCHEDULES = {repr(PLATEAU): "plateau", repr(Both(MILESTONES, PLATEAU)): "milestones and plateau"}


@cache
def table() -> list[tuple[set[str], set[str], list[str], str, str, str]]:
    """Studies, data sets, settings, value, source and verdict of each row."""
    text = THEORY.read_text(encoding="utf-8").partition("## The paper's recipe")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == ["study", "data", "setting", "value", "source", "verdict"]
    found = []
    for study, data, settings, value, source, verdict in rows[1:]:
        studies = set(FIGURES) if study == "all" else set(study.split(", "))
        found.append((studies, set(DATA) if data == "both" else {data}, settings.split(", "), value, source, verdict))
    return found


def of(study: str, data: str) -> Iterator[tuple[list[str], str, str, str]]:
    return ((row[2], row[3], row[4], row[5]) for row in table() if study in row[0] and data in row[1])


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> Any:
    """CIFAR as `load` gives it, but for the pictures."""

    def made(name: str) -> Any:
        fake = pictures(name, n_train=10, n_test=10)
        monkeypatch.setattr(registry, "_find", lambda *_: None)
        monkeypatch.setattr(registry, "read_cifar", lambda *_: (fake.train, fake.test))
        return registry.load(name)

    return made


@cache
def recipe(study: str, data: str) -> Any:
    return configure(find_study(study), "paper", data=data, seed=0, precision="float32")


def trainings(config: Any) -> list[TrainingConfig]:
    values = [getattr(config, field.name) for field in fields(config)]
    return [
        one
        for some in values
        for one in (some if isinstance(some, tuple) else (some,))
        if isinstance(one, TrainingConfig)
    ]


def said(value: Any) -> str:
    if isinstance(value, TrainingConfig):
        schedule = SCHEDULES.get(repr(value.schedule), repr(value.schedule))
        told = f"rate {value.learning_rate:g}, {value.epochs} epochs, decay {value.weight_decay:g}, {schedule}"
        return f"{value.optimiser}, {told}" + (", adversarial" if value.adversarial else "")
    return str(value)


def same(value: Any, written: str) -> bool:
    """Whether the table's words are this value."""
    if said(value) == written:
        return True
    try:
        read = ast.literal_eval(written)
    except (ValueError, SyntaxError):
        return False
    if isinstance(value, tuple) and isinstance(read, tuple):
        return len(read) == len(value) and all(math.isclose(a, b) for a, b in zip(value, read, strict=True))
    number = isinstance(value, int | float) and isinstance(read, int | float)
    return type(value) is type(read) and (math.isclose(value, read) if number else value == read)


def look(root: Any, path: str) -> Any:
    for part in path.split("."):
        root = root[int(part)] if part.isdigit() else getattr(root, part)
    return root


def values(study: str, config: Any, data: Any, cells: list[Any], setting: str) -> list[Any]:
    """What a setting is: of the config, of all its trainings, of the data set, or of the study's cells."""
    head, _, rest = setting.partition(".")
    if head == "training":
        return [look(one, rest) for one in trainings(config)]
    if head == "dataset":
        return [look(data, rest)]
    if head == "device":
        # An ablation may have variants of it.
        return [look(next(cell for cell in cells if isinstance(cell, DeviceCell)), rest)]
    if head == "attack":
        kind = CraftCell if study == "transfer" else AttackCell
        return [look(next(cell.attack for cell in cells if isinstance(cell, kind)), rest)]
    if head.startswith("network "):
        return [
            look(cell.spec, rest)
            for cell in cells
            if cell.kind == "train" and cell.name == head.removeprefix("network ")
        ]
    return [look(config, setting)]


#: Told in the table, and tested where networks are: tests/models.
ELSEWHERE = {"network.encoding", "network.convolutions", "network.feedback"}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("study", FIGURES)
def test_each_setting_is_what_the_table_says(study: str, data: str, dataset: Any) -> None:
    config, images, checked = recipe(study, data), dataset(data), 0
    cells = find_study(study).cells(config, images)
    for settings, written, source, verdict in of(study, data):
        assert verdict.partition(":")[0].split()[0] in ("same", "departs", "assumed", "ours"), verdict
        if not written or settings[0] in ELSEWHERE:
            continue
        assert source or verdict.startswith("ours")
        (setting,) = settings
        found = values(study, config, images, cells, setting)
        assert found, setting
        for value in found:
            assert same(value, written), f"{study}, {data}: {setting} is {said(value)}; docs/theory.md says {written}"
        checked += 1
    assert checked > 15


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("study", FIGURES)
def test_no_setting_is_left_out_of_the_table(study: str, data: str) -> None:
    config = recipe(study, data)
    told = [setting for settings, *_ in of(study, data) for setting in settings]
    assert len(told) == len(set(told)), "one row a setting"

    def missing(one: Any, path: str = "") -> Iterator[str]:
        for field in fields(one):
            name, value = path + field.name, getattr(one, field.name)
            inner = {f"{name}.{i}": part for i, part in enumerate(value)} if isinstance(value, tuple) else {name: value}
            deeper = [part for key, part in inner.items() if any(row.startswith(f"{key}.") for row in told)]
            if name in told or name in CHOSEN:
                continue
            if not deeper and not any(row.startswith(f"{name}.") for row in told):
                yield name
            for key, part in inner.items():
                if is_dataclass(part) and key not in told:
                    yield from missing(part, f"{key}.")
                elif key not in told and isinstance(value, tuple):
                    yield key

    assert not list(missing(config)), "give each a row in docs/theory.md"


@pytest.mark.parametrize("data", DATA)
def test_the_other_studies_have_the_networks_of_figure_2_or_4(data: str) -> None:
    def networks(study: str) -> list[Any]:
        names = ("width", "baseline", "hybrid", "source", "head", "frozen", "camera")
        return [getattr(recipe(study, data), name) for name in names]

    figures = [networks("white-box"), networks("transfer")]
    for study in STUDIES:
        if study.name not in FIGURES and any(one.name == "paper" for one in study.recipes):
            assert networks(study.name) in figures, study.name


@pytest.mark.parametrize("data", DATA)
def test_all_studies_are_planned_in_one_folder_with_one_network_a_name(data: str, dataset: Any) -> None:
    config = recipe("all", data)
    cells, plan = planned(find_study("all"), config, dataset(data))
    check_names(cells)
    has = {study.name for study in STUDIES if any(one.name == "paper" and one.in_all for one in study.recipes)}
    assert set(config.studies) == has
    assert has >= {*FIGURES, "redraw", "retrieval", "adversarial-training", "scale"}
    assert {name for cell in plan for name in cell["studies"]} == has
    assert described(config)["black_box"]["budget"] == 15_000
    # The controls of the laptop recipe.
    assert {"VGG-16 lower", "VGG-DFA lower", "VGG-DFA"} <= {cell.name for cell in cells if cell.kind == "train"}


def test_a_study_without_a_recipe_of_a_name_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = find_study("redraw").plan
    monkeypatch.setattr(plan, "RECIPES", tuple(one for one in plan.RECIPES if one.name != "paper"))
    config = configure(find_study("all"), "paper", data="cifar10", seed=0, precision="float32")
    assert "redraw" not in config.studies
    assert "retrieval" in config.studies
