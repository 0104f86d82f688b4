"""The notebooks, run when the site is built, as pages: text, code, what it printed, tables and pictures.

`DOCS_NOTEBOOKS=off mkdocs serve` shows them without outputs, which is quicker.
"""

import base64
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
#: Colours of a terminal.
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def _printed(text: str) -> str:
    return f'<pre class="output"><code>{html.escape(_ESCAPES.sub("", text).rstrip())}</code></pre>'


def _table(text: str) -> str:
    """A pandas frame, without its own style and border."""
    text = re.sub(r"<style.*?</style>|</?div[^>]*>", "", text, flags=re.DOTALL)
    text = re.sub(r"<table[^>]*>", "<table>", text)
    text = text.replace("<th></th>", "<td></td>")
    return re.sub(r"\n\s*", "", text)


def _output(output: Any, source: str, name: str, pictures: dict[str, bytes]) -> str:
    if output.output_type == "stream":
        return _printed(output.text)
    if output.output_type == "error":
        raise RuntimeError(f"{name}: {output.ename}: {output.evalue}")
    data = output.data
    if "image/png" in data:
        place = f"notebooks/{name}-{len(pictures) + 1}.png"
        pictures[place] = base64.b64decode(data["image/png"])
        shows = html.escape(source.strip().splitlines()[-1], quote=True)
        return f'<img class="output" alt="What the cell draws that ends with {shows}" src="{Path(place).name}">'
    return _table(data["text/html"]) if "text/html" in data else _printed(data["text/plain"])


def _parts(notebook: Any, name: str, pictures: dict[str, bytes]) -> Iterator[str]:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield cell.source
            continue
        yield f"```python\n{cell.source.removeprefix('%matplotlib inline').strip()}\n```"
        yield from (_output(output, cell.source, name, pictures) for output in cell.get("outputs", ()))


def page(path: Path, *, run: bool = True) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures, each by its path in the site."""
    notebook = nbformat.read(path, as_version=4)
    if run:
        client = NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(FOLDER)}})
        # Threads that wait for each other are slow where others compute too.
        client.execute(env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"})
    pictures: dict[str, bytes] = {}
    title, *parts = _parts(notebook, path.stem, pictures)
    where = f"This page is a notebook, `docs/notebooks/{path.name}`, run when the site was built."
    return "\n\n".join([title, *parts, where]) + "\n", pictures


def on_files(files: Files, config: Any) -> Files:
    run = os.environ.get("DOCS_NOTEBOOKS") != "off"
    for path in sorted(FOLDER.glob("*.ipynb")):
        place = f"notebooks/{path.name}"
        files.remove(files.src_uris[place])
        text, pictures = page(path, run=run)
        files.append(File.generated(config, place.removesuffix(".ipynb") + ".md", content=text))
        for picture, content in pictures.items():
            files.append(File.generated(config, picture, content=content))
    return files
