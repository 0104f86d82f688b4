"""The shape of the house: no import cycle, no file that has grown too long, nothing left to globals."""

import ast
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import pytest_collection_modifyitems

SOURCE = Path(__file__).parents[1] / "src"
FILES = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in SOURCE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}


def imported(path: Path) -> set[str]:
    """Modules of ours that a module imports, type checking included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("groundglass"):
            whole = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if name in MODULES else node.module for name in whole}
    return found


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: imported(path) - {name} for name, path in MODULES.items() if path.name != "__init__.py"}
    while leaves := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, f"these import each other: {sorted(graph)}"


def test_no_lazy_name_is_a_modules_too() -> None:
    """Whoever imports the module first would find it in the name's place."""
    lazy = {name for name, path in MODULES.items() if path.name == "__init__.py" and "lazily(" in path.read_text()}
    assert "groundglass.core" in lazy
    offered = {f"{name}.{each}" for name in lazy for each in __import__(name, fromlist=["__all__"]).__all__}
    # But for a module that may be called in place of its function.
    assert {name for name in offered & MODULES.keys() if not callable(import_module(name))} == set()


def test_no_file_is_over_400_lines() -> None:
    long = {name: count for name, path in FILES.items() if (count := len(path.read_text().splitlines())) > 400}
    assert not long


#: What makes a file or gives it a name. All but a few do so by `core.files`: what they return from is then on the disk.
WRITES = re.compile(
    r"\.mkdir\(|os\.(replace|rename|link)\(|\.rename\((?!columns)|\.write_(text|bytes)\(|O_CREAT"
    r"|open\([^()]*[\"'](w|x|a\+?|r\+)b?[\"']"
)
WRITERS = {
    "groundglass.core.files": "the writer itself",
    "groundglass.core.platform": "/proc",
    "groundglass.results.journal": "lines that are appended",
    "groundglass.core.locks": "a lock",
    "groundglass.optics.streams.reading_file": "written piece by piece",
    "groundglass.optics.retrieval.folder": "the same",
    "groundglass.data.download": "in a temporary folder",
    "groundglass.models.schemes": "the same",
}


def test_one_writer_for_all_files() -> None:
    found = {name for name, path in FILES.items() if WRITES.search(path.read_text())}
    assert found == WRITERS.keys()


#: What makes a tensor of torch's default dtype, on its default device, unless told otherwise.
FACTORIES = re.compile(
    r"torch\.(arange|as_tensor|asarray|empty|empty_strided|eye|full|linspace|logspace|normal|ones|rand|randint|randn"
    r"|randperm|range|scalar_tensor|tensor|tril_indices|triu_indices|zeros)"
    r"|nn\.(BatchNorm\dd|Conv\dd|Embedding|GroupNorm|LayerNorm|Linear|utils\.skip_init)"
)


def unnamed(source: str) -> list[str]:
    """Calls that leave the dtype or the device of what they make to torch's defaults, which are a user's to set."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func)
        needed = (
            {"dtype", "device"} if FACTORIES.fullmatch(name) else {"device"} if name == "torch.Generator" else set()
        )
        if not needed <= {keyword.arg for keyword in call.keywords}:
            found.append(f"line {call.lineno}: {ast.unparse(call)}")
    return found


def test_what_makes_tensors_names_their_dtype_and_device() -> None:
    """The same seed gives the same numbers, whatever a user has set; `core.numbers` has what is needed most."""
    assert len(unnamed("torch.zeros(3)\nnn.Linear(3, 4)\ntorch.Generator()\ntorch.eye(2, dtype=torch.int64)")) == 4
    assert unnamed("torch.zeros_like(x)\nx.new_zeros(3)\ntorch.ones(2, dtype=torch.bool, device=where)") == []
    assert not {name: calls for name, path in FILES.items() if (calls := unnamed(path.read_text()))}


def test_one_place_seeds_and_forks_the_global_streams() -> None:
    """`torch.manual_seed` reaches the cards, and a fork of the processor's stream does not bring theirs back."""
    found = {
        name for name, path in FILES.items() if re.search(r"fork_rng\(|torch\.(cuda\.)?manual_seed", path.read_text())
    }
    assert found == {"groundglass.core.seeds"}


class Case:
    """What the hook that divides cases between `make test` and `make slow` sees of a test."""

    path = Path(__file__)

    def __init__(self, test: str, case: int, one_in: int | None) -> None:
        self.nodeid, self.marks = f"{test}[{case}]", [] if one_in is None else [pytest.mark.one_in(one_in).mark]

    def get_closest_marker(self, name: str) -> Any:
        return next((mark for mark in self.marks if mark.name == name), None)

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.mark)


def test_of_many_cases_each_nth_is_quick_and_which_they_are_differs_between_tests() -> None:
    cases = [Case(test, case, one_in=3) for test in ("first", "another") for case in range(10)]
    others = [Case("plain", case, one_in=None) for case in range(3)]
    few = [Case(test, case, one_in=9) for test in ("abc", "abcd", "abcde") for case in range(2)]
    pytest_collection_modifyitems([*cases, *others, *few])  # type: ignore[list-item]
    assert not any(one.marks for one in others)
    quick = [one.nodeid for one in cases if one.get_closest_marker("slow") is None]
    assert quick == ["first[1]", "first[4]", "first[7]", "another[2]", "another[5]", "another[8]"]
    assert [one.nodeid for one in few if one.get_closest_marker("slow") is None] == ["abc[1]", "abcd[0]", "abcde[1]"]
