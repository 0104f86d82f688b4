"""Plain JSON: one spelling for each value, what it is called by, and the difference of two values."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from groundglass.core.schema import plain
from groundglass.core.text import short

_ABSENT = object()


def canonical_json(value: Any) -> str:
    """One spelling a value: sorted keys, no spaces, and 8.0 as 8, so that equal configs give equal text."""
    return json.dumps(_integral(plain(value, "value")), sort_keys=True, separators=(",", ":"), allow_nan=False)


def cell_key(kind: str, config: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """The name of a unit of work, from what it is made of: 12 hex digits of SHA-256.

    The same kind, config and inputs give the same key on every machine; the order of `inputs` counts, the
    order of fields in `config` does not.
    """
    text = canonical_json([kind, config, list(inputs)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def difference(stored: Any, asked: Any, path: str = "") -> list[str]:
    """The fields in which two plain values differ, a line each: "config.attack.steps: 50 -> 20"."""
    if isinstance(stored, Mapping) and isinstance(asked, Mapping):
        return [
            line
            for key in sorted({*stored, *asked})
            for line in difference(stored.get(key, _ABSENT), asked.get(key, _ABSENT), f"{path}.{key}" if path else key)
        ]
    if isinstance(stored, list) and isinstance(asked, list) and len(stored) == len(asked):
        return [
            line
            for i, pair in enumerate(zip(stored, asked, strict=True))
            for line in difference(*pair, path=f"{path}[{i}]")
        ]
    if stored is not _ABSENT and asked is not _ABSENT and canonical_json(stored) == canonical_json(asked):
        return []
    before, now = _show(stored), _show(asked)
    if before == now:  # they differ in later digits
        before, now = _show(stored, 17), _show(asked, 17)
    return [f"{path}: {before} -> {now}"]


def _integral(value: Any) -> Any:
    """Floats without a fraction as int: 8.0 and 8 are the same setting."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _integral(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_integral(entry) for entry in value]
    return value


def _show(value: Any, digits: int = 6) -> str:
    text = _text(value, digits)
    return text if len(text) <= 80 else text[:77] + "..."


def _text(value: Any, digits: int) -> str:
    """JSON, but for numbers, which are as short as people write them: 2/255, not 0.00784313725490196."""
    if value is _ABSENT:
        return "(absent)"
    if isinstance(value, float):
        return short(value, digits)
    if isinstance(value, list):
        return f"[{', '.join(_text(one, digits) for one in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(name)}: {_text(value[name], digits)}' for name in sorted(value))}}}"
    return json.dumps(value)
