"""Many rows, a few at a time."""

from torch import Tensor

from groundglass.core.settings import Count, fit


def pieces(rows: Tensor, size: int) -> tuple[Tensor, ...]:
    """`rows.split(size)`, but no piece of no rows: torch gives one empty piece, and a model would be asked about nothing."""
    return rows.split(fit(Count, size, "batch_size")) if len(rows) else ()
