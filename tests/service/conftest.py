"""A state folder in memory, where a flush takes no time."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

#: A folder in memory, where there is one.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)
