"""Which commands there are, and what each does, without importing one.

The help of all is read from the commands' own docstrings, in their source: to import them, and what lays out the options of
one, takes six times as long as to print it.
"""

import os
import re
import shutil
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groundglass.cli.options import Command

_HERE = "groundglass.cli"
#: Each with its module and its class, in the order in which the help has them.
COMMANDS = {
    "run": ("run", "Run"),
    "plan": ("plan", "Plan"),
    "report": ("results", "Report"),
    "tables": ("results", "Tables"),
    "export": ("results", "Export"),
    "compact": ("results", "Compact"),
    "seeds": ("results", "Seeds"),
    "redraw": ("redraw", "Redraw"),
    "harden": ("harden", "Harden"),
    "retrieve": ("retrieve", "Retrieve"),
    "audit": ("audit", "Audit"),
    "device": ("device", "Device"),
    "recipes": ("run", "Recipes"),
    "zoo": ("zoo", "Zoo"),
    "bench": ("bench", "Bench"),
}
DESCRIPTION = (
    "What a secret analog layer buys a neural network against adversarial attack, and what it costs to break. "
    "`groundglass --version` prints the version."
)
# Where the text of an option, or of a command, begins.
_COLUMN = 14


def class_of(name: str) -> "type[Command]":
    """A command, imported."""
    module, kind = COMMANDS[name]
    found: type[Command] = getattr(import_module(f"{_HERE}.{module}"), kind)
    return found


def summary(name: str) -> str:
    """What a command does: the docstring of its class, as one paragraph."""
    module, kind = COMMANDS[name]
    try:
        source = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    except OSError:  # installed without sources
        source = ""
    found = re.search(rf'^class {kind}\(Command\):\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL)
    text = found[1] if found else class_of(name).__doc__
    return " ".join((text or "").split())


def overview() -> str:
    """What `groundglass --help` prints: the words and the look of the help of a command, which tyro lays out."""
    style = _Style()
    width = shutil.get_terminal_size().columns
    options = [("-h, --help".ljust(_COLUMN), "show this help message and exit")]
    commands = [(f"  • {name}".ljust(_COLUMN), summary(name)) for name in COMMANDS]
    return "\n".join(
        (
            f"{style.bold('usage:')} groundglass [-h] {{{','.join(COMMANDS)}}}",
            "",
            DESCRIPTION,
            "",
            *style.box("options", options, width),
            *style.box("subcommands", [("(required)", ""), *commands], width),
        )
    )


class _Style:
    """Boxes and dimmed text where standard output can show them."""

    def __init__(self) -> None:
        self._boxes = (sys.stdout.encoding or "").lower() == "utf-8"
        self._colours = sys.stdout.isatty() and os.environ.get("TERM") not in (None, "dumb")

    def bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._colours else text

    def dim(self, text: str) -> str:
        return f"\033[2m{text}\033[0m" if self._colours else text

    def box(self, title: str, rows: list[tuple[str, str]], width: int) -> list[str]:
        """Rows of a name and its text, which is wrapped beside it."""
        inner = width - (4 if self._boxes else 2)
        lines = [line for name, text in rows for line in self._row(name, text, inner)]
        if not self._boxes:
            return [f" {title}".ljust(width), f" {'-' * (width - 2)} ", *(f"  {line}" for line in lines), " " * width]
        side = self.dim("│")
        return [
            self.dim(f"╭─ {title} {'─' * (width - 5 - len(title))}╮"),
            *(f"{side} {line} {side}" for line in lines),
            self.dim(f"╰{'─' * (width - 2)}╯"),
        ]

    def _row(self, name: str, text: str, width: int) -> list[str]:
        room = width - _COLUMN
        parts = textwrap.wrap(text, room, break_on_hyphens=False) or [""]
        first, *others = [self.dim(part.ljust(room)) for part in parts]
        return [name.ljust(_COLUMN) + first, *(" " * _COLUMN + part for part in others)]
