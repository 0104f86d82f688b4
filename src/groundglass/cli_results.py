"""`groundglass report`, `tables` and `compact`: what is made from the records of a run folder."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Report:
    """Rebuild figures and report.html of a run folder from its records alone."""

    folder: tyro.conf.Positional[Path]
    """A run folder, or a compact copy of one."""
    out: Path | None = None
    """Where report.html and figures/ go; made when missing. Default: the run folder."""


@dataclass(frozen=True)
class Tables:
    """Print the figures of a run folder as Markdown tables, or make the tables of Markdown files anew."""

    folders: tyro.conf.Positional[tuple[Path, ...]] = ()
    """One run folder (95% intervals), or several that differ in their seed alone (mean, smallest and largest). In %."""
    part: tuple[str, ...] = ()
    """These alone, as white-box or cost. Default: all that have records."""
    update: tuple[Path, ...] = ()
    """Markdown files, rewritten in place: what stands between `<!-- groundglass tables FOLDER PART -->` and `<!-- end -->`."""
    root: Path = Path()
    """What the folders in those files are relative to. Default: the current folder."""


@dataclass(frozen=True)
class Compact:
    """Copy a run folder without networks, devices and sets of images: small enough to commit, enough for report and tables."""

    folder: tyro.conf.Positional[Path]
    """A run folder, finished or not; left as it is."""
    out: tyro.conf.Positional[Path]
    """The copy; not an existing folder."""


def run_report(command: Report) -> int:
    """Carry the command out. Returns the exit code."""
    from groundglass.old_report import build

    print(f"report: {build(command.folder, out=command.out)}")
    return 0


def run_tables(command: Tables) -> int:
    """Carry the command out. Returns the exit code."""
    from groundglass.core import atomic_write
    from groundglass.old_report.markdown_blocks import SECTIONS, refresh, tables

    if bool(command.folders) == bool(command.update):
        raise ValueError("give run folders, to print their tables, or --update FILE.md: one of the two")
    if command.update and command.part:
        raise ValueError("--part is for printing: the blocks of a file name their own parts")
    for folder in command.folders:
        if not folder.exists() and str(folder) in SECTIONS:
            raise ValueError(f"there is no folder {folder}: for the table of that name say --part {folder}")
    if command.folders:
        found = tables(command.folders, command.part)
        if not found:
            raise ValueError(f"{command.folders[0]} has no records yet: there is nothing to tell")
        print("\n\n".join(f"## {name}\n\n{text}" for name, text in found.items()))
    # All are made before any is written: an error in one leaves all as they were.
    before = [path.read_bytes().decode() for path in command.update]
    after = [refresh(text, command.root) for text in before]
    for path, old, new in zip(command.update, before, after, strict=True):
        if new != old:
            with atomic_write(path) as file:
                file.write(new.encode())
        print(f"{path}: {'as it was' if new == old else 'tables made anew'}")
    return 0


def run_compact(command: Compact) -> int:
    """Carry the command out. Returns the exit code."""
    from groundglass.results.compact import compact

    done = compact(command.folder, command.out)
    print(f"{done.folder}: {done.records} records, {done.arrays} of them with arrays, every checksum right")
    print(
        f"{done.files} files, {done.bytes / 2**20:.2f} MiB; `groundglass report {done.folder} --out PLACE` makes its page"
    )
    return 0
