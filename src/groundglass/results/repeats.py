"""The names of what a study repeats with other seeds and devices."""

_MARK = " repeat "


def repeat_name(name: str, number: int) -> str:
    """The name of a repeat, from 0 on; the first is called as if there were no other."""
    return f"{name}{_MARK}{number + 1}".strip() if number else name


def repeat_of(name: str) -> tuple[str, int]:
    """The name in the first repeat, and the number of the repeat, from 0 on.

    >>> repeat_of("VGG-OPU repeat 3")
    ('VGG-OPU', 2)
    """
    plain, mark, number = name.rpartition(_MARK)
    return (plain, int(number) - 1) if mark and number.isdecimal() else (name, 0)
