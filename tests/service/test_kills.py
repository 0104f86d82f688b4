"""A ledger that is killed at random moments: no frame was measured that is not counted, and none too many."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.service.conftest import MEMORY
from tests.service.killed import IN_HAND, LIMIT

pytestmark = pytest.mark.slow
Rounds = list[dict[str, int]]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def killed() -> dict[str, Rounds]:
    """By ledger: what was measured in each round, and what was counted after it."""
    asked = ["Ledger:24", "CountsAfterwards:6", "CountsByTwoSteps:6"]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        command = [sys.executable, "-m", "tests.service.killed", folder, "5", *asked]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def faults(rounds: Rounds) -> list[str]:
    found, before = [], 0
    for one in rounds:
        new = one["counted"] - before
        before = one["counted"]
        if new < one["seen"]:
            found.append(f"{one['seen'] - new} frames were measured and not counted")
        if new > one["seen"] + IN_HAND:
            found.append(f"{new - one['seen']} frames were counted and not measured")
        if one["counted"] > LIMIT:
            found.append(f"{one['counted'] - LIMIT} frames too many")
    return found


def test_no_frame_is_lost_and_none_is_too_many(killed: dict[str, Rounds]) -> None:
    *rounds, last = killed["Ledger"]
    assert faults([*rounds, last]) == []
    # What was reserved is there again.
    assert all(one["left"] == LIMIT - one["counted"] for one in rounds)
    assert last["counted"] == LIMIT
    assert last["left"] == 0
    # Most of them did die at work.
    assert sum(one["seen"] > 0 for one in rounds) > len(rounds) / 3


@pytest.mark.parametrize("kind", ["CountsAfterwards", "CountsByTwoSteps"])
def test_what_counts_wrongly_is_noticed(killed: dict[str, Rounds], kind: str) -> None:
    assert faults(killed[kind])
