"""A deprecated name works, and its caller is told."""

import re
import warnings
from pathlib import Path

import pytest

import groundglass
from groundglass.core.deprecated import deprecated, warn_deprecated


@deprecated("new(a)", since="1.1", until="1.3")
def old(a: int, *, b: int = 2) -> int:
    """Adds."""
    return a + b


def test_it_works_and_its_caller_is_told():
    with pytest.warns(DeprecationWarning, match=r"old\(\).*since groundglass 1\.1.*gone in 1\.3: use new\(a\)") as told:
        assert old(1, b=5) == 6
    assert told[0].filename == __file__
    assert (old.__name__, old.__doc__) == ("old", "Adds.")


def test_an_argument_is_told_at_the_call_of_its_function():
    def attack(step: float | None = None) -> None:
        if step is not None:
            warn_deprecated("`step`", "`step_size`", since="1.1", until="1.3")

    with pytest.warns(DeprecationWarning, match="`step_size`") as told:
        attack(step=1.0)
    assert told[0].filename == __file__
    assert told[0].lineno == test_an_argument_is_told_at_the_call_of_its_function.__code__.co_firstlineno + 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack()


def test_nothing_stays_past_the_version_in_which_it_was_to_go():
    """A release with such a name is not made: this test fails first."""
    now = tuple(int(part) for part in groundglass.__version__.split(".")[:2])
    source = Path(groundglass.__file__).parent
    for path in source.rglob("*.py"):
        if path.name != "deprecated.py":
            for until in re.findall(r'deprecated\([^#]*?until="([0-9.]+)"', path.read_text()):
                assert now < tuple(int(part) for part in until.split(".")[:2]), f"{path}: to be removed"
