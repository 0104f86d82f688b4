"""What the package needs, and what it says when an extra is missing."""

import ast
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import groundglass
from groundglass.core.imported import EXTRAS, MissingLibraryError, library, require
from groundglass.core.lazy import PARTS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What each import is called where it is installed from.
NAMES = {"sklearn": "scikit-learn", "prometheus_client": "prometheus-client", "llvmlite": "numba"}


def packages(lines: list[str]) -> set[str]:
    """Names without versions; those of extras that are named, too."""
    found = set()
    for line in lines:
        name, _, extras = re.match(r"([A-Za-z0-9-]+)(\[(.*)\])?", line).groups()
        found |= {name} if name != "groundglass" else set()
        for extra in (extras or "").split(",") if name == "groundglass" else ():
            found |= packages(PROJECT["optional-dependencies"][extra])
    return found


def test_an_error_names_an_extra_that_brings_the_library():
    for module, extra in EXTRAS.items():
        assert NAMES.get(module, module) in packages(PROJECT["optional-dependencies"][extra]), module


def test_every_library_that_is_imported_is_one_of_the_core_or_of_an_extra():
    core = packages(PROJECT["dependencies"])
    assert core == {"torch", "numpy", "safetensors", "jaxtyping"}
    known = {"groundglass", "mpl_toolkits", "markupsafe", *core, *EXTRAS, *sys.stdlib_module_names}
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert {name.partition(".")[0] for name in names} <= known, path


def test_studies_and_the_environment_of_developers_have_all_that_they_use():
    extras = PROJECT["optional-dependencies"]
    assert packages(extras["studies"]) >= {
        "numba",
        "pandas",
        "matplotlib",
        "jinja2",
        "tyro",
        "rich",
        "platformdirs",
        "requests",
    }
    every = {name for extra, lines in extras.items() if extra not in ("parquet", "docs") for name in packages(lines)}
    assert packages(extras["dev"]) >= every


# Everything of the extras is hidden, as in an environment without them.
ATTACKS_ALONE = """
import sys, warnings
warnings.simplefilter("error")
from groundglass.core.imported import EXTRAS, MissingLibraryError
sys.modules.update(dict.fromkeys(EXTRAS))
sys.modules["fcntl"] = sys.modules["resource"] = None  # as on Windows
import torch, groundglass as gg, groundglass.certify, groundglass.results, groundglass.studies
from groundglass.bench import JOBS, benchmark
torch.manual_seed(0)
layers = [torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.ReLU()]
model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(64, 4)).eval()
images = torch.rand(8, 3, 4, 4)
labels = model(images).argmax(1)
found = gg.PGD(steps=5)(model, images, labels, gg.Linf(0.3))
assert found.success.any() and found.confirmed(model, labels).success.equal(found.success)
assert gg.Square()(model, images, labels, gg.Linf(0.5), budget=50).success.any()
gg.load("vgg-16")
for kind in ("dense", "procedural", "structured"):
    device = gg.SimulatedOPU.create(20, 40, kind=kind, seed=1)
    assert device.measure(torch.ones(2, 20, dtype=torch.uint8)).any()
asked = [found.to_frame, found.plot_curve, lambda: gg.PGD()(model, images, labels, gg.Linf(0.1), progress=True)]
asked += [lambda: __import__("groundglass.cli"), lambda: __import__("groundglass.report"), lambda: groundglass.results.Run]
for ask in asked:
    try:
        ask()
    except MissingLibraryError as error:
        print(error)
    else:
        raise AssertionError(ask)
from groundglass.__main__ import main
sys.exit(main() - 1)
"""


def test_who_attacks_needs_no_extra():
    """Also a device works without one; what needs one says which. Nor do attacks need what Windows does not have."""
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", ATTACKS_ALONE], capture_output=True, text=True, timeout=280, env=alone)
    assert run.returncode == 0, run.stderr
    extras = re.findall(r'pip install "groundglass\[(\w+)\]"\n', run.stdout)
    assert extras == ["reports", "reports", "cli", "cli", "reports", "reports"], run.stdout
    assert re.fullmatch(r'groundglass: .*pip install "groundglass\[cli\]"\n', run.stderr), run.stderr


DIVIDE = runpy.run_path(str(ROOT / "release" / "divide.py"))

