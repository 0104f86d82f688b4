"""JSON objects that carry the SHA-256 of the rest of them: an altered one is noticed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from groundglass.core.files import DamagedFileError

#: The key of a value's checksum.
SEAL = "sha256"


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` with a checksum of everything in it."""
    bare = {name: entry for name, entry in value.items() if name != SEAL}
    text = json.dumps(bare, sort_keys=True, allow_nan=False)
    return {**bare, SEAL: hashlib.sha256(text.encode()).hexdigest()}


def unsealed(value: dict[str, Any], where: str, *, required: bool) -> dict[str, Any]:
    """`value` without its checksum, once that was found right.

    Args:
        where: what to call it in an error.
        required: whether it must have one.

    Raises:
        DamagedFileError: it was altered.
    """
    if (SEAL in value or required) and value.get(SEAL) != sealed(value)[SEAL]:
        raise DamagedFileError(
            f"{where} was altered since it was written: its SHA-256 does not match. Put the file back from a copy"
        )
    return {name: entry for name, entry in value.items() if name != SEAL}
