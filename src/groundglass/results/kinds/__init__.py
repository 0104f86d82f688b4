"""The kinds of results, one file a subject: each has one frozen Config and one frozen Result, and the columns of its frame.

The cell that makes a result, its record, the frames, the page and the tests all use these classes. They import no torch.
"""

from typing import Any

from groundglass.results.kinds.attack import ATTACK
from groundglass.results.kinds.audit import AUDIT, CHECK
from groundglass.results.kinds.base import Entry, Kind, column, derives
from groundglass.results.kinds.certify import CERTIFY
from groundglass.results.kinds.cost import COST, FIDELITY, FIT
from groundglass.results.kinds.craft import COMMON, CRAFT, TRANSFER
from groundglass.results.kinds.detect import DETECT
from groundglass.results.kinds.distil import DISTIL
from groundglass.results.kinds.draws import DRAWS
from groundglass.results.kinds.guard import GUARD, WATCH
from groundglass.results.kinds.network import DEVICE, DRIFT, RANDOMISE, REDRAW, TRAIN
from groundglass.results.kinds.query import CHOICE, QUERY
from groundglass.results.kinds.retrieve import RETRIEVE, ROWS

#: Those that a `Run` has as attributes, then the others: the order of frames.
_MAIN = (TRAIN, ATTACK, DRAWS, QUERY, TRANSFER, REDRAW, RETRIEVE, AUDIT, COST)
_OTHERS = (
    *(DEVICE, RANDOMISE, DRIFT, DISTIL, CHOICE, COMMON, CRAFT, ROWS, GUARD, WATCH),
    *(CERTIFY, DETECT, FIT, FIDELITY, CHECK),
)
#: Every kind by its name.
KINDS: dict[str, Kind[Any, Any]] = {kind.name: kind for kind in (*_MAIN, *_OTHERS)}

__all__ = [
    "ATTACK",
    "AUDIT",
    "CERTIFY",
    "CHECK",
    "CHOICE",
    "COMMON",
    "COST",
    "CRAFT",
    "DETECT",
    "DEVICE",
    "DISTIL",
    "DRAWS",
    "DRIFT",
    "FIDELITY",
    "FIT",
    "GUARD",
    "KINDS",
    "QUERY",
    "RANDOMISE",
    "REDRAW",
    "RETRIEVE",
    "ROWS",
    "TRAIN",
    "TRANSFER",
    "WATCH",
    "Entry",
    "Kind",
    "column",
    "derives",
]
