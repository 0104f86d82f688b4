"""Tables by part, and the blocks of a Markdown file that hold them.

A block is a line `<!-- groundglass tables FOLDER [FOLDER ...] PART -->`, a table, and a line `<!-- end -->`. What
stands between is made from the records of the folders, never written by hand. In a fenced block of code it is text.
After the part may stand `titles=L2` (tables with a word in their title), `columns=clean,1.28` (beginnings of
heads) and `"rows=VGG-16,VGG-OPU"` (beginnings of rows): then the block has these alone.
"""

import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from groundglass.core import lookup
from groundglass.report import audits, cost
from groundglass.report.table import ALL, Choice, Table, markdown
from groundglass.results import Run
from groundglass.results.seeds import over_seeds
from groundglass.studies.registry import STUDIES, Study

_BEGIN = re.compile(r"<!-- groundglass tables (.*?) -->\s*")
_END = "<!-- end -->"


def parts(studies: Sequence[Study] = STUDIES) -> dict[str, Callable[[Run], list[Table]]]:
    """What makes the tables of each part, in the order of the page."""
    of_studies = {
        study.name: lambda run, study=study: study.report.tables(run.of(study.name, maybe=True)) for study in studies
    }
    return {**of_studies, "audit": audits.tables, "cost": cost.tables}


def tables(folders: Sequence[Path], names: Sequence[str] = (), choice: Choice = ALL) -> dict[str, str]:
    """The figures of a run folder as Markdown, by part.

    Shares are in percent: with the 95% Wilson interval for one folder, the mean with the smallest and the largest for several.

    Args:
        folders: one, or several that differ in their seed alone.
        names: of parts; none: all those with records.
        choice: of their tables and columns.

    Raises:
        ValueError: an unknown part, or one without records; folders that differ in more than their seed.
        FileNotFoundError: no study in a folder.
        DamagedFileError: a record or its arrays were altered.
    """
    if len(folders) > 1:
        over_seeds(folders)  # refuses what differs in more than the seed
    runs, makers, found = [Run.open(folder) for folder in folders], parts(), {}
    for name in names or makers:
        text = markdown([lookup("part", name, makers)(run) for run in runs], choice)
        if text:
            found[name] = text
        elif names:
            there = [each for each, make in makers.items() if any(make(run) for run in runs)]
            raise ValueError(
                f"{', '.join(map(str, folders))} has no records for the part {name!r}, or none that was chosen; "
                f"it has: {', '.join(there) or 'no part yet'}"
            )
    return found


def refresh(text: str, root: Path) -> str:
    """A Markdown text with the table of each block updated, and all else unchanged.

    Args:
        root: what the folders named in blocks are relative to.

    Raises:
        ValueError: a block without its end, or that names no part; says in which line.
        FileNotFoundError: no study in a folder.
    """
    lines, made, number, fenced = text.splitlines(keepends=True), [], 0, False
    while number < len(lines):
        begin = _BEGIN.fullmatch(lines[number])
        fenced ^= lines[number].startswith("```")
        made.append(lines[number])
        number += 1
        if begin is None or fenced:
            continue
        end = next((i for i in range(number, len(lines)) if lines[i].strip() == _END), None)
        if end is None or any(_BEGIN.fullmatch(line) for line in lines[number:end]):
            raise ValueError(f"line {number}: the block has no `{_END}` after it")
        try:
            words = shlex.split(begin[1])
        except ValueError as error:
            raise ValueError(
                f"line {number}: the words of the block cannot be separated ({error}): put a name with spaces in quotes"
            ) from error
        *folders, part = [word for word in words if "=" not in word] or [""]
        if not folders:
            raise ValueError(f"line {number}: a block names a run folder and a part, as in `docs/run white-box`")
        try:
            choice = _choice([word for word in words if "=" in word])
            made.append(f"\n{tables([root / folder for folder in folders], [part], choice)[part]}\n\n")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        number = end
    return "".join(made)


def _choice(words: Sequence[str]) -> Choice:
    """From `titles=a,b`, `columns=c,d` and `rows=e,f`."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, _, given = word.partition("=")
        lookup("choice", name, dict.fromkeys(("titles", "columns", "rows")))
        found[name] = tuple(given.split(","))
    return Choice(**found)