# What `pip install groundglass` brings from an index.
CORE_ALONE = """
import sys
import torch, groundglass as gg
import groundglass.audit, groundglass.certify, groundglass.compat.lightonml, groundglass.features, groundglass.results
from groundglass.core.imported import MissingLibraryError
from groundglass.core.lazy import PARTS
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)).eval()
images = torch.rand(4, 3, 4, 4)
assert gg.PGD(steps=5)(model, images, model(images).argmax(1), gg.Linf(0.5)).success.any()
for name in PARTS:
    try:
        __import__(name)
    except MissingLibraryError as error:
        print(error)
from groundglass.__main__ import main
sys.exit(main() - 1)
"""


def test_the_core_works_without_what_has_a_distribution_of_its_own(tmp_path):
    """Each file is in one of the two; the first needs nothing of the second, and says what to type."""
    assert {f"groundglass.{name}" for name in DIVIDE["TOP"]} == set(PARTS)
    clone, studies = tmp_path / "clone", tmp_path / "studies"
    clone.mkdir()
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, clone)
    shutil.copytree(ROOT / "src", clone / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    every = {path.relative_to(clone) for path in clone.rglob("*.py")}
    DIVIDE["divide"](clone, studies)
    version = groundglass.__version__
    core, above = ({path.relative_to(top) for path in top.rglob("*.py")} for top in (clone, studies))
    assert core | above == every
    assert not core & above

    extras = tomllib.loads((clone / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asking = {extra for extra, lines in extras.items() if f"groundglass-studies=={version}" in lines}
    needed = {extra: {name for line in lines for name in named(line)} for extra, lines in extras.items()}
    for extra in {*PARTS.values(), "studies", "service", "notebooks", "parquet", "ray"}:
        assert extra in asking or needed[extra] & (asking | {"studies"}), extra
    made = tomllib.loads((studies / "pyproject.toml").read_text())["project"]
    assert (made["version"], made["dependencies"]) == (version, [f"groundglass=={version}"])
    assert made["requires-python"] == PROJECT["requires-python"]

    alone = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(clone / "src")}
    run = subprocess.run([sys.executable, "-c", CORE_ALONE], capture_output=True, text=True, timeout=280, env=alone)
    assert run.returncode == 0, run.stderr
    told = re.findall(r'^(\S+) is not installed: pip install "groundglass\[(\w+)\]"$', run.stdout, re.M)
    assert dict(told) == PARTS
    assert re.fullmatch(r'groundglass: .*pip install "groundglass\[cli\]"\n', run.stderr), run.stderr


def named(line: str) -> list[str]:
    found = re.match(r"groundglass\[(.*)\]", line)
    return found[1].split(",") if found else []


def test_an_index_shows_no_link_that_leads_nowhere():
    text = "![a [b] c](d.png) [`x`](docs/y.md#z) and [out](https://a.org/b), [here](#top)\n```\n[code](file)\n```\n"
    described = DIVIDE["description"]
    assert described(text, None, "1.0") == " `x` and [out](https://a.org/b), here\n```\n[code](file)\n```\n"
    whole = described(text, "https://a.org/g/", "1.0")
    assert "![a [b] c](https://a.org/g/raw/v1.0/d.png) [`x`](https://a.org/g/blob/v1.0/docs/y.md#z)" in whole
    shown = described((ROOT / "README.md").read_text(), None, "1.0")
    assert all(re.match(r"[a-z]+:", target) for target in re.findall(r"\]\(([^)]+)\)", shown))


def test_a_missing_library_is_named_with_the_line_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for ask in (lambda: library("pandas", "a table"), lambda: require("a table", "json", "pandas")):
        with pytest.raises(
            MissingLibraryError, match=r'^a table needs pandas.*pip install "groundglass\[reports\]"$'
        ) as told:
            ask()
        assert isinstance(told.value, ImportError)
        assert told.value.name == "pandas"
    with pytest.raises(MissingLibraryError, match=r"pip install no_such_library$"):
        library("no_such_library.inner", "a table")
    assert library("json", "a table").loads("1") == 1
    require("a table", "json", "tomllib")


def test_the_version_has_one_source():
    assert "version" in PROJECT["dynamic"]
    assert f"\nversion: {groundglass.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {groundglass.__version__}" in (ROOT / "CHANGELOG.md").read_text()
