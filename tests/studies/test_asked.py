"""What is changed in a recipe: by a file, a table or on the command line."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from groundglass.attacks import PGD, Square
from groundglass.core import DamagedFileError
from groundglass.studies import ALL, STUDIES, Study, find_study
from groundglass.studies.asked import Asked, shown
from groundglass.studies.engine.cell import key_of
from tests.studies.tiny import DATA, MAKERS

WHITE_BOX = find_study("white-box")


def config(
    study: Study = WHITE_BOX, recipe: str | None = "laptop", *changes: str, given: Any = None, **options: Any
) -> Any:
    return Asked.of(study, recipe, given, changes, **options).config("float32")


@pytest.mark.parametrize("study", [ALL, *STUDIES], ids=lambda study: study.name)
def test_a_recipe_that_is_shown_is_that_recipe(study: Study) -> None:
    for recipe in reversed(study.recipes):
        data = recipe.data[-1]
        asked = Asked.of(study, None, tomllib.loads(shown(study, recipe.name, data=data)))
        made, again = recipe.make(data, 0, "bfloat16"), asked.config("bfloat16")
        assert repr(again) == repr(made), recipe.name
    plans = [[key_of(cell) for cell in study.cells(one, DATA)] for one in (again, made)]
    assert plans[0] == plans[1]


def test_the_command_line_counts_then_the_file_then_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('study = "white-box"\nrecipe = "laptop"\nseed = 3\nn_images = 300\n[attack]\nsteps = 7\n')
    found = config(WHITE_BOX, None, "n_images=200", "attack.restarts=2", given=file)
    assert (found.seed, found.n_images, found.attack) == (3, 200, PGD(steps=7, step_size=0.005, restarts=2))
    assert found.width == config().width
    assert config(given=file, seed=4, data="cifar100").attack == PGD(steps=7, step_size=0.00276)
    assert config(given=file, seed=4).seed == 4
    assert config(WHITE_BOX, "laptop", "data=cifar100", "device_kind=structured") == config(
        data="cifar100", device_kind="structured"
    )


def test_the_command_of_the_readme_changes_three_settings() -> None:
    asked = Asked.of(WHITE_BOX, "laptop", None, ["n_images=200", "attack.steps=20", "eps_paper+=0.08"])
    assert asked.told("float32") == [
        "attack.steps: 50 -> 20",
        "eps_paper: [0.01, 0.02, 0.03, 0.04, 0.05] -> [0.01, 0.02, 0.03, 0.04, 0.05, 0.08]",
        "n_images: 1000 -> 200",
    ]


def test_a_training_is_in_the_precision_of_the_run_unless_it_says_its_own() -> None:
    changes = ["baseline.precision=float32", 'source={epochs=2, precision="auto"}']
    found = Asked.of(WHITE_BOX, "laptop", None, changes).config("bfloat16")
    assert [one.precision for one in (found.baseline, found.hybrid, found.source)] == [
        "float32",
        "bfloat16",
        "bfloat16",
    ]


def test_a_table_may_hold_objects_and_a_whole_configuration_is_taken_as_it_is() -> None:
    black_box = find_study("black-box")
    assert config(black_box, "laptop", given={"others": [Square()]}).others == (Square(),)
    own = MAKERS["white-box"](seed=2)
    asked = Asked.of(WHITE_BOX, None, own, ["n_images=11"], seed=5)
    assert (asked.recipe, asked.config("float32").n_images, asked.config("float32").seed) == ("own", 11, 5)
    assert Asked.of(WHITE_BOX, None, own).config("bfloat16") == own


def test_a_setting_of_all_is_changed_in_every_study_that_has_it() -> None:
    found = config(ALL, "laptop", "seed=2", "baseline.epochs=3", "studies.redraw.n_images=9", "budget=70")
    assert {part.seed for part in found.studies.values()} == {2}
    assert {part.baseline.epochs for part in (found, *found.studies.values())} == {3}
    assert found.studies["redraw"].n_images == 9
    assert found.studies["white-box"].n_images == 1000
    assert {found.studies[name].budget for name in ("black-box", "extraction", "noise", "redraw", "ablation")} == {70}


@pytest.mark.parametrize(
    ("study", "changes", "said"),
    [
        (WHITE_BOX, ["n_image=2"], "did you mean 'n_images'"),
        (WHITE_BOX, ["attak.steps=2"], "did you mean 'attack.steps'"),
        (WHITE_BOX, ["eps_paper=[]"], "`eps_paper` is empty"),
        (ALL, ["n_image=2"], "did you mean 'n_images'"),
        (ALL, ["studies.whitebox.n_images=2"], "did you mean 'white-box'"),
        (ALL, ["studies.redraw.n_images=0"], r"`studies.redraw.n_images` \(=0\) must be at least 1"),
        (ALL, ["studies=1"], "is a table"),
        (ALL, ["studies.redraw.seed=2"], "has another `seed`"),
    ],
)
def test_a_change_that_cannot_be_is_refused(study: Study, changes: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(study, "quick", *changes)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("n_images = ")
    with pytest.raises(DamagedFileError, match="is not valid TOML"):
        config(given=file)
    file.write_text('study = "redraw"')
    with pytest.raises(ValueError, match="is for the study 'redraw', not for white-box"):
        config(given=file)
    file.write_text('recipe = "paper"')
    with pytest.raises(ValueError, match="begins with the recipe 'paper', not with 'laptop'"):
        config(given=file)
    with pytest.raises(FileNotFoundError):
        config(given=tmp_path / "none.toml")
    with pytest.raises(TypeError, match="`config` must be"):
        config(given=3)
    with pytest.raises(ValueError, match="not both"):
        config(given=MAKERS["white-box"]())
