"""Tables in Markdown: of one run folder with 95% intervals, of several with the smallest and the largest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from groundglass.core.statistics import Proportion


@dataclass(frozen=True)
class Amount:
    """A number that is no share of images. `write` puts it, or a mean of such numbers, into words.

    Attributes:
        of_one: said after a number of one run, which a mean has no like of.
    """

    value: float
    write: Callable[[float], str]
    of_one: str = ""


Value = Proportion | Amount | str | None


@dataclass(frozen=True)
class Row:
    """A line: what it is about, and a value a column; None where there is no record."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Table:
    """Attributes:
    title: what it shows, in a line; an empty string where its part has one table alone.
    head: of the first column.
    columns: of the others.
    """

    title: str
    head: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Choice:
    """Some of a part's tables and columns. What is empty chooses all.

    Attributes:
        titles: words, one of which a table's title must have.
        columns: how the heads of columns begin.
    """

    titles: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def has_table(self, title: str) -> bool:
        return not self.titles or any(word in title for word in self.titles)

    def has_column(self, head: str) -> bool:
        return not self.columns or any(head.startswith(beginning) for beginning in self.columns)


ALL = Choice()


def written(runs: Sequence[Sequence[Table]], choice: Choice = ALL) -> str:
    """The tables of one part as Markdown.

    Args:
        runs: for each folder its tables. Of several folders those tables, rows and columns are shown that all have.
        choice: of these.
    """
    by_title = [dict(zip(_numbered([table.title for table in run]), run, strict=True)) for run in runs]
    common = [title for title in by_title[0] if choice.has_table(title[0]) and all(title in run for run in by_title)]
    return "\n\n".join(_written([run[title] for run in by_title], choice) for title in common)


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
        if all(row in there for there in found):
            lines.append(_line([row[0], *(_cell([there[row][column] for there in found]) for column in shown)]))
    title = [f"{first.title}:", ""] if first.title else []
    return "\n".join([*title, *lines])


def _numbered(names: Sequence[str]) -> list[tuple[str, int]]:
    """Each with how often it came before: two networks of one name are two rows."""
    return [(name, names[:i].count(name)) for i, name in enumerate(names)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(values: Sequence[Value]) -> str:
    """One value, or the same of several runs; where one of them lacks it, nothing: a mean of fewer is another figure."""
    first = values[0]
    if any(value is None for value in values):
        return ""
    shares = [value for value in values if isinstance(value, Proportion)]
    if len(shares) == len(values):
        if len(shares) == 1:
            return _spread(percent(shares[0].share), *shares[0].interval)
        each = [one.share for one in shares]
        return _spread(percent(mean(each)), min(each), max(each))
    amounts = [value for value in values if isinstance(value, Amount)]
    if isinstance(first, Amount) and len(amounts) == len(values):
        numbers = [one.value for one in amounts]
        if len(numbers) == 1:
            return first.write(first.value) + first.of_one
        return f"{first.write(mean(numbers))} ({first.write(min(numbers))} to {first.write(max(numbers))})"
    return "; ".join(dict.fromkeys(map(str, values)))


def percent(share: float) -> str:
    """ "58.6": without the sign, which the table's head has or its text."""
    return f"{100 * share:.1f}"


def _spread(middle: str, low: float, high: float) -> str:
    """ "58.6 (53.9–64.8)"; a bound of exactly nothing is "0"."""
    return f"{middle} ({percent(low) if low else '0'}–{percent(high) if high else '0'})"
