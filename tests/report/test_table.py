"""A table is the same numbers as HTML, Markdown and CSV, whatever its names are."""

import csv
import io
import re
from dataclasses import replace
from html import unescape

import pytest

from groundglass.core.statistics import Proportion, wilson
from groundglass.core.text import visible
from groundglass.report.glossary import defined
from groundglass.report.table import Amount, Row, Table, markdown, over_repeats

HOSTILE = ["<script>alert(1)</script>", "$x$ and $y$", "two\nlines", "[bold]not[/bold]", "a|b", 'say "no", now', "&lt;"]
HOSTILE += ["[a](https://b)", "\x1b[31mred\x07"]


def cells(html: str) -> list[str]:
    """The texts of a table's cells."""
    found = re.findall(r"<t[hd][ >](?:class=words>)?(.*?)</t[hd]>", html, re.DOTALL)
    return [unescape(re.sub("<[^>]*>", "", cell)) for cell in found]


def one(value: object, *, row: str = "a", column: str = "x", title: str = "") -> list[Table]:
    return [Table(title, "what", (column,), (Row(row, (value,)),))]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_text_on_the_page_whatever_it_is(name: str) -> None:
    table = Table(name, name, (name,), (Row(name, (name,), notes=(f"note {name}",)),), note=name)
    html = str(table.html(defined))
    assert set(re.findall(r"<(\w+)", html)) <= {"div", "table", "thead", "tbody", "tr", "th", "td", "small"}
    assert cells(html) == [name, name, name, f"{name}note {name}"]
    assert list(csv.reader(io.StringIO(table.csv, newline=""))) == [[visible(name)] * 2] * 2
    lines = markdown([[table]]).splitlines()[-3:]
    assert not re.search(r"<[a-z/]|\]\(|(?<!\\)\$|&lt;(?=lt;)|[\x00-\x08\x1b]", "".join(lines))
    assert [line.replace("\\|", "").count("|") for line in lines] == [3, 3, 3]


def test_csv_has_every_number_as_it_is() -> None:
    values = (Proportion(1, 3), Amount(1234.5678, "{:.0f} s".format, of_one=" (p = 1)"), None, "few")
    rows = (Row("a", values), Row("b", (None, None, Proportion(0, 2), None)))
    read = list(csv.DictReader(io.StringIO(Table("", "what", ("share", "time", "other", "said"), rows).csv)))
    low, high = wilson(1, 3)
    assert [float(read[0][name]) for name in ("share", "share: low", "share: high")] == [1 / 3, low, high]
    assert (float(read[0]["time"]), read[0]["said"]) == (1234.5678, "few")
    assert [read[1][name] for name in ("share", "share: low", "time", "said")] == ["", "", "", ""]
    assert [read[i]["other: high"] == "" for i in (0, 1)] == [True, False]


def test_html_has_intervals_and_a_dash_where_nothing_is_known() -> None:
    row = Row("a", (Proportion(150, 256), None, Amount(2, "{:.0f} s".format)))
    assert cells(str(Table("", "", ("x", "y", "z"), (row,)).html(defined)))[5:] == ["58.652.5–64.5", "–", "2 s"]


def test_one_run_has_wilson_intervals_and_several_their_mean_smallest_and_largest() -> None:
    assert markdown([one(Proportion(150, 256))]).endswith("| a | 58.6 (52.5–64.5) |")
    assert "0.0 (0–1.5)" in markdown([one(Proportion(0, 256))])
    assert markdown([one(Proportion(count, 1000)) for count in (539, 571, 648)]).endswith("| a | 58.6 (53.9–64.8) |")
    amounts = [one(Amount(value, "{:.0f} s".format, " once")) for value in (2.0, 6.0, 1.0)]
    assert markdown(amounts).endswith("| a | 3 s (1 s to 6 s) |")
    assert markdown(amounts[:1]).endswith("| a | 2 s once |")
    assert markdown([one("masking"), one("none"), one("masking")]).endswith("| a | masking; none |")


def test_repeats_of_one_thing_are_their_mean_with_the_smallest_and_the_largest() -> None:
    shares = over_repeats([Proportion(1, 4), None, Proportion(3, 4), Proportion(2, 4)])
    times = over_repeats(Amount(value, "{:.0f} s".format) for value in (2.0, 6.0, 1.0))
    assert over_repeats([None, Amount(2.0)]) == Amount(2.0)
    assert over_repeats([None]) is None
    (table,) = [Table("", "", ("x", "y"), (Row("a", (shares, times)),))]
    assert cells(str(table.html(defined)))[3:] == ["a", "50.025.0–75.0", "3 s1 s to 6 s"]
    read = next(csv.DictReader(io.StringIO(table.csv)))
    assert [float(read[name]) for name in ("x", "x: low", "x: high", "y: low")] == [0.5, 0.25, 0.75, 1]
    assert markdown([[table]]).endswith("| a | 50.0 (25.0–75.0) | 3 s (1 s to 6 s) |")
    # Of several folders, of which one has a single repeat: all of them together.
    assert markdown([one(shares), one(Proportion(4, 4)), one(shares)]).endswith("| a | 57.1 (25.0–100.0) |")


def test_what_one_run_lacks_has_no_mean() -> None:
    half = one(Proportion(1, 2))
    assert markdown([half, one(None)]).endswith("| a |  |")
    assert "| a |" not in markdown([half, one(Proportion(1, 2), row="b")])
    assert "| x |" not in markdown([half, one(Proportion(1, 2), column="y")])
    assert markdown([half, one(Proportion(1, 2), title="other")]) == markdown([half, []]) == ""


def test_rows_of_one_name_keep_their_own_numbers() -> None:
    (table,) = one(Proportion(1, 2))
    both = replace(table, rows=(table.rows[0], Row("a", (Proportion(2, 2),))))
    assert [line.split()[3] for line in markdown([[both]]).splitlines()[2:]] == ["50.0", "100.0"]


@pytest.mark.parametrize("name", ["=1+2", "@SUM(A1)", "+cmd", "-2+3", "\t=1", "=HYPERLINK(0)"])
def test_no_name_is_a_formula_to_a_spreadsheet_and_numbers_stay(name: str) -> None:
    (table,) = one(name, row=name, column=name)
    assert list(csv.reader(io.StringIO(table.csv))) == [["what", f"'{name}"], [f"'{name}"] * 2]
    for number in ("-3.5", "+3.5", "+12%", "-6.2e-05 (-0.7 σ)", "−2", "a=b"):
        (table,) = one(number)
        assert list(csv.reader(io.StringIO(table.csv)))[1] == ["a", number]
    assert list(csv.reader(io.StringIO(one(Amount(-2.5))[0].csv)))[1] == ["a", "-2.5"]
