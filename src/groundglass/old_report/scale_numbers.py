"""How the section on size writes seconds, bytes and sizes."""

from math import log2

_TIMES = (
    (1e-6, "µs"),
    (1e-3, "ms"),
    (1.0, "s"),
    (60.0, "min"),
    (3600.0, "h"),
    (86_400.0, "days"),
    (31_557_600.0, "years"),
)


def seconds(value: float) -> str:
    """Three digits and a unit: "15.2 ms", "3.1 h", "24,100 years"."""
    size, unit = next(((s, u) for s, u in reversed(_TIMES) if value >= s * (2 if s >= 60 else 1)), _TIMES[0])
    return f"{_digits(value / size)} {unit}"


def tick_seconds(value: float) -> str:
    """Of a logarithmic axis, where decades stay decades: "1,000 s"."""
    return f"{value:,.0f} s" if value >= 1 else seconds(value)


def size(count: float) -> str:
    """Of memory, in powers of ten, as the paper counts: "8 TB", "33.6 MB"."""
    for power, unit in ((15, "PB"), (12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{_digits(count / 10**power)} {unit}"
    return f"{count:.0f} bytes"


def power_of_two(count: int) -> str:
    """A size as a figure's axis has it: "2^20" in mathtext, or the number."""
    power = log2(count)
    return f"$2^{{{power:.0f}}}$" if power == int(power) else f"{count:,}"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
