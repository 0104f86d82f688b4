"""The shape of the house: no import cycle, no file that has grown too long."""

import ast
import re
from pathlib import Path

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
    "groundglass.results.lock": "a lock",
    "groundglass.optics.streams.reading_file": "written piece by piece",
    "groundglass.optics.retrieval.folder": "the same",
    "groundglass.data.download": "in a temporary folder",
}


def test_one_writer_for_all_files() -> None:
    found = {name for name, path in FILES.items() if WRITES.search(path.read_text())}
    assert found == WRITERS.keys()
