"""The notebooks run from top to bottom, say what they say with numbers, show their pictures, and are kept without outputs."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """One kernel for all, of this interpreter: each of its own would import torch anew."""
    manager = KernelManager()
    manager.start_kernel(env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"})
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture
def run(kernel: KernelManager) -> Callable[..., tuple[dict[str, Any], int]]:
    def run(name: str, **wanted: str) -> tuple[dict[str, Any], int]:
        """What expressions are worth at the end of a notebook, and how many pictures it shows."""
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        asked = f"import json; print(json.dumps({{{', '.join(f'{key!r}: {text}' for key, text in wanted.items())}}}))"
        first, last = (nbformat.v4.new_code_cell(text) for text in ("%reset -f", asked))
        notebook.cells = [first, *notebook.cells, last]
        NotebookClient(notebook, km=kernel, timeout=240, resources={"metadata": {"path": str(FOLDER)}}).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        pictures = [output for output in outputs if "image/png" in output.get("data", {})]
        return json.loads(outputs[-1]["text"]), len(pictures)

    return run


def test_the_attacks_find_what_they_look_for(run: Callable[..., tuple[dict[str, Any], int]]) -> None:
    found, pictures = run(
        "attack",
        left="result.robust_accuracy",
        sweep="sweep.robust_accuracy",
        aimed="aimed.success_rate",
        asked="asked.queries.max().item()",
        norm="result.norm.max().item()",
    )
    assert found["left"] < 0.25 < found["sweep"][0]
    assert found["sweep"] == sorted(found["sweep"], reverse=True)
    assert found["aimed"] <= 1 - found["left"]
    assert found["asked"] <= 100
    assert found["norm"] <= 1 / 255 + 1e-6
    assert pictures == 4


def test_the_audit_keeps_less_than_the_defender_hopes_for(run: Callable[..., tuple[dict[str, Any], int]]) -> None:
    found, pictures = run(
        "defend-and-audit",
        clean="clean",
        hoped="on_hoped.robust_accuracy",
        worst="found.worst.share",
        verdict="found.claim('dfa-fresh+fa').verdict",
    )
    assert min(found["clean"]) > 0.9
    assert found["hoped"] > found["worst"] + 0.3
    assert found["verdict"] == "contradicted"
    assert pictures == 1


def test_the_matrix_is_retrieved(run: Callable[..., tuple[dict[str, Any], int]]) -> None:
    found, pictures = run(
        "retrieve",
        error="errors.median().item()",
        quiet="quiet.points[-1].error",
        noisy="noisy.points[-1].error",
        off="(read - predicted).abs().median().item()",
    )
    assert found["error"] < 0.03
    assert found["quiet"] < 0.05 < found["noisy"]
    assert found["off"] < 2
    assert pictures == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_notebook_is_kept_with_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_every_notebook_is_run_and_linked() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"attack", "defend-and-audit", "retrieve"}
    page = (FOLDER.parent / "how-to.md").read_text()
    assert all(f"notebooks/{path.name}" in page for path in NOTEBOOKS)
