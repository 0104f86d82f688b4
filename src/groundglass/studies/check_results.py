"""What a check is, and what it says."""

from collections.abc import Callable, Sequence
from typing import Any

from groundglass.results import Record

Check = Callable[[Sequence[Record]], dict[str, Any]]


def outcome(passed: bool, value: Any, expected: str, note: str) -> dict[str, Any]:
    """A check's result: what was found, what a study that can be believed shows, and a sentence for people."""
    return {"passed": passed, "value": value, "expected": expected, "note": note}
