"""The Python blocks of the how-to pages that are whole programs run as they stand."""

import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "how-to"


@pytest.mark.parametrize("page", ["audit.md"])
def test_the_blocks_of_a_page_run(page: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    assert len(blocks) >= 2
    space: dict = {}
    for block in blocks:
        exec(compile(block, page, "exec"), space)
    found = space["found"]
    assert found.verdict == "likely gradient masking"
    assert any(attempt.mode == "identity" and attempt.broke for attempt in found.attempts)
