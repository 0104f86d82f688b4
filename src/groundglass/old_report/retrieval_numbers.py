"""How the retrieval section writes errors and times, in its words, tables and figures."""

from typing import Any

# The relative error of a row that has nothing to do with the true one.
CHANCE = 2**0.5
# Of the log axes, in percent.
_DECADES = (0.01, 0.1, 1, 10, 100)


def error_percent(error: float) -> str:
    """A relative error: "0.31%", "4.6%", "141%"."""
    value = 100 * error
    return f"{value:.2f}%" if value < 0.995 else f"{value:.2g}%" if value < 9.95 else f"{value:.0f}%"


def spoken_time(seconds: float) -> str:
    """In one unit: "6.1 seconds", "72 minutes", "19 hours"."""
    for size, unit in ((7200, "hours"), (120, "minutes")):
        if seconds >= size:
            count = seconds / (3600 if unit == "hours" else 60)
            return f"{count:.0f} {unit}" if count >= 10 else f"{count:.2g} {unit}"
    value = f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"
    return "1 second" if value == "1" else f"{value} seconds"


def percent_ticks(axis: Any) -> None:
    """Of a logarithmic axis of errors."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    axis.set_major_locator(FixedLocator(_DECADES))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())
