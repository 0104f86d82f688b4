import pytest


@pytest.fixture
def no_litter(tmp_path, monkeypatch):
    """An attack that fails keeps what it did in a temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
