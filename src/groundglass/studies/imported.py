"""Attacks that a user names as "package.module:name" or "file.py:name"."""

import hashlib
import inspect
from pathlib import Path
from typing import Any

from groundglass.attacks import GradientAttack, QueryAttack
from groundglass.core.imported import file_digest, imported


def imported_attack(text: str) -> Any:
    """The attack that a text names: a function of (model, images, labels, ball), an attack of this package, or its class.

    Raises:
        ValueError: as of `imported`.
    """
    found = imported("attack", text)
    ours = isinstance(found, type) and issubclass(found, GradientAttack | QueryAttack)
    return found() if ours else found


def attack_digest(attack: Any) -> str:
    """Of the settings of an attack of this package, or of the file that a function is written in: one that was changed makes
    another audit."""
    if isinstance(attack, GradientAttack | QueryAttack):
        return hashlib.sha256(repr(attack).encode()).hexdigest()
    try:
        source = inspect.getsourcefile(attack if inspect.isroutine(attack) else type(attack))
    except TypeError:  # it is built in
        source = None
    return file_digest(Path(source)) if source else hashlib.sha256(repr(type(attack)).encode()).hexdigest()
