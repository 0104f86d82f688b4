"""Names that are imported when they are first asked for; and what must not import torch."""

import subprocess
import sys
from pathlib import Path

import pytest

import groundglass.results as results
from groundglass.core.lazy import lazily


def test_a_name_is_found_once_and_an_unknown_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(results), "Run", raising=False)
    find = lazily("groundglass.results", {"Run": "groundglass.results.run"})
    run = find("Run")
    assert run.__module__ == "groundglass.results.run"
    assert vars(results)["Run"] is run, "the next look-up needs no import"
    with pytest.raises(AttributeError, match=r"'groundglass\.results' has no attribute 'Runs'"):
        find("Runs")
    with pytest.raises(ImportError):
        exec("from groundglass.results import Runs")


@pytest.mark.parametrize(
    "code",
    [
        "from groundglass.results import Run; assert len(Run.open('docs/results/full-width').attacks)",
        "import groundglass.studies.registry as r; assert len(r.STUDIES) > 10; "
        "from groundglass.studies import STUDIES, find_study; find_study('all'); "
        "from groundglass.core import lookup, write_json; import groundglass.core.statistics, groundglass.core.text",
    ],
)
def test_no_torch_is_imported(code: str) -> None:
    command = [sys.executable, "-c", f"{code}\nimport sys; assert 'torch' not in sys.modules"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_next_to_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import groundglass\n"
        "found = {name for name in set(sys.modules) - before if not name.startswith('groundglass')}\n"
        "assert not {'typing', 'collections', 'torch'} & found, found\n"
        "import groundglass.core; assert 'typing' not in set(sys.modules) - before\n"
        "from typing import Any; from groundglass.core import *; assert lookup and atomic_write, 'all names are there'"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
