"""A table: columns with units, rows, notes. It is made once, and shown as HTML, Markdown or CSV.

Of one run folder a share is shown with its 95% interval, of several, or of several repeats in one, the mean with the smallest and
the largest.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import mean
from typing import Any, TypeVar

from markupsafe import Markup, escape

from groundglass.core.statistics import Proportion
from groundglass.core.text import markdown_text, percent, spreadsheet_text

T = TypeVar("T")


@dataclass(frozen=True)
class Amount:
    """A number that is not a share of images. `write` puts it, or a mean of such numbers, into words.

    Attributes:
        of_one: said after a number of one run, which a mean has no like of.
    """

    value: float
    write: Callable[[float], str] = "{:,.0f}".format
    of_one: str = ""


@dataclass(frozen=True)
class Repeats:
    """A value of each repeat of one thing: all shares, or all amounts; two or more. See `over_repeats`."""

    values: tuple[Proportion, ...] | tuple[Amount, ...]

    @property
    def numbers(self) -> list[float]:
        """Shares in [0, 1], or amounts."""
        return [one.share if isinstance(one, Proportion) else one.value for one in self.values]

    @property
    def summary(self) -> tuple[float, float, float]:
        """The mean, the smallest and the largest."""
        return mean(self.numbers), min(self.numbers), max(self.numbers)

    def write(self, number: float) -> str:
        """One of these numbers in words; shares in percent."""
        first = self.values[0]
        return percent(number) if isinstance(first, Proportion) else first.write(number)

    @property
    def words(self) -> tuple[str, str]:
        """The mean, and from where to where."""
        middle, low, high = map(self.write, self.summary)
        return middle, f"{low}{'–' if isinstance(self.values[0], Proportion) else ' to '}{high}"


Value = Proportion | Amount | Repeats | str | None


def over_repeats(values: Iterable[Proportion | Amount | None]) -> Proportion | Amount | Repeats | None:
    """What a table shows of these repeats: a single one as it is, of none that is known nothing."""
    known: Any = tuple(one for one in values if one is not None)
    return Repeats(known) if len(known) > 1 else known[0] if known else None


def amount(value: float | None, write: Callable[[float], str] = "{:,.0f}".format) -> Amount | None:
    """A number that may not be known."""
    return None if value is None or math.isnan(value) else Amount(value, write)


@dataclass(frozen=True)
class Row:
    """A line: what it is about, and a value a column; None where there is no record.

    Attributes:
        notes: under the values, on the page; one a column, or none.
        strong: set apart on the page, as the worst case is.
    """

    name: str
    values: tuple[Value, ...]
    notes: tuple[str, ...] = ()
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Attributes:
    title: what it shows, in a line, with its unit; an empty string where its part has one table alone.
    head: of the first column.
    columns: of the others.
    note: how to read it, under the table on the page.
    """

    title: str
    head: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""

    @property
    def slug(self) -> str:
        """The title as part of a file name."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:60].strip("-") or "table"

    @classmethod
    def of(
        cls,
        title: str,
        head: str,
        columns: Mapping[str, Callable[[T], Value]],
        rows: Iterable[tuple[str, T]],
        note: str = "",
    ) -> "Table":
        """A table of things with their names: each column says how its value is read from one."""
        made = (Row(name, tuple(read(one) for read in columns.values())) for name, one in rows)
        return cls(title, head, tuple(columns), tuple(made), note)

    @property
    def csv(self) -> str:
        """Every number unrounded: a share with its interval, and a mean with its ends, in two more columns. A spreadsheet takes
        no name for a formula."""
        wide = [any(isinstance(row.values[i], _WIDE) for row in self.rows) for i in range(len(self.columns))]
        lines: list[list[object]] = [[name] for name in (self.head, *(row.name for row in self.rows))]
        for name, is_wide in zip(self.columns, wide, strict=True):
            lines[0] += [name, f"{name}: low", f"{name}: high"] if is_wide else [name]
        for line, row in zip(lines[1:], self.rows, strict=True):
            for value, is_wide in zip(row.values, wide, strict=True):
                line += _numbers(value) + ["", ""] * (is_wide and not isinstance(value, _WIDE))
        out = io.StringIO()
        safe = ([spreadsheet_text(cell) if isinstance(cell, str) else cell for cell in line] for line in lines)
        csv.writer(out, lineterminator="\n").writerows(safe)
        return out.getvalue()

    def html(self, text: Callable[[str], Markup]) -> Markup:
        """The table as an element of a page.

        Args:
            text: how plain text is set: `code`, and words with their definitions.
        """
        head, body = "".join(f"<th>{text(name)}</th>" for name in (self.head, *self.columns)), ""
        for row in self.rows:
            body += f"<tr{' class=strong' if row.strong else ''}><th>{text(row.name)}</th>"
            for value, note in zip_longest(row.values, row.notes, fillvalue=""):
                kind = "" if isinstance(value, _WIDE | Amount) else " class=words"
                below = f"<small>{escape(note)}</small>" if note else ""
                body += f"<td{kind}>{_shown(value, text)}{below}</td>"
            body += "</tr>"
        label = escape(self.title or self.head)
        return Markup(
            f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )


#: Values that have a low and a high end.
_WIDE = Proportion | Repeats


def _shown(value: Value, text: Callable[[str], Markup]) -> str:
    if value is None:
        return "–"
    if isinstance(value, Proportion):
        low, high = value.interval
        return f"{percent(value.share)}<small>{percent(low)}–{percent(high)}</small>"
    if isinstance(value, Amount):
        return str(escape(value.write(value.value) + value.of_one))
    if isinstance(value, Repeats):
        return "{}<small>{}</small>".format(*map(escape, value.words))
    return str(text(value))


def _numbers(value: Value) -> list[object]:
    if isinstance(value, Proportion):
        return [value.share, *value.interval]
    if isinstance(value, Repeats):
        return [*value.summary]
    return [value.value if isinstance(value, Amount) else value]


@dataclass(frozen=True)
class Choice:
    """Some of a part's tables, rows and columns. What is empty chooses all.

    Attributes:
        titles: words, one of which a table's title must have.
        columns: how the heads of columns begin.
        rows: how the names of rows begin.
    """

    titles: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()

    def has_table(self, title: str) -> bool:
        return not self.titles or any(word in title for word in self.titles)

    def has_column(self, head: str) -> bool:
        return not self.columns or head.startswith(self.columns)

    def has_row(self, name: str) -> bool:
        return not self.rows or name.startswith(self.rows)


ALL = Choice()


def markdown(runs: Sequence[Sequence[Table]], choice: Choice = ALL) -> str:
    """The tables of one part as Markdown.

    Args:
        runs: for each folder its tables. Of several folders those tables, rows and columns are shown that all have.
        choice: of these.
    """
    by_title = [dict(zip(_numbered([table.title for table in run]), run, strict=True)) for run in runs]
    common = [title for title in by_title[0] if choice.has_table(title[0]) and all(title in run for run in by_title)]
    written = [_written([run[title] for run in by_title], choice) for title in common]
    return "\n\n".join(text for text in written if text)


def _written(tables: Sequence[Table], choice: Choice) -> str:
    first = tables[0]
    columns = [_numbered(table.columns) for table in tables]
    rows = [dict(zip(_numbered([row.name for row in table.rows]), table.rows, strict=True)) for table in tables]
    found = [
        {name: dict(zip(own, row.values, strict=True)) for name, row in there.items()}
        for own, there in zip(columns, rows, strict=True)
    ]
    shown = [column for column in columns[0] if choice.has_column(column[0]) and all(column in own for own in columns)]
    lines = [_line([first.head, *(name for name, _ in shown)]), "|" + "---|" * (1 + len(shown))]
    for row in found[0]:
        if choice.has_row(row[0]) and all(row in there for there in found):
            lines.append(_line([row[0], *(_cell([there[row][column] for there in found]) for column in shown)]))
    if choice.rows and len(lines) == 2:
        return ""
    title = [f"{markdown_text(first.title)}:", ""] if first.title else []
    return "\n".join([*title, *lines])


def _numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    """Each with how often it came before: two networks of one name are two rows."""
    return [(name, names[:i].count(name)) for i, name in enumerate(names)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(markdown_text, cells)) + " |"


def _cell(values: Sequence[Value]) -> str:
    """One value, or the same of several runs; where one of them lacks it, nothing: a mean of fewer is another figure."""
    first = values[0]
    if any(value is None for value in values):
        return ""
    numbers = [one for value in values for one in (value.values if isinstance(value, Repeats) else (value,))]
    if isinstance(first, Proportion) and len(numbers) == 1:
        return _spread(percent(first.share), *first.interval)
    if isinstance(first, Amount) and len(numbers) == 1:
        return first.write(first.value) + first.of_one
    for kind in (Proportion, Amount):
        if all(isinstance(one, kind) for one in numbers):
            told = Repeats(tuple(numbers))  # type: ignore[arg-type]
            if kind is Proportion:
                middle, low, high = told.summary
                return _spread(percent(middle), low, high)
            return "{} ({})".format(*told.words)
    return "; ".join(dict.fromkeys(map(str, values)))


def _spread(middle: str, low: float, high: float) -> str:
    """ "58.6 (53.9–64.8)"; a bound of exactly nothing is "0"."""
    return f"{middle} ({percent(low) if low else '0'}–{percent(high) if high else '0'})"
