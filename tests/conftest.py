"""For every test: one torch thread a worker, as two busy workers with two threads each wait for each other."""

import gc

import pytest
import torch

torch.set_num_threads(1)
gc.disable()


def pytest_collection_finish() -> None:
    """What was imported stays: the collector of cycles need not look through it again and again."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def no_litter(tmp_path, monkeypatch):
    """An attack that fails keeps what it did in a temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
