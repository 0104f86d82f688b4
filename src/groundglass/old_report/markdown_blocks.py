"""Tables by section name, and the blocks of a Markdown file that hold them.

A block is a line `<!-- groundglass tables FOLDER [FOLDER ...] SECTION -->`, a table, and a line `<!-- end -->`. What
stands between is made from the records of the folders, never written by hand. In a fenced block of code it is text.
After the section may stand `titles=L2` (tables with a word in their title) and `columns=untouched,1.28` (beginnings of
heads): then the block has these alone.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from groundglass.core import lookup
from groundglass.old_report import markdown_attacks as attacks
from groundglass.old_report import markdown_studies as studies
from groundglass.old_report.drawing import Folder
from groundglass.old_report.markdown import ALL, Choice, Table, written
from groundglass.old_report.study import Study
from groundglass.results.records import RecordStore
from groundglass.results.seeds import over_seeds

#: In the order of the page.
SECTIONS: Mapping[str, Callable[[Study], list[Table]]] = {
    "white-box": attacks.white_box,
    "black-box": attacks.black_box,
    "transfer": attacks.transfer,
    "redraw": studies.redraw,
    "retrieval": studies.retrieval,
    "ablation": studies.ablation,
    "adversarial-training": studies.adversarial_training,
    "scale": studies.scale,
    "audit": studies.audit,
    "cost": studies.cost,
}

_BEGIN = re.compile(r"<!-- groundglass tables (.*?) -->\s*")
_END = "<!-- end -->"


def tables(folders: Sequence[Path], sections: Sequence[str] = (), choice: Choice = ALL) -> dict[str, str]:
    """The figures of a run folder as Markdown, by section.

    Shares are in percent: with the 95% Wilson interval for one folder, the mean with the smallest and the largest for several.

    Args:
        folders: one, or several that differ in their seed alone.
        sections: names; none: all those with records.
        choice: of their tables and columns.

    Raises:
        ValueError: an unknown section, or one without records; folders that differ in more than their seed.
        FileNotFoundError: no study in a folder.
        DamagedFileError: a record or its arrays were altered.
    """
    if len(folders) > 1:
        over_seeds(folders)  # refuses what differs in more than the seed
    runs = [Study(RecordStore.read(folder), Folder(folder)) for folder in folders]
    found = {}
    for name in sections or SECTIONS:
        text = written([lookup("section", name, SECTIONS)(study) for study in runs], choice)
        if text:
            found[name] = text
        elif sections:
            there = [each for each, made in SECTIONS.items() if any(made(study) for study in runs)]
            raise ValueError(
                f"{', '.join(map(str, folders))} has no records for the section {name!r}, or none that was chosen; "
                f"it has: {', '.join(there) or 'no section yet'}"
            )
    return found


def refresh(markdown: str, root: Path) -> str:
    """The text with the table of each block made anew; all else as it is.

    Args:
        root: what the folders named in blocks are relative to.

    Raises:
        ValueError: a block without its end, or that names no section; says in which line.
        FileNotFoundError: no study in a folder.
    """
    lines, made, number, fenced = markdown.splitlines(keepends=True), [], 0, False
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
        words = shlex.split(begin[1])
        *folders, section = [word for word in words if "=" not in word] or [""]
        if not folders:
            raise ValueError(f"line {number}: a block names a run folder and a section, as in `docs/run white-box`")
        try:
            choice = _choice([word for word in words if "=" in word])
            made.append(f"\n{tables([root / folder for folder in folders], [section], choice)[section]}\n\n")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        number = end
    return "".join(made)


def _choice(words: Sequence[str]) -> Choice:
    """From `titles=a,b` and `columns=c,d`."""
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, _, given = word.partition("=")
        lookup("choice", name, {"titles": None, "columns": None})
        found[name] = tuple(given.split(","))
    return Choice(**found)
