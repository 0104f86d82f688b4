"""Everything that a command prints passes through here: its results, its log, its errors.

What it is printed to must not end the work: a reader that has gone, a full disk, an encoding of 128 characters. And
names come from files that others wrote: none of their characters acts on the terminal, and rich's [marks] are text.
"""

import errno
import os
import select
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from groundglass.core.stopping import check_stopped, stop_of
from groundglass.core.text import duration, visible

if TYPE_CHECKING:  # imported where something is shown: `--help` needs no rich
    from rich.console import Console
    from rich.status import Status
    from rich.table import Table
    from rich.text import Text

# A character that the encoding lacks is replaced by a similar one; any other by its number.
_PLAIN = str.maketrans(
    {
        "∞": "inf",
        "ε": "eps",
        "µ": "u",
        "→": "->",
        "←": "<-",
        "–": "-",
        "−": "-",
        "…": "...",
        "•": "*",
        "✓": "+",
        "✗": "x",
    }
)


class _Stream:
    """Standard output or error that never fails: what cannot be written is dropped, and `lost` says why.

    Args:
        inner: None where the process was started without it.
    """

    def __init__(self, inner: IO[str] | None) -> None:
        self._inner = inner
        self.lost: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def encoding(self) -> str:
        return getattr(self._inner, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._inner is not None and self._inner.isatty()

    def write(self, text: str) -> int:
        if self._inner is not None and self.lost is None:
            try:
                self._inner.write(text)
            except UnicodeEncodeError:
                self.write(text.translate(_PLAIN).encode(self.encoding, "backslashreplace").decode(self.encoding))
            except OSError as error:
                self.lost = error
        return len(text)

    def flush(self) -> None:
        if self._inner is not None and self.lost is None:
            try:
                self._inner.flush()
            except OSError as error:
                self.lost = error

    def leave(self) -> None:
        """Drop what is still to be written: Python would try again when it ends, and complain."""
        self.flush()
        if self.lost is not None:
            with suppress(OSError, ValueError):  # a stream without a descriptor keeps what it has
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.fileno())
                os.close(nowhere)


@contextmanager
def lasting_streams() -> Iterator[_Stream]:
    """While it is open no print can fail. Gives standard output, which knows whether everything was written."""
    before = sys.stdout, sys.stderr
    streams = _Stream(sys.stdout), _Stream(sys.stderr)
    sys.stdout, sys.stderr = streams
    try:
        yield streams[0]
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            stream.leave()


def unwritten(stream: _Stream) -> str | None:
    """Why not everything was written; None if it was, or if its reader has left."""
    stream.flush()
    return None if stream.lost is None or stream.lost.errno == errno.EPIPE else stream.lost.strerror


def say(*lines: str, end: str = "\n") -> None:
    """A result, on standard output."""
    print(visible("\n".join(lines)), end=end)


def complain(text: str) -> None:
    """What went wrong, on standard error."""
    print(visible(text), file=sys.stderr)


