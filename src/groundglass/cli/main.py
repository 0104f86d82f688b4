"""`groundglass`: which command it is, how it ends, and what an error says.

Torch is imported only when there is something to compute, and commands only when one is given, so that `--help` is quick.
"""

import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

from groundglass import __version__
from groundglass.cli.commands import COMMANDS, DESCRIPTION, class_of, overview
from groundglass.cli.terminal import complain, lasting_streams, say, unwritten
from groundglass.core.stopping import Stopped, stoppable

if TYPE_CHECKING:
    from groundglass.cli.options import Command

# With fewer columns, laying out the help never ends.
_NARROWEST = 30


def _check_folder() -> None:
    """A shell can be in a folder that was deleted; torch's libraries end the process there without saying why.

    Raises:
        FileNotFoundError: the current folder is gone.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise FileNotFoundError("the current folder is no longer there: `cd` to one that is") from None


def main(arguments: list[str] | None = None) -> int:
    """The `groundglass` command. Returns the exit code.

    0; 1 for an error that the user can correct; 2 for a wrong command line; 130 after Ctrl-C, 143 after SIGTERM.
    A log that cannot be written changes nothing. Nor does a reader of the output that leaves early; output that was not
    written for another reason, such as a full disk, is an error: 1.
    """
    given = [sys.argv[1:] if arguments is None else arguments]
    del arguments  # a seed may be among them: no traceback shows it
    with lasting_streams() as output:
        try:
            code = _run(given)
        except SystemExit as end:  # after --help, or a command line that does not parse
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if why := unwritten(output):
            complain(f"groundglass: not all of the output was written: {why}: free some space, or send it elsewhere")
            code = code or 1
        return code


def _run(arguments: list[list[str]]) -> int:
    """The command at the head of the arguments, which is taken out of them."""
    if shutil.get_terminal_size().columns < _NARROWEST:
        os.environ["COLUMNS"] = str(_NARROWEST)
    # Read when torch is loaded, which is later. Its threads then sleep between operations, where they would keep the
    # cores busy that the threads of the device and of the convolutions need, and those of any other process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = arguments.pop()
    if given[:1] == ["--version"]:
        say(f"groundglass {__version__}")
        return 0
    if given[:1] in (["-h"], ["--help"]):
        say(overview())
        return 0
    name, command = "".join(given[:1]), _parsed(given)
    del given
    if command is None:
        return 2
    try:
        _check_folder()
        with stoppable():
            command.run()
    except KeyboardInterrupt as stop:
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        how = "ended by SIGTERM" if number == signal.SIGTERM else "interrupted"
        complain(f"\n{how}: {stop}" if str(stop) else f"\n{how}")
        return 128 + number  # as shells count it
    except Exception as error:
        from groundglass.cli.errors import said

        line = said(error, name, command)
        if line is None:  # a bug of ours, or in a factory of the user's
            raise
        complain(f"groundglass: {line}")
        return 1
    return 0


def _parsed(given: list[str]) -> "Command | None":
    """The command; None, after saying what is wrong, if there is none of this name."""
    if given and given[0] not in COMMANDS and not given[0].startswith("-"):
        from groundglass.core import lookup
        from groundglass.studies import ALL, STUDIES

        if any(study.name == given[0] for study in (ALL, *STUDIES)):
            complain(f"groundglass: {given[0]} is a study: `groundglass run {' '.join(given)}`")
            return None
        try:
            lookup("command", given[0], COMMANDS)
        except ValueError as error:
            complain(f"groundglass: {error}")
            return None
    import tyro

    from groundglass.cli.help import explain

    names = (tyro.conf.OmitArgPrefixes,)  # the options of `device new` are --out, not --command.out
    if given and given[0] in COMMANDS:  # the others are not imported
        command = class_of(given[0])
        explain(command)
        return tyro.cli(command, prog=f"groundglass {given[0]}", args=given[1:], config=names)
    return tyro.extras.subcommand_cli_from_dict(
        {name: class_of(name) for name in COMMANDS},
        prog="groundglass",
        description=DESCRIPTION,
        args=given,
        config=names,
    )
