"""The frames of a run as files for other programs."""

from pathlib import Path
from typing import Literal, get_args

from groundglass.core import atomic_write, lookup
from groundglass.core.imported import require
from groundglass.results.manifest import check_folder
from groundglass.results.run import Run

Format = Literal["csv", "parquet", "json"]


def export(folder: Path, out: Path, format: Format = "csv") -> list[Path]:
    """Write every frame of a run folder to `out`/NAME.FORMAT; files of an earlier export are replaced.

    Texts are written unchanged. A spreadsheet runs a name that begins like a formula ("=..."): open a stranger's with care.

    Returns:
        The files, in the order of the frames.

    Raises:
        ValueError: an unknown format; parquet without pyarrow; or no records yet.
        FileNotFoundError: no study in the folder.
        NotADirectoryError: `out` is a file.
        DamagedFileError: a record was altered.
    """
    lookup("format", format, {name: name for name in get_args(Format)})
    run, files = Run.open(folder), list[Path]()
    if not run.frames:
        raise ValueError(f"{folder} has no records yet: there is nothing to export")
    if format == "parquet":
        require("parquet", "pyarrow")
    check_folder(out)
    for name, frame in run.frames.items():
        path = out / f"{name}.{format}"
        with atomic_write(path) as file:
            if format == "csv":
                frame.to_csv(file)
            elif format == "json":
                frame.reset_index().to_json(file, orient="records", indent=2, double_precision=15)
            else:
                frame.to_parquet(file)
        files.append(path)
    return files
