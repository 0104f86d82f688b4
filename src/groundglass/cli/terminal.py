"""What long work looks like on a terminal, and in a log."""

import time
from dataclasses import dataclass
from typing import Self

from rich.console import Console
from rich.status import Status

from groundglass.core.text import duration


@dataclass
class _Task:
    """Work whose progress is shown: since when, from where on, and what was said of it last."""

    began: float
    first: int
    heard: float
    said: float
    text: str = ""


# Seconds after which what says nothing more is shown no more.
_SILENT = 90


class Terminal:
    """Shows cells as lines, and the current ones' progress in place (on a log: a line every half a minute each).

    It is the `Listener` of a study, and its `progress` the `Progress` of the work within a cell, or in several at a time:
    `with Terminal() as terminal: train(..., progress=terminal.progress)`.

    Args:
        console: where to; default stderr.
        kept: where what is done is kept when the work is stopped, "in runs/one", for a command that continues. Ctrl-C
            then leaves the `with` block with these words in it.
    """

    def __init__(self, console: Console | None = None, *, kept: str = "") -> None:
        self._console = console or Console(stderr=True)
        self._kept = kept
        self._status: Status | None = None
        self._tasks: dict[str, _Task] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        if isinstance(error, KeyboardInterrupt) and self._kept:
            error.args = (f"what is done is kept {self._kept}; the same command continues",)

    def note(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def announce(self, text: str) -> None:
        if self._console.is_terminal:
            self.close()
            self._show(text)
        else:
            self.note(text)

    def finished(self, name: str, said: str, seconds: float) -> None:
        self._tasks = {what: task for what, task in self._tasks.items() if not what.startswith(name)}
        told = ", ".join(part for part in (said, duration(seconds)) if part)
        self.note(f"  {name}: {told}")

    def progress(self, what: str, done: int, total: int, **figures: float) -> None:
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
            self._status = self._console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3f}"
