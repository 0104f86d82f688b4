"""Results: a run folder on disk, and what is in it as tidy tables. `Run.open(DIR).attacks` is a pandas frame."""

from typing import TYPE_CHECKING

from groundglass.core.lazy import lazily
from groundglass.results.records import FolderInUseError, OtherStudyError, Record, RecordStore, cell_key

if TYPE_CHECKING:
    from groundglass.results.exports import export
    from groundglass.results.run import Run

__all__ = ["FolderInUseError", "OtherStudyError", "Record", "RecordStore", "Run", "cell_key", "export"]

# pandas is imported by who reads a run, not by who makes one.
__getattr__ = lazily(__name__, {"Run": "groundglass.results.run", "export": "groundglass.results.exports"})
