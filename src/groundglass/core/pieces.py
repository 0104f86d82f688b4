"""Many rows, a few at a time."""

from torch import Tensor


def pieces(rows: Tensor, size: int) -> tuple[Tensor, ...]:
    """`rows.split(size)`, but no piece of no rows: torch gives one empty piece, and a model would be asked about nothing."""
    return rows.split(size) if len(rows) else ()
