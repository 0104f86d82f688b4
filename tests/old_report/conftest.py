"""Run folders, written and built once for all tests that only look at them."""

from pathlib import Path

import pytest

from groundglass.old_report import build
from tests.old_report import synthetic_study


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete study with a failed check, and its page."""
    folder = synthetic_study.write(tmp_path_factory.mktemp("complete") / "run", failing="gradient cosine")
    build(folder)
    return folder


@pytest.fixture(scope="session")
def page(complete: Path) -> str:
    return (complete / "report.html").read_text(encoding="utf-8")
