"""Names that a user types: found, or refused with the nearest one."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def lookup(kind: str, name: str, choices: Mapping[str, T]) -> T:
    """`choices[name]`, or a ValueError that names the nearest choice and all of them.

    >>> lookup("recipe", "labtop", {"laptop": 1, "paper": 2})
    Traceback (most recent call last):
    ValueError: unknown recipe 'labtop': did you mean 'laptop'? There are: laptop, paper.
    """
    if name in choices:
        return choices[name]
    lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    hint = f": did you mean {lower[near[0]]!r}?" if near else "."
    raise ValueError(f"unknown {kind} {name!r}{hint} There are: {', '.join(sorted(choices))}.")
