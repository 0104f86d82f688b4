"""Small things that everything else stands on: seeds, files, names, checks."""

from groundglass.core.budget import BudgetExceededError
from groundglass.core.checks import check_eps, check_images, check_labels
from groundglass.core.files import DamagedFileError, DiskFullError, atomic_write, read_json, remove_parts, write_json
from groundglass.core.names import lookup
from groundglass.core.progress import Progress, silent
from groundglass.core.seeds import derive_seed, generator
from groundglass.core.states import load_state, read_notes, save_state

__all__ = [
    "BudgetExceededError",
    "DamagedFileError",
    "DiskFullError",
    "Progress",
    "atomic_write",
    "check_eps",
    "check_images",
    "check_labels",
    "derive_seed",
    "generator",
    "load_state",
    "lookup",
    "read_json",
    "read_notes",
    "remove_parts",
    "save_state",
    "silent",
    "write_json",
]
