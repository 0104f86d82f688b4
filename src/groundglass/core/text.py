"""How numbers and lists are written, everywhere alike."""

import math
import re
from collections.abc import Sequence

# Control characters except tab and line feed; what changes the direction of writing, or ends lines; and lone surrogates.
_HIDDEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff\\ufeff]"
)
# "p < 0.001" is not a tag.
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_ENTITY = re.compile(r"&(?=#?\w+;)")
# What a spreadsheet takes for a formula; "+3.5" and "-2 (-0.7 σ)" are numbers.
_FORMULA = re.compile(r"[=@\t\r]|[-+](?![\d.,]+(?:e[-+]\d+)?%?(?: \([^()|!]*\))?$)")

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
    """A text from elsewhere, with characters that would act on a terminal made visible: an escape is "\\x1b". Its lines stay."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def markdown_text(text: str) -> str:
    """A text from elsewhere as plain words of a Markdown table: no markup, link, formula or cell. `code` stays code."""
    text = _TAG.sub("&lt;", _ENTITY.sub("&amp;", visible(text)))
    return text.replace("\n", " ").replace("|", "\\|").replace("](", "]\\(").replace("$", "\\$")


def spreadsheet_text(text: str) -> str:
    """A text from elsewhere as a cell of CSV that a spreadsheet does not run: "=..." begins with an apostrophe."""
    return visible(f"'{text}" if _FORMULA.match(text) else text)


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
    return f"{value:,.0f}" if value >= 999.5 else f"{value:.3g}"


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


def short(value: float, digits: int = 4) -> str:
    """A setting as people write it: "0.15" where so few digits are all there are, "8/255" where it is that, else rounded."""
    rounded, steps = f"{value:.{digits}g}", round(2 * value * 255) / 2
    if float(rounded) == value or not steps or not math.isclose(steps, value * 255, rel_tol=1e-14):
        return rounded
    return f"{steps:g}/255"


def fraction(text: str) -> float:
    """ "8/255" or "0.03" as a number.

    Raises:
        ValueError: neither.
    """
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{text!r:.60} is not a number: write 8/255 or 0.03") from None
