"""The command line: a module a command. A command parses, calls one function, prints."""

from groundglass.cli.main import main

__all__ = ["main"]
