"""What the documentation site needs of the repository, without building it: `make docs` does that, and is stricter."""

import ast
import inspect
import re
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
DOCS = ROOT / "docs"


def public_modules() -> list[str]:
    """Those that have an `__all__`; the command is none."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        if re.search(r"^__all__\b", path.read_text(encoding="utf-8"), re.MULTILINE) and name != "groundglass.cli":
            found.append(name)
    return found


@cache
def constants_with_docstrings() -> set[str]:
    """Names with a comment `#: ...` above them, or a string below."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"^#: .*\n(?:#.*\n)*(\w+)\b[^\n]*=", text, re.MULTILINE))
        body = ast.parse(text).body
        for one, after in pairwise(body):
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(one, ast.Assign):
                found |= {target.id for target in one.targets if isinstance(target, ast.Name)}
    return found


def has_docstring(name: str, value: object) -> bool:
    if isinstance(value, ModuleType) or inspect.isroutine(value):
        return bool(value.__doc__)
    if inspect.isclass(value) and value.__name__ == name:
        # A dataclass without one gets its signature.
        return bool(value.__dict__.get("__doc__")) and not value.__doc__.startswith(f"{name}(")
    return name in constants_with_docstrings()


@pytest.mark.parametrize("module", public_modules())
def test_every_public_name_has_a_docstring(module: str) -> None:
    one = import_module(module)
    assert one.__doc__
    assert [name for name in one.__all__ if not has_docstring(name, getattr(one, name))] == []


def test_what_has_no_docstring_is_found() -> None:
    assert not has_docstring("Bare", type("Bare", (), {}))
    assert not has_docstring("NOWHERE", 3)
    assert not has_docstring("bare", lambda: None)


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    pages |= {f"notebooks/{path.stem}.md" for path in (DOCS / "notebooks").glob("*.ipynb")}
    listed = set(re.findall(r"[\w/-]+\.md", nav))
    assert pages <= listed, "add each to mkdocs.yml"
    assert {page for page in listed - pages if not page.startswith("project/")} == {"index.md"}


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_equations_have_the_macros_that_the_usual_host_takes(path: Path) -> None:
    equations = re.findall(r"^```math\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert not [one for one in equations if "\\operatorname" in one]
    assert all(one.count("{") == one.count("}") for one in equations)


def anchor(heading: str) -> str:
    """What a heading is called in links, as the usual host makes it."""
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")


@cache
def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def dead_links(page: Path) -> list[str]:
    """Links within the repository to a file, or to a heading of a page, that is not there."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        name, _, wanted = target.partition("#")
        other = page.parent / name if name else page
        if re.match(r"[a-z]+:", target):
            continue
        if not other.exists():
            found.append(target)
        elif wanted and other.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", without_code(other), re.MULTILINE)
            found += [target] if wanted not in map(anchor, headings) else []
    return found


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name)
def test_links_lead_to_a_file_and_a_heading(path: Path) -> None:
    assert dead_links(path) == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Here `it` is\n[a](#here-it-is) [b](#gone) [c](page.md#gone) [d](https://host/x) [f](gone.md#x)\n```\n[e](f)\n```\n"
    )
    assert dead_links(page) == ["#gone", "page.md#gone", "gone.md#x"]
