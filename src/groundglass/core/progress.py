"""Long work says how far it is. What shows it, and how, is the command line's business."""

from typing import Protocol


class Progress(Protocol):
    """Called often by long work; must be cheap."""

    def __call__(self, what: str, done: int, total: int, **figures: float) -> None:
        """`done` of `total` images or queries of `what`, with figures (loss, accuracy, images fooled) as they stand."""
        ...


def silent(what: str, done: int, total: int, **figures: float) -> None:
    """Show nothing."""
