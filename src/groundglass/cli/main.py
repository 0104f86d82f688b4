"""`groundglass`: which command it is, how it ends, and what an error says.

Torch is imported only when there is something to compute, so that `--help` is quick.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import tyro

from groundglass.cli.audit import Audit
from groundglass.cli.device import Device
from groundglass.cli.options import Command
from groundglass.cli.redraw import Redraw
from groundglass.cli.results import Compact, Export, Report, Seeds, Tables
from groundglass.cli.retrieve import Retrieve
from groundglass.cli.run import Recipes, Run

_COMMANDS: dict[str, Callable[..., Command]] = {
    "run": Run,
    "report": Report,
    "tables": Tables,
    "export": Export,
    "compact": Compact,
    "seeds": Seeds,
    "redraw": Redraw,
    "retrieve": Retrieve,
    "audit": Audit,
    "device": Device,
    "recipes": Recipes,
}


class _Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM): like Ctrl-C, with another exit code."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM stops the work as Ctrl-C does, and not without a word."""

    def stop(signum: int, frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():  # no other may set it
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> int:
    """The `groundglass` command. Returns the exit code.

    0; 1 for an error that the user can correct; 2 for a wrong command line; 130 after Ctrl-C, 143 after SIGTERM.
    """
    # Read when torch is loaded, which is later. Its threads then sleep between operations, where they would keep the
    # cores busy that the threads of the device and of the convolutions need, and those of any other process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] not in _COMMANDS and not given[0].startswith("-"):
        from groundglass.studies import ALL, STUDIES

        if any(study.name == given[0] for study in (ALL, *STUDIES)):
            print(f"groundglass: {given[0]} is a study: `groundglass run {' '.join(given)}`", file=sys.stderr)
            return 2
    command = tyro.extras.subcommand_cli_from_dict(
        _COMMANDS,
        prog="groundglass",
        description="What a secret analog layer buys a neural network against adversarial attack, and what it costs to break.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),  # the options of `device new` are --out, not --command.out
    )
    try:
        with _terminable():
            command.run()
    except KeyboardInterrupt as stop:
        how, number = (
            ("ended by SIGTERM", signal.SIGTERM) if isinstance(stop, _Terminated) else ("interrupted", signal.SIGINT)
        )
        print(f"\n{how}: {stop}" if str(stop) else f"\n{how}", file=sys.stderr)
        return 128 + number  # as shells count it
    except (ValueError, OSError, RuntimeError) as error:
        # A RuntimeError of ours is a result (training diverged), another one is a bug.
        if isinstance(error, RuntimeError) and not type(error).__module__.startswith("groundglass."):
            raise
        print(f"groundglass: {_said(error)}", file=sys.stderr)
        return 1
    return 0


def _said(error: Exception) -> str:
    """An error without its number: `[Errno 11]` helps nobody."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
