"""Numbers in sentences, held to the tables of tests/golden/tables, which are held to the records, or to `evidence`.

`numbers` finds the results that a page states outside its generated tables; a `Statement` says where each comes from.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLES = Path(__file__).parent / "tables"

NUMBER = re.compile(r"(?<![\w.,/-])[−+]?(?:\d{1,3}(?:,\d{3})+|\d*\.\d+|\d+)(?![\w])")
#: What is no result: code, links' targets, generated tables, quotations, headings.
_LEFT_OUT = (
    re.compile(r"<!-- groundglass tables.*?<!-- end -->", re.DOTALL),
    re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE),
    re.compile(r"^    .*$", re.MULTILINE),
    re.compile(r"^(?:>|#).*$", re.MULTILINE),
    re.compile(r"`[^`]*`", re.DOTALL),
    re.compile(r"\]\([^)]*\)"),
)


@dataclass(frozen=True)
class Figure:
    """A number of a table, or what follows from several.

    Attributes:
        error: by how much it may be off because the table rounds.
    """

    value: float
    error: float = 0.0

    def __sub__(self, other: "Figure") -> "Figure":
        return Figure(self.value - other.value, self.error + other.error)

    def __rmul__(self, factor: float) -> "Figure":
        return Figure(factor * self.value, factor * self.error)


def least(figures: Sequence[Figure]) -> Figure:
    """The smallest."""
    return min(figures, key=lambda one: one.value)


def most(figures: Sequence[Figure]) -> Figure:
    """The largest."""
    return max(figures, key=lambda one: one.value)


@dataclass(frozen=True)
class Table:
    """A table of a file of tests/golden/tables."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self, row: str | tuple[str, ...], column: str) -> str:
        """A cell. Rows and columns by their text, or by how it begins if one alone begins so; a row by several of its cells, if
        the first is not enough."""
        of_row = _one([texts[0] for texts in self.rows], row, self.name) if isinstance(row, str) else self._row(row)
        return self.rows[of_row][_one(self.header, column, self.name)]

    def _row(self, cells: tuple[str, ...]) -> int:
        fits = [i for i, texts in enumerate(self.rows) if all(cell in texts for cell in cells)]
        if len(fits) != 1:
            raise LookupError(f"{len(fits)} rows of {self.name} have {cells}")
        return fits[0]

    def cell(self, row: str | tuple[str, ...], column: str, place: int = 0) -> Figure:
        """The number at this place of a cell."""
        text = self.text(row, column)
        shown = [found.group() for found in NUMBER.finditer(text.replace("–", " to "))]
        if not shown:
            raise LookupError(f"no number in {row!r}, {column!r} of {self.name}")
        return Figure(value_of(shown[place]), 0.5 * unit_of(shown[place]))

    def hours(self, row: str, column: str = "work", place: int = 0) -> Figure:
        """The time at this place of a cell, in hours."""
        number, unit = re.findall(r"([\d.]+) (s|min|h)\b", self.text(row, column))[place]
        length = {"s": 3600, "min": 60, "h": 1}[unit]
        return Figure(value_of(number) / length, 0.5 * unit_of(number) / length)

    def column(self, column: str, rows: str = "") -> list[Figure]:
        """The first numbers of a column, of the rows that begin so."""
        where = _one(self.header, column, self.name)
        return [self.cell(row[0], column) for row in self.rows if row[0].startswith(rows) and NUMBER.search(row[where])]


def _one(texts: Sequence[str], wanted: str, table: str) -> int:
    found = [i for i, text in enumerate(texts) if text == wanted] or [
        i for i, text in enumerate(texts) if text.startswith(wanted)
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found)} of {table} begin with {wanted!r}: {list(texts)}")
    return found[0]


@cache
def table(file: str, title: str) -> Table:
    """The table of `tests/golden/tables/<file>.md` whose title begins so, or that is alone under the heading of this name."""
    text = (TABLES / f"{file}.md").read_text(encoding="utf-8")
    starts = [found.end() for found in re.finditer(rf"^(?:## )?{re.escape(title)}.*$", text, re.MULTILINE)]
    if len(starts) != 1:
        raise LookupError(f"{len(starts)} tables of {file} begin with {title!r}")
    lines = text[starts[0] :].strip().splitlines()
    rows = [
        [cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in _until_blank(lines)
    ]
    return Table(f"{file}: {title}", tuple(rows[0]), tuple(tuple(row) for row in rows[2:]))


def tables(file: str, *titles: str) -> list[Table]:
    """Several of one file."""
    return [table(file, title) for title in titles]


def _until_blank(lines: Sequence[str]) -> list[str]:
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return list(lines[:end])


def value_of(text: str) -> float:
    """A number as pages write it."""
    return float(text.replace(",", "").replace("−", "-"))


def unit_of(text: str) -> float:
    """What its last digit counts."""
    return 10.0 ** -len(text.partition(".")[2])


@dataclass(frozen=True)
class Statement:
    """Words of a page, with each number in braces, and where these come from, in order. {≈1,600} is rounded to its hundreds."""

    words: str
    figures: tuple[Figure, ...]

    def places(self, text: str) -> list[re.Match[str]]:
        """Where the words stand, however lines are broken; a group for each number in braces."""
        parts = re.split(r"\{≈?(.*?)\}", self.words)
        escaped = [f"({re.escape(part)})" if i % 2 else escaped_words(part) for i, part in enumerate(parts)]
        return list(re.finditer("".join(escaped), text))

    def wrong(self) -> list[str]:
        """Numbers that are not what the tables say."""
        stated = re.findall(r"\{(.*?)\}", self.words)
        if len(stated) != len(self.figures):
            return [f"{len(stated)} numbers and {len(self.figures)} figures: {self.words}"]
        pairs = zip(stated, self.figures, strict=True)
        return [f"{n} should be {f.value:.4g}: {self.words}" for n, f in pairs if not holds(n, f)]


def escaped_words(text: str) -> str:
    """A pattern of these words, however lines are broken."""
    return r"\s+".join(re.escape(part) for part in re.split(r"\s+", text))


def holds(stated: str, figure: Figure) -> bool:
    """Whether a number is this figure, rounded as it is written."""
    number = stated.removeprefix("≈")
    unit = unit_of(number)
    if number != stated:
        unit *= 10 ** (len(number) - len(number.rstrip("0")))
    return abs(value_of(number) - figure.value) <= 0.5 * unit + figure.error + 1e-9


def says(words: str, *figures: Figure | float) -> Statement:
    """`says("leaves {25.7}%", table(...).cell(...))`."""
    return Statement(words, tuple(f if isinstance(f, Figure) else Figure(float(f)) for f in figures))


def prose(text: str) -> str:
    """A page without what states no result, of the same length."""
    return _without(text, _LEFT_OUT)


def numbers(text: str, settings: Sequence[re.Pattern[str]]) -> list[re.Match[str]]:
    """The numbers of some prose that are no settings: no radii, sizes, or names."""
    return list(NUMBER.finditer(_without(text, settings)))


def _without(text: str, patterns: Sequence[re.Pattern[str]]) -> str:
    """Blanks in place of what they match, so that all else stays where it is."""
    for pattern in patterns:
        text = pattern.sub(lambda found: re.sub(r"\S", " ", found.group()), text)
    return text
