"""Results: records on disk, and what can be said of them."""

from groundglass.results.records import FolderInUseError, OtherStudyError, Record, RecordStore, cell_key

__all__ = ["FolderInUseError", "OtherStudyError", "Record", "RecordStore", "cell_key"]
