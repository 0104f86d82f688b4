"""Numbers and lists as they are written everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundglass.core.text import digits, duration, listed, minus, percent, short, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"),
        (2.5e-6, "2.5 µs"),
        (0.0152, "15.2 ms"),
        (1, "1 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (11_160, "3.1 h"),
        (2 * 86_400, "2 days"),
        (24_100 * 31_557_600, "24,100 years"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (33.6e6, "33.6 MB"), (8e12, "8 TB")]
)
def test_sizes_are_in_powers_of_ten(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.3141, "0.314"), (12.34, "12.3"), (999, "999"), (999.7, "1,000"), (24_100, "24,100")]
)
def test_three_digits_or_all_of_a_thousand_and_more(value: float, text: str) -> None:
    assert digits(value) == text


@given(st.floats(1e-6, 1e15))
def test_no_number_is_off_by_more_than_its_digits(value: float) -> None:
    assert float(digits(value).replace(",", "")) == pytest.approx(value, rel=0.0051)


@pytest.mark.parametrize(
    ("names", "text"), [((), ""), (("a",), "a"), (("a", "b"), "a and b"), (("a", "b", "c"), "a, b and c")]
)
def test_lists(names: tuple[str, ...], text: str) -> None:
    assert listed(names) == text
    assert listed(names, "or") == text.replace(" and ", " or ")


def test_percent_and_minus() -> None:
    assert (percent(0.58649), percent(1), percent(0)) == ("58.6", "100.0", "0.0")
    assert minus("-0.5 to -1") == "−0.5 to −1"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.15, "0.15"),
        (0.2, "0.2"),
        (8 / 255, "8/255"),
        (2 / 255, "2/255"),
        (0.5 / 255, "0.5/255"),
        (1 / 7, "0.1429"),
        (0.0, "0"),
        (1.0, "1"),
        (20.4, "20.4"),
    ],
)
def test_settings_are_as_short_as_people_write_them(value: float, text: str) -> None:
    assert short(value) == text
