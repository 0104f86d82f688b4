"""The command line: a module a command. A command parses, calls one function, prints."""

from groundglass.core.imported import require

require("the command line", "tyro", "rich")

from groundglass.cli.main import main  # noqa: E402

__all__ = ["main"]
