"""A study on images of the user's: of their size, channels and classes, and of no others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from groundglass.data import load
from groundglass.models import read_spec
from groundglass.results import Run
from groundglass.results.manifest import OtherStudyError
from groundglass.studies import ALL, STUDIES, find_study
from groundglass.studies.engine.planned import planned
from groundglass.studies.pictures import read_pictures
from groundglass.studies.recipe import SMALL, Recipe, configure, everywhere
from tests.studies.tiny import redraw, run, white_box

pytestmark = pytest.mark.filterwarnings("ignore:.* steps of .* cannot reach:RuntimeWarning")


def small(*asked, **named):
    made = white_box(*asked, **named)
    # Of 3 seeds every network gets at least 3 of 4 images right.
    longer = {name: replace(getattr(made, name), epochs=4) for name in ("baseline", "hybrid")}
    return replace(made, eps_paper=(0.1,), eps_l2=(), rules=("dfa",), cw_images=0, gallery=1, ladder=None, **longer)


def grey(path: Path, *, classes: int = 4, seed: int = 0, shape: tuple[int, int, int] = (1, 28, 26)) -> Path:
    """Squares under noise, four for each class; grey, unless `shape` has more channels."""
    draw = np.random.default_rng(seed)
    labels = np.arange(300) % classes
    channels, height, width = shape
    coarse = np.random.default_rng(1).integers(0, 225, (classes, channels, 2, 2))
    clean = np.kron(coarse, np.ones((height // 2, width // 2)))
    np.savez(path, images=(clean[labels] + draw.integers(0, 30, (300, *shape))).astype(np.uint8), labels=labels)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        plan = find_study("white-box").plan
        patch.setattr(plan, "RECIPES", (Recipe("tiny", small, ("shapes",), "cheap", "little"),))
        path = grey(folder / "mine.npz")
        assert run("white-box", folder / "run", data=str(path)) > 0
        assert run("white-box", folder / "run", data=str(path)) == 0
        (folder / "other").mkdir()
        with pytest.raises(OtherStudyError, match='data: "mine-'):
            run("white-box", folder / "run", data=str(grey(folder / "other" / "mine.npz", seed=9)))
    return folder


@pytest.mark.slow
def test_a_run_is_of_these_images_and_knows_them_by_what_they_are(finished: Path) -> None:
    data, found = load(finished / "mine.npz"), Run.open(finished / "run")
    assert found.data == data.name
    assert found.classes == ("0", "1", "2", "3")
    assert str(finished) not in (finished / "run" / "study.json").read_text()
    spec = read_spec(finished / "run" / "models" / "vgg-opu.safetensors")
    assert (spec.size, spec.classes, len(spec.mean), spec.trained_on) == ((28, 26), 4, 1, data.name)
    assert found.networks["clean_accuracy"].min() > 0.5
    from groundglass.report import build

    assert data.name in build(finished / "run").read_text()


@pytest.mark.slow
def test_a_study_of_redraws_is_run_on_colour_images_to_its_page(tmp_path: Path, monkeypatch) -> None:
    def make(*asked, **named):
        made = redraw(*asked, **named)
        short = {name: replace(getattr(made, name), epochs=1) for name in ("baseline", "hybrid")}
        return replace(made, redraws=1, moving=(), read_noises=(), n_images=20, steps=2, **short)

    monkeypatch.setattr(find_study("redraw").plan, "RECIPES", (Recipe("tiny", make, ("shapes",), "cheap", "little"),))
    path = grey(tmp_path / "mine.npz", shape=(3, 40, 40))
    assert run("redraw", tmp_path / "run", data=str(path)) > 0
    found = Run.open(tmp_path / "run")
    assert len(found.records) == len(found.manifest["cells"])
    from groundglass.report import build

    assert load(path).name in build(tmp_path / "run").read_text()


@pytest.mark.slow
def test_an_audit_of_its_networks_is_on_what_it_held_out(finished: Path) -> None:
    path, data = str(finished / "mine.npz"), load(finished / "mine.npz")
    elsewhere = read_pictures(path, 60, None)
    assert elsewhere.natural is None
    assert elsewhere.images.shape == (60, 1, 28, 26)
    held_out = read_pictures(path, 60, None, trained_on=data.name)
    assert held_out.natural is not None
    assert np.array_equal(held_out.images.numpy(), data.test.floats().numpy())


@pytest.mark.one_in(5)
@pytest.mark.parametrize("study", [ALL, *STUDIES], ids=lambda study: study.name)
def test_every_study_has_a_plan_for_them_by_every_recipe_for_cifar_10(study, tmp_path: Path) -> None:
    data = load(grey(tmp_path / "mine.npz"))
    for recipe in study.recipes:
        config = configure(study, recipe.name, data=str(tmp_path / "mine.npz"), seed=0, precision="float32")
        config = everywhere(config, data=data.name)
        cells, plan = planned(study, config, data)
        trained = [cell for cell in cells if cell.kind == "train"]
        assert {cell.data for cell in trained} <= {data.name}
        assert len({cell["key"] for cell in plan}) == len(plan)


@pytest.mark.parametrize("study", [ALL, *STUDIES], ids=lambda study: study.name)
def test_the_quick_recipe_is_for_every_data_set_and_takes_few_of_it(study) -> None:
    (quick,) = (recipe for recipe in study.recipes if recipe.name == "quick")
    assert quick.data == SMALL
    few = "[:4000]" if study.name in ("ablation", "frontier") else "[:8000]"
    named = {
        "shapes": "shapes",
        "cifar10": f"cifar10{few}",
        "cifar100": f"cifar100{few}",
        "cifar10[:90]": "cifar10[:90]",
    }
    for asked, data in {**named, "a/b.npz": f"a/b.npz{few}"}.items():
        config = configure(study, "quick", data=asked, seed=0, precision="float32")
        assert config.data == data
        assert all(part.data == data for part in getattr(config, "studies", {}).values())
    with pytest.raises(ValueError, match="did you mean 'cifar10'"):
        configure(study, "quick", data="cifar1", seed=0, precision="float32")
