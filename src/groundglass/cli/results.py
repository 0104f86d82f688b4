"""`groundglass report`, `tables`, `seeds`, `export` and `compact`: what is made from the records of a run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from groundglass.cli.options import Command, RunFolder
from groundglass.cli.terminal import say


@dataclass(frozen=True)
class Report(Command):
    """Rebuild figures and report.html of a run folder from its records alone."""

    folder: RunFolder
    out: Path | None = None
    """Where report.html and figures/ go; made when missing. Default: the run folder."""

    def run(self) -> None:
        from groundglass.report import build

        say(f"report: {build(self.folder, out=self.out)}")


@dataclass(frozen=True)
class Tables(Command):
    """Print the figures of a run folder as Markdown tables, or update the tables in Markdown files."""

    folders: tyro.conf.Positional[tuple[Path, ...]] = ()
    """One run folder (95% intervals), or several that differ in their seed alone (mean, smallest and largest). In %."""
    part: tuple[str, ...] = ()
    """These alone, as white-box or cost. Default: all that have records."""
    update: tuple[Path, ...] = ()
    """Markdown files, rewritten in place: what stands between `<!-- groundglass tables FOLDER PART -->` and `<!-- end -->`."""
    root: Path = Path()
    """What the folders in those files are relative to. Default: the current folder."""

    def run(self) -> None:
        from groundglass.core import atomic_write
        from groundglass.report.markdown import parts, refresh, tables

        if bool(self.folders) == bool(self.update):
            raise ValueError("give run folders, to print their tables, or --update FILE.md: one of the two")
        if self.update and self.part:
            raise ValueError("--part is for printing: the blocks of a file name their own parts")
        for folder in self.folders:
            if not folder.exists() and str(folder) in parts():
                raise ValueError(f"there is no folder {folder}: for the table of that name say --part {folder}")
        if self.folders:
            found = tables(self.folders, self.part)
            if not found:
                raise ValueError(f"{self.folders[0]} has no records yet: there is nothing to tell")
            say("\n\n".join(f"## {name}\n\n{text}" for name, text in found.items()))
        # All are made before any is written: an error in one leaves all as they were.
        before = [path.read_bytes().decode() for path in self.update]
        for path, text in zip(self.update, before, strict=True):
            if "<!-- groundglass tables " not in text:
                raise ValueError(f"{path} has no block `<!-- groundglass tables FOLDER PART -->`: nothing to update")
        after = [refresh(text, self.root) for text in before]
        for path, old, new in zip(self.update, before, after, strict=True):
            if new != old:
                with atomic_write(path) as file:
                    file.write(new.encode())
            say(f"{path}: {'unchanged' if new == old else 'tables updated'}")


@dataclass(frozen=True)
class Seeds(Command):
    """Mean and spread of every figure over run folders that differ in their seed alone, as a Markdown table."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """At least two run folders of one study, recipe and data set."""

    def run(self) -> None:
        from groundglass.results.seeds import over_seeds, table

        say(table(over_seeds(self.folders), len(self.folders)))


@dataclass(frozen=True)
class Export(Command):
    """Write the results of a run folder as tables for other programs: one file for each kind of result, one row for each result.
    Files of an earlier export are replaced."""

    folder: RunFolder
    out: Path | None = None
    """Where the files go. Default: tables/ in the run folder."""
    format: Literal["csv", "parquet", "json"] = "csv"
    """Of the files. parquet needs pyarrow."""

    def run(self) -> None:
        from groundglass.core.untrusted import within
        from groundglass.results import export

        for path in export(self.folder, within(self.folder, "tables") if self.out is None else self.out, self.format):
            say(str(path))


@dataclass(frozen=True)
class Compact(Command):
    """Copy a run folder without networks, devices and sets of images: small enough to commit, enough for report and tables."""

    folder: RunFolder
    out: tyro.conf.Positional[Path]
    """The copy; not an existing folder."""

    def run(self) -> None:
        from groundglass.results.compact import compact

        done = compact(self.folder, self.out)
        say(f"{done.folder}: {done.records} records, {done.arrays} of them with arrays, every checksum right")
        say(
            f"{done.files} files, {done.bytes / 2**20:.2f} MiB; `groundglass report {done.folder} --out PLACE` makes its page"
        )
