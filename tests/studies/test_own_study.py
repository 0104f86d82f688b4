"""A study of one's own, outside the package: it runs, resumes, reports and exports like any other."""

from pathlib import Path

import pandas as pd
import pytest

from groundglass.data import load_shapes
from groundglass.report import build
from groundglass.report.markdown import parts
from groundglass.results import Run, export
from groundglass.studies import Study, run_study
from groundglass.studies.engine import planned
from tests.studies.tiny import Listener

TOY = Study("brightness", "tests.toy_study")
HERE = Path(__file__).parents[1] / "toy_study"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(planned, "load", lambda name, data_dir=None: load_shapes(n_train=20, n_test=200, seed=0))

    def run(listener: Listener) -> Run:
        return run_study(TOY, "tiny", tmp_path / "run", precision="float32", listener=listener)

    with pytest.raises(KeyboardInterrupt):
        run(Listener(at="class 2"))
    assert len(Run.open(tmp_path / "run").records) == 2
    heard = Listener()
    assert len(run(heard).records) == 3
    run(heard)
    assert heard.names == ["brightness of class 2"]
    return tmp_path / "run"


def test_it_runs_resumes_reports_and_exports(folder: Path) -> None:
    page = build(folder, studies=(TOY,)).read_text(encoding="utf-8")
    frame = Run.open(folder).frame("brightness")
    assert f"Class {frame['label'][frame['brightness'].idxmax()]} is the brightest." in page
    (table,) = parts((TOY,))["brightness"](Run.open(folder))
    assert [row.values[0].value for row in table.rows] == frame["brightness"].tolist()
    (file,) = export(folder, folder / "tables")
    assert pd.read_csv(file)["brightness"].tolist() == pytest.approx(frame["brightness"].tolist())


def test_it_is_small() -> None:
    assert sum(len(file.read_text().splitlines()) for file in HERE.iterdir() if file.is_file()) < 80
