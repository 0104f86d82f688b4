"""The frames of a run as files."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from groundglass.results import Run, export
from tests.runs import RunFolder

FOLDER = Path(__file__).parents[2] / "docs" / "results" / "white-box" / "seed-1"


@pytest.mark.parametrize(
    ("format", "read"), [("csv", lambda path: pd.read_csv(path, index_col="key")), ("json", pd.read_json)]
)
def test_every_frame_is_a_file_that_reads_back(format, read, tmp_path):
    files = export(FOLDER, tmp_path / "out", format)
    frames = Run.open(FOLDER).frames
    assert [path.name for path in files] == [f"{name}.{format}" for name in frames]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in files)
    for path, frame in zip(files, frames.values(), strict=True):
        found = read(path)
        found = found.set_index("key") if "key" in found else found
        assert found.index.tolist() == frame.index.tolist()
        assert list(found.columns) == list(frame.columns)
        for column in frame.select_dtypes("number"):
            assert found[column].tolist() == pytest.approx(frame[column].tolist(), rel=1e-13, nan_ok=True)


def test_parquet_is_written_or_says_what_it_needs(tmp_path, monkeypatch):
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        pass
    else:
        (path, *_) = export(FOLDER, tmp_path / "there", "parquet")
        assert pd.read_parquet(path).index.name == "key"
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r'pip install "groundglass\[parquet\]"'):
        export(FOLDER, tmp_path / "out", "parquet")
    assert not list((tmp_path / "out").glob("*")), "nothing is left over"


def test_unknown_formats_and_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'csv'"):
        export(FOLDER, tmp_path / "out", "cvs")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        export(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="no records yet"):
        export(RunFolder(tmp_path / "empty").folder, tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file"):
        export(FOLDER, tmp_path / "file")
