"""Names that a user types: found, or refused with the nearest one."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

# So many names are no help.
_MANY = 60


def lookup(kind: str, name: str, choices: Mapping[str, T]) -> T:
    """`choices[name]`, or a ValueError that names the nearest choice and all of them; of many the nearest few.

    >>> lookup("recipe", "labtop", {"laptop": 1, "paper": 2})
    Traceback (most recent call last):
    ValueError: unknown recipe 'labtop': did you mean 'laptop'? There are: laptop, paper.
    """
    if name in choices:
        return choices[name]
    lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    hint = f": did you mean {lower[near[0]]!r}?" if near else "."
    told = f"There are: {', '.join(sorted(choices))}."
    if len(choices) > _MANY:
        few = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, n=5, cutoff=0.5)[1:]]
        told = f"There are {len(choices):,}" + (f", among them {', '.join(few)}." if few else ".")
    raise ValueError(f"unknown {kind} {name!r}{hint} {told}")
