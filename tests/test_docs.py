"""The Python blocks of the how-to pages that are whole programs run as they stand."""

import re
from pathlib import Path

import pytest
import torch

PAGES = Path(__file__).parent.parent / "docs" / "how-to"


def run_blocks(page: str, *, instead: tuple[str, str] = ("", "")) -> dict:
    """What is there when all blocks of a page have run, one after the other; `instead`: a setting, and a faster one."""
    text = (PAGES / page).read_text()
    assert instead[0] in text
    blocks = re.findall(r"```python\n(.*?)```", text.replace(*instead) if instead[0] else text, re.DOTALL)
    assert len(blocks) >= 2
    space: dict = {}
    for block in blocks:
        exec(compile(block, page, "exec"), space)
    return space


def test_the_page_on_audits_runs() -> None:
    found = run_blocks("audit.md")["found"]
    assert found.claim("own").verdict == "contradicted"
    assert any(attempt.mode == "identity" and attempt.broke for attempt in found.attempts)


def test_a_network_of_ones_own_is_defended_audited_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space = run_blocks("own-network.md", instead=("epochs=4", "epochs=2"))
    network, again, data, found = (space[name] for name in ("network", "again", "data", "found"))
    assert space["accuracy"](network, data.test) > 0.3  # chance is 0.1
    assert space["result"].robust_accuracy > found.worst.share
    assert found.claim("dfa-fresh+fa").verdict == "contradicted"
    images = data.test.head(50).floats()
    assert torch.equal(again.eval()(images), network.eval()(images))
    assert (tmp_path / "secret.device").stat().st_mode & 0o777 == 0o600


def test_the_page_on_results_runs() -> None:
    space = run_blocks("results.md")
    assert space["test"].paired
    assert len(space["right"]) == 1000