@dataclass(frozen=True)
class Shown:
    """A table for the terminal; the first `uncut` columns hold what users type, and are never broken."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    uncut: int = 0


def say_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, uncut: int = 0) -> None:
    """A table, on standard output; see `Shown`. No word is ever cut off: a table that does not fit is wider than the terminal."""
    console = _console()
    table, least = _table(Shown(title, columns, list(rows), uncut), console.width)
    console.width = max(console.width, least)
    console.print(table)


def _table(shown: Shown, room: int) -> "tuple[Table, int]":
    """And the width that it needs at least."""
    from rich.cells import cell_len
    from rich.table import Table

    table, columns, uncut = Table(title=visible(shown.title)), shown.columns, shown.uncut
    rows = [tuple(map(visible, row)) for row in shown.rows]
    cells = list(zip(columns, *rows, strict=True))
    whole = [max(map(cell_len, one)) for one in cells]
    widths = [max(cell_len(word) for cell in one for word in cell.split() or [""]) for one in cells]
    widths[:uncut] = whole[:uncut]
    # Beside a cell there are two blanks and a line. Rich itself makes a table of its least width too wide for its lines.
    least = 1 + sum(width + 3 for width in widths)
    spare = max(0, room - least)
    for i in sorted(range(len(columns)), key=lambda i: whole[i] - widths[i]):  # most of them are then not broken
        more = min(spare, whole[i] - widths[i])
        widths[i], spare = widths[i] + more, spare - more
    for i, name in enumerate(columns):
        table.add_column(name, no_wrap=i < uncut, width=widths[i])
    for row in rows:
        table.add_row(*row)
    return table, least


def _console(*, stderr: bool = False) -> "Console":
    """A console that takes text as it is."""
    from rich.console import Console

    stream: Any = sys.stderr if stderr else sys.stdout
    lasting = stream if isinstance(stream, _Stream) else _Stream(stream)  # a Terminal in a user's own program
    return Console(file=lasting, markup=False, emoji=False, highlight=False)  # type: ignore[arg-type]


def _text(text: str) -> "Text":
    """Without marks: in a plain string rich would take "[bold]" for one."""
    from rich.text import Text

    return Text(visible(text))


@dataclass
class _Task:
    """Work whose progress is shown: since when, from where on, and what was said of it last."""

    began: float
    first: int
    heard: float
    said: float
    text: str = ""


class Screen:
    """The whole terminal, for tables that change in place until a key is pressed: `with Screen() as screen`. What stood there
    comes back."""

    def __init__(self) -> None:
        from rich.live import Live

        self._console = _console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(_key_by_key())
            opened.enter_context(self._live)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def show(self, head: str, tables: Iterable[Shown]) -> None:
        """In place of what is there."""
        from rich.console import Group

        room = self._console.width
        self._live.update(Group(_text(head), *(_table(one, room)[0] for one in tables)), refresh=True)

    def key(self, seconds: float) -> str:
        """The next key, waited for so long; "" if there was none."""
        try:
            ready, _, _ = select.select([sys.stdin], [], [], seconds)
        except (OSError, ValueError):  # no standard input, or one that cannot be waited for
            time.sleep(seconds)
            return ""
        return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""


@contextmanager
def _key_by_key() -> Iterator[None]:
    """Keys come as they are pressed, and are not shown; where there is such a terminal."""
    try:
        import termios
        import tty

        where = sys.stdin.fileno()
        before = termios.tcgetattr(where)
    except (ImportError, OSError, ValueError, AttributeError, termios.error):
        yield
        return
    try:
        tty.setcbreak(where)
        yield
    finally:
        termios.tcsetattr(where, termios.TCSADRAIN, before)


# Seconds after which what says nothing more is shown no more.
_SILENT = 90


class Terminal:
    """Shows cells as lines, and the current ones' progress in place (on a log: a line every half a minute each).

    It is the `Listener` of a study, and its `progress` the `Progress` of the work within a cell, or in several at a time:
    `with Terminal() as terminal: train(..., progress=terminal.progress)`.

    Args:
        console: where to; default stderr.
        kept: where what is done is kept when the work is stopped, "in runs/one", for a command that continues. Ctrl-C
            then leaves the `with` block with these words in it, whatever torch has made of it on the way.
        once: they are true once this file is there; None: always.
    """

    def __init__(self, console: "Console | None" = None, *, kept: str = "", once: Path | None = None) -> None:
        self._console = console or _console(stderr=True)
        self._kept, self._once = kept, once
        self._status: Status | None = None
        self._tasks: dict[str, _Task] = {}
        #: How many cells have ended.
        self.cells = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        stop = None if error is None else stop_of(error)
        if stop is None:
            return
        if self._kept and (self._once is None or self._once.exists()):
            stop.args = (f"what is done is kept {self._kept}; the same command continues",)
        if stop is not error:
            raise stop from error

    def note(self, text: str) -> None:
        self._console.print(_text(text), soft_wrap=True)

    def announce(self, text: str) -> None:
        if self._console.is_terminal:
            self.close()
            self._show(text)
        else:
            self.note(text)

    def finished(self, name: str, said: str, seconds: float) -> None:
        self.cells += 1
        self._tasks = {what: task for what, task in self._tasks.items() if not what.startswith(name)}
        told = ", ".join(part for part in (said, duration(seconds)) if part)
        self.note(f"  {name}: {told}")

    def progress(self, what: str, done: int, total: int, **figures: float) -> None:
        check_stopped()
        now = time.monotonic()
        task = self._tasks.get(what)
        if task is None or now - task.heard > _SILENT or done < task.first:
            self._tasks[what] = _Task(began=now, first=done, heard=now, said=now)
            return
        task.heard = now
        if now - task.said < (0.2 if self._console.is_terminal else 30):
            return
        task.said = now
        rate = (done - task.first) / max(now - task.began, 1e-9)
        left = duration((total - done) / rate) if rate > 0 else "?"
        parts = [f"{done / total:.0%}", *(f"{k} {_number(v)}" for k, v in figures.items())]
        task.text = f"{what}: {', '.join(parts)}, {rate:.0f}/s, {left} left"
        if self._console.is_terminal:
            self._show("\n".join(t.text for t in self._tasks.values() if t.text and now - t.heard <= _SILENT))
        else:
            self.note(f"  {task.text}")

    def _show(self, text: str) -> None:
        """In place of what stood there."""
        if self._status is None:
            self._status = self._console.status(_text(text))
            self._status.start()
        else:
            self._status.update(_text(text))

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
