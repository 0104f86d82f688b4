"""Long work says how far it is. Who shows it, and how, is the caller's business; `shown` has one way."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from groundglass.core.imported import require


class Progress(Protocol):
    """Called often by long work; must be cheap."""

    def __call__(self, what: str, done: int, total: int, **figures: float) -> None:
        """`done` of `total` images or queries of `what`, with figures (loss, accuracy, images fooled) as they stand."""
        ...


def silent(what: str, done: int, total: int, **figures: float) -> None:
    """Show nothing."""


@contextmanager
def shown(progress: Progress | bool) -> Iterator[Progress]:
    """The progress that a caller asked for: True is a bar, in a terminal or a notebook, and False is nothing.

    Raises:
        MissingLibraryError: a bar, and rich, which draws it, is not installed.
        TypeError: neither of these, nor a function.
    """
    if progress is False:
        yield silent
    elif progress is True:
        require("a progress bar", "rich")
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[told]}"),
        )
        with Bars(*columns) as bars:
            task = bars.add_task("", told="")

            def move(what: str, done: int, total: int, **figures: float) -> None:
                told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                bars.update(task, description=what, completed=done, total=total, told=told)

            yield move
    elif callable(progress):
        yield progress
    else:
        raise TypeError(f"`progress` must be True, False or a function, not {progress!r:.60}")
