"""Folders that are put beside each other: they differ in their seed, and of those of all studies one may hold fewer."""

from pathlib import Path
from typing import Any

import pytest

from groundglass.results.seeds import over_seeds
from tests.runs import RunFolder


def folder(path: Path, *, seed: int, study: str = "all", recipe: str = "r", **config: Any) -> Path:
    made = RunFolder(path, study, recipe=recipe, seed=seed, config={"width": 0.25, "seed": seed, **config})
    made.network("VGG-16", clean=0.8 + 0.01 * seed)
    made.run()
    return path


def test_of_two_folders_of_all_what_both_have_is_compared(tmp_path: Path) -> None:
    whole = folder(tmp_path / "a", seed=0, recipe="every", white_box={"n_images": 10}, ablation={"n_images": 5})
    part = folder(tmp_path / "b", seed=1, recipe="some", white_box={"n_images": 10}, ablation=None)
    (figure,) = over_seeds([whole, part])
    assert figure.values == (0.8, 0.81)
    other = folder(tmp_path / "c", seed=2, recipe="some", white_box={"n_images": 20}, ablation=None)
    with pytest.raises(ValueError, match="n_images"):
        over_seeds([whole, other])


def test_of_one_study_recipe_and_settings_must_agree(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", seed=0, study="white-box", ladder=None)
    for name, changes in (("b", {"recipe": "other"}), ("c", {"ladder": {"draws": 3}})):
        with pytest.raises(ValueError, match="seed alone"):
            over_seeds([first, folder(tmp_path / name, seed=1, study="white-box", **{"ladder": None, **changes})])
    with pytest.raises(ValueError, match="seeds"):
        over_seeds([first, folder(tmp_path / "d", seed=0, study="white-box", ladder=None)])
