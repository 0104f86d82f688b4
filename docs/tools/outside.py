"""A page of the site for each file outside docs/ that a page links to, README.md first: it is the site's home.

Links are written as they are right in the repository; here they are made right for the site, whatever is on their other end.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
HOME = "README.md"
#: In the navigation, whether or not a page links to them.
ALWAYS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
#: Files of a linked folder that are shown, up to this size in bytes; others are named.
SHOWN, SHOWN_UP_TO = {".py", ".j2", ".toml", ".conf", ".service"}, 20_000
LANGUAGES = {".py": "python", ".toml": "toml", ".cff": "yaml", ".j2": "jinja", ".service": "ini", ".conf": "nginx"}

_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s]+)(\))")
_CODE = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)[ ]*$|`[^`\n]+`|^ {4,}[^\n]*$)", re.DOTALL | re.MULTILINE)


def mended(text: str, change: Any) -> str:
    """The text with `change(target)` for the target of each link; code is left alone, unless it is the text of a link."""
    hidden: list[str] = []

    def hide(found: re.Match[str]) -> str:
        hidden.append(found[0])
        return f"\x00{len(hidden) - 1}\x00"

    text = _LINK.sub(lambda found: found[1] + change(found[2]) + found[3], _CODE.sub(hide, text))
    return re.sub(r"\x00(\d+)\x00", lambda found: hidden[int(found[1])], text)


def targets(path: Path) -> list[str]:
    """What the links of a file point to."""
    found: list[str] = []
    if path.suffix in {".md", ".ipynb"}:
        mended(path.read_text(encoding="utf-8"), lambda target: found.append(target) or target)
    return found


def repository_path(place: str) -> str:
    """Where a page of the site, named by its path there, comes from."""
    if place == "index.md":
        return HOME
    if place.startswith("project/"):
        return place.removeprefix("project/")
    return f"docs/{place}"


def site_path(path: str, inside: set[str]) -> str:
    """Where a file of the repository is in the site; `inside`: what of docs/ is there as it is."""
    within = path.removeprefix("docs/")
    if path.startswith("docs/") and within.endswith(".ipynb"):
        return within.removesuffix(".ipynb") + ".md"
    if path.startswith("docs/") and within in inside:
        return within
    if path == HOME:
        return "index.md"
    return f"project/{path}" if path.endswith(".md") else f"project/{path}.md"


def split(target: str, page: str) -> tuple[str, str] | None:
    """The path of what a link on a page means, both in the repository, and its anchor; None: nothing in the repository."""
    if re.match(r"[a-z]+:|#|/", target):
        return None
    path, hash_, anchor = target.partition("#")
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path)), hash_ + anchor


def _shown(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    fence = "`" * (3 + max((len(run) - 2 for run in re.findall(r"`{3,}", text)), default=0))
    return f"{fence}{LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _folder(path: Path) -> Iterator[str]:
    names = sorted(one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)
    yield "In the repository:\n"
    yield from (f"- `{one.relative_to(path)}`, {one.stat().st_size:,} bytes" for one in names)
    for one in names:
        if one.suffix in SHOWN and one.stat().st_size <= SHOWN_UP_TO:
            yield f"\n## `{one.relative_to(path)}`\n\n{_shown(one)}"


def _page(path: str) -> str:
    at = ROOT / path
    if at.suffix == ".md":
        return at.read_text(encoding="utf-8")
    title = f"---\nsearch:\n  exclude: true\n---\n\n# `{path}`\n\n"
    return title + ("\n".join(_folder(at)) if at.is_dir() else _shown(at))


def on_files(files: Files, config: Any) -> Files:
    inside = {file.src_uri for file in files if not file.inclusion.is_excluded()}
    made = set(ALWAYS)
    waiting = [*ALWAYS, *(f"docs/{place}" for place in inside if place.endswith((".md", ".ipynb")))]
    while waiting:
        page = waiting.pop()
        for target in targets(ROOT / page):
            meant = split(target, page)
            if meant is None or meant[0] in made or not (ROOT / meant[0]).exists():
                continue  # mkdocs tells of what is not there
            place = site_path(meant[0], inside)
            if place.startswith("project/"):
                made.add(meant[0])
                waiting.append(meant[0])
    for path in sorted(made):
        files.append(File.generated(config, site_path(path, inside), content=_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    here = page.file.src_uri
    inside = {file.src_uri for file in files}

    def change(target: str) -> str:
        meant = split(target, repository_path(here))
        if meant is None or here.startswith("reference/"):
            return target
        path, anchor = meant
        return posixpath.relpath(site_path(path, inside), posixpath.dirname(here) or ".") + anchor

    return mended(markdown, change)
