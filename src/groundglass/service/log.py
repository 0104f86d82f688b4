"""The log: a line of JSON for each thing that happens. No token, no bits, no reading and no place of a secret is in it."""

import json
import logging
import os
import sys
import time
import traceback

_LOG = logging.getLogger("groundglass.service")


def say(what: str, *, level: int = logging.INFO, **fields: object) -> None:
    """One line: when, what, and with which figures; what is None is left out."""
    told = {name: value for name, value in fields.items() if value is not None}
    _LOG.log(level, json.dumps({"time": round(time.time(), 3), "what": what, **told}))


def complain(what: str, error: BaseException | None, **fields: str) -> None:
    """What went wrong, for the operator: its kind, the system's words, and the line of code. An error's own words may name files,
    or show bits."""
    number, last = getattr(error, "errno", None), None
    why = os.strerror(number) if isinstance(number, int) else None
    if error is not None and error.__traceback__ is not None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        last = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    say(what, level=logging.ERROR, error=type(error).__name__, why=why, at=last, **fields)


def write_lines() -> None:
    """From now on the lines go to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
