"""How numbers and lists are written, everywhere alike."""

from collections.abc import Sequence

# Control characters but for tab and line feed, and what turns the direction of writing, ends lines, or stands alone.
_HIDDEN = (
    *range(9), *range(11, 32), *range(127, 160), *range(0x200E, 0x2010), *range(0x2028, 0x202F), *range(0x2066, 0x206A),
    *range(0xD800, 0xE000), 0xFEFF,
)  # fmt: skip
_SHOWN = {code: ascii(chr(code))[1:-1] for code in _HIDDEN}

_TIMES = (
    (1e-6, "µs"),
    (1e-3, "ms"),
    (1.0, "s"),
    (60.0, "min"),
    (3600.0, "h"),
    (86_400.0, "days"),
    (31_557_600.0, "years"),
)


def visible(text: str) -> str:
    """A text from elsewhere, whose characters are to be seen and do nothing: an escape is "\\x1b". Its lines stay."""
    return text.translate(_SHOWN)


def duration(seconds: float) -> str:
    """Three digits and a unit: "15.2 ms", "3.1 h", "24,100 years"."""
    size, unit = next(((s, u) for s, u in reversed(_TIMES) if seconds >= s * (2 if s >= 60 else 1)), _TIMES[0])
    return f"{digits(seconds / size)} {unit}"


def size(count: float) -> str:
    """Bytes in powers of ten, as the paper counts: "8 TB", "33.6 MB"."""
    for power, unit in ((15, "PB"), (12, "TB"), (9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{digits(count / 10**power)} {unit}"
    return f"{count:.0f} bytes"


def digits(value: float) -> str:
    """Three of them, or all of a number of a thousand and more: "0.31", "24,100"."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def power_of_two(number: int) -> str:
    """ "2¹⁰", or the number where it is none."""
    power = str(number.bit_length() - 1).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"2{power}" if number.bit_count() == 1 else f"{number:,}"


def percent(share: float) -> str:
    """A share in percent, without the sign: "58.6"."""
    return f"{100 * share:.1f}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else ""


def minus(text: str) -> str:
    """A number with a true minus sign."""
    return text.replace("-", "−")


def signed(points: float) -> str:
    """ "+3.5", "−3.5"; no sign of nothing."""
    return minus(f"{points:+.1f}") if abs(points) >= 0.05 else "0.0"
