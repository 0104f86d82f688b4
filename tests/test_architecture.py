"""The examples of docs/architecture.md run, and what they make is of use."""

import re
import sys
from pathlib import Path

import pytest

import groundglass as gg
from groundglass.data import load_shapes
from groundglass.studies.engine import planned

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"


def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that begins with the name of a file is that file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(planned, "load", lambda name, data_dir=None: load_shapes(n_train=20, n_test=60, seed=0))
    monkeypatch.setattr(planned, "fastest_precision", lambda where: "float32")
    space: dict = {"__name__": "architecture"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        first = block.partition("\n")[0]
        if first.startswith("# ") and first.endswith(".py"):
            place = tmp_path / first.removeprefix("# ")
            place.parent.mkdir(exist_ok=True)
            (place.parent / "__init__.py").touch()
            place.write_text(block, encoding="utf-8")
        else:
            exec(compile(block, str(PAGE), "exec"), space)
    model, images, labels = space["model"], space["images"], space["labels"]
    right = (model(images).argmax(1) == labels).float().mean()
    assert space["climbed"].robust_accuracy < right
    assert space["climbed"].norm.max() <= 0.1 + 1e-6
    assert space["asked"].queries.max() <= 30
    assert space["through"].gradients.max() <= 5
    assert space["dimmed"](images).shape == (20, 4)
    assert 0 <= space["run"].frame("dark")["share"].iloc[0] <= 1
    for name in [name for name in sys.modules if name.partition(".")[0] == "dark"]:
        del sys.modules[name]


def test_what_the_page_names_is_there() -> None:
    named = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 15
    missing = [path for path in named if not ((ROOT / "src" / "groundglass" / path).exists() or (ROOT / path).exists())]
    assert not missing
    assert gg.PGD.__module__ == "groundglass.attacks.pgd"
