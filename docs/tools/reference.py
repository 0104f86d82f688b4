"""The reference: a page a public module, each public name in one place, and links to it wherever a page names it in code.

A module is public if it has an `__all__`. A public name without a docstring fails the build.
"""

import ast
import html
import importlib
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.plugins.reference")
SOURCE = Path(__file__).parents[2] / "src"
#: Phrasebooks have other libraries' names: a bare `PGD` is not theirs.
COMPAT = "groundglass.compat"
#: A command, not a library.
NOT_PUBLIC = ("groundglass.cli",)


def public_modules() -> Iterator[str]:
    """The modules that have an `__all__`, the package itself first."""
    for path in sorted((SOURCE / "groundglass").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        body = ast.parse(path.read_text(encoding="utf-8")).body
        has = any(isinstance(one, ast.Assign) and getattr(one.targets[0], "id", "") == "__all__" for one in body)
        if has and name not in NOT_PUBLIC:
            yield name


def public_names() -> dict[str, list[str]]:
    """The public names of each public module."""
    return {module: sorted(importlib.import_module(module).__all__, key=str.lower) for module in public_modules()}


class Reference:
    """What is public, where each name is documented, and what its docstring says first."""

    def __init__(self) -> None:
        self.names = public_names()
        extensions = griffe.load_extensions("griffe_sphinx")
        self._loaded = griffe.load("groundglass", search_paths=[SOURCE], extensions=extensions, resolve_aliases=True)
        self.homes: dict[str, str] = {}
        paths: dict[str, list[str]] = {}
        for module, names in self.names.items():
            for name in names:
                paths.setdefault(self.found(f"{module}.{name}").canonical_path, []).append(f"{module}.{name}")
        for canonical, exported in paths.items():
            # The module that is nearest to where it is written.
            within = [path for path in exported if canonical.startswith(path.rpartition(".")[0] + ".")]
            home = max(within or exported, key=lambda path: (path.count("."), -len(path)))
            self.homes.update(dict.fromkeys(exported, home))

    def found(self, path: str) -> Any:
        one = self._loaded if path == "groundglass" else self._loaded[path.removeprefix("groundglass.")]
        return one.final_target if one.is_alias else one

    def is_module(self, path: str) -> bool:
        return bool(self.found(path).is_module)

    def docstring(self, path: str) -> str:
        """Raises ValueError: there is none."""
        one = self.found(path)
        if one.docstring is None:
            where = f"{one.filepath}:{one.lineno}"
            raise ValueError(f"{path} is public, and {where} has no docstring (of a constant: `#: ...` above it)")
        return str(one.docstring.value)

    def summary(self, path: str) -> str:
        paragraph = self.docstring(path).strip().split("\n\n")[0].replace("\n", " ")
        first = re.split(r"(?<=[^.]\.) (?=[A-Z`])", paragraph)[0]
        return first.replace("|", "\\|")


def place(module: str) -> str:
    return f"reference/{module.removeprefix('groundglass.') if module != 'groundglass' else 'index'}.md"


def _table(first: str, second: str, rows: Iterable[str]) -> str:
    return "\n".join([f"| {first} | {second} |", "|---|---|", *rows])


def _function(reference: Reference, module: str) -> str | None:
    """The function in whose place a module may be called, as `gg.audit`."""
    path = f"{module}.{module.rpartition('.')[2]}"
    return path if path in reference.homes and not reference.is_module(path) else None


def _module_row(reference: Reference, module: str, says: str = "") -> str:
    name = module.rpartition(".")[2] if says else module
    text = f"[`{name}`]({place(module).rpartition('/')[2]})" if module in reference.names else f"`{name}`"
    return f"| {text} | {says}{reference.summary(module)} |"


def _row(reference: Reference, path: str) -> str:
    of_module = _function(reference, path)
    if reference.is_module(path) and of_module is None:
        return _module_row(reference, path, "a module: ")
    home = reference.homes[of_module or path]
    return f"| [`{path.rpartition('.')[2]}`][{home}] | {reference.summary(home)} |"


def module_page(reference: Reference, module: str) -> str:
    """What the module says of itself, its names with a line each, and the docstrings of those that have their home here."""
    paths = [f"{module}.{name}" for name in reference.names[module]]
    parts = [f"# `{module}`", reference.docstring(module)]
    parts.append(_table("name", "what it is", (_row(reference, path) for path in paths)))
    if module == "groundglass":
        rows = (_module_row(reference, one) for one in reference.names if one != module)
        parts += ["## Modules", _table("module", "what is in it", rows)]
    parts += [f"::: {path}" for path in paths if reference.homes[path] == path and not reference.is_module(path)]
    return "\n\n".join(parts) + "\n"


_reference: list[Reference] = []


def on_config(config: Any) -> Any:
    _reference[:] = [Reference()]
    (entry,) = [entry for entry in config.nav if "Reference" in entry]
    modules = list(_reference[0].names)
    compat = [{one.removeprefix(f"{COMPAT}."): place(one)} for one in modules if one.startswith(COMPAT)]
    entry["Reference"] = [
        place("groundglass"),
        *({one.removeprefix("groundglass."): place(one)} for one in modules[1:] if not one.startswith(COMPAT)),
        {"compat": compat},
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    (reference,) = _reference
    for module, names in reference.names.items():
        for name in names:
            try:
                reference.docstring(f"{module}.{name}")
            except ValueError as error:
                log.warning(str(error))
        files.append(File.generated(config, place(module), content=module_page(reference, module)))
    return files


def _short(reference: Reference) -> dict[str, str]:
    """What a page may write in code, and where that is documented: a whole path, one without `groundglass.`, one with `gg.`, or a
    name that means one thing alone."""
    paths: dict[str, str] = {}
    bare: dict[str, set[str]] = {}
    for path, home in reference.homes.items():
        if reference.is_module(path):
            function = _function(reference, path)
            if function is None:
                continue
            home = reference.homes[function]
        paths[path] = home
        module, _, name = path.rpartition(".")
        if module == "groundglass":
            paths[f"gg.{name}"] = home
        if not path.startswith(COMPAT):
            bare.setdefault(name, set()).add(home)
            paths.setdefault(path.removeprefix("groundglass."), home)
    for name, homes in bare.items():
        if len(homes) == 1:
            (paths[name],) = homes
    return paths


def _member_of(path: str) -> str:
    """`Run` of `Run.open`: of a class alone; else nothing."""
    whole = path.rpartition(".")[0]
    return whole if whole.rpartition(".")[2][:1].isupper() else ""


_CALL = re.compile(r"([A-Za-z_][\w.]*)(\(.*\))?", re.DOTALL)
_TAGS = re.compile(r"(<code>[^<]*</code>|</?(?:a|autoref|pre|h[1-6])\b[^>]*>)")


def linked(text: str, names: dict[str, str]) -> str:
    """HTML with a link on each public name in code that is in no link, heading or block of code. A word of lower-case letters
    alone is also a word of the shell: it is linked if it is called, or has its module before it."""
    depth, parts = 0, []
    for part in _TAGS.split(text):
        if part.startswith("<code>"):
            word = html.unescape(part[6:-7])
            found = _CALL.fullmatch(word)
            home = names.get(found[1]) or names.get(_member_of(found[1])) if found else None
            plain = (
                found is not None
                and found[1].islower()
                and "_" not in found[1]
                and "." not in found[1]
                and not found[2]
            )
            if depth == 0 and home is not None and not plain:
                part = f'<autoref identifier="{home}">{part}</autoref>'
        elif _TAGS.fullmatch(part):
            depth += -1 if part.startswith("</") else 1
        parts.append(part)
    return "".join(parts)


def on_page_content(text: str, page: Page, config: Any, files: Files) -> str:
    return linked(text, _short(_reference[0]))
