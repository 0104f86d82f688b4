"""Small things that everything else stands on: seeds, files, names, checks. Only what needs torch imports it."""

from typing import TYPE_CHECKING

from groundglass.core.budget import BudgetExceededError
from groundglass.core.files import (
    DamagedFileError,
    DiskFullError,
    atomic_write,
    check_writable,
    make_folder,
    publish,
    refuse_existing,
    remove_parts,
    write_json,
)
from groundglass.core.lazy import lazily
from groundglass.core.names import lookup
from groundglass.core.progress import Progress, silent
from groundglass.core.untrusted import read_json

if TYPE_CHECKING:
    from groundglass.core.checks import (
        NonFiniteError,
        check_eps,
        check_images,
        check_labels,
        check_logits,
        check_weights,
        explain_layout,
    )
    from groundglass.core.given import as_images, as_labels, logits_of
    from groundglass.core.given_models import as_model
    from groundglass.core.numbers import counting, input_dtype, integers, normal, permutation, pieces, uniform, whole
    from groundglass.core.seeds import check_seed, derive_seed, generator, own_streams
    from groundglass.core.states import begin_state, load_state, read_notes, save_state

__all__ = [
    "BudgetExceededError",
    "DamagedFileError",
    "DiskFullError",
    "NonFiniteError",
    "Progress",
    "as_images",
    "as_labels",
    "as_model",
    "atomic_write",
    "begin_state",
    "check_eps",
    "check_images",
    "check_labels",
    "check_logits",
    "check_seed",
    "check_weights",
    "check_writable",
    "counting",
    "derive_seed",
    "explain_layout",
    "generator",
    "input_dtype",
    "integers",
    "load_state",
    "logits_of",
    "lookup",
    "make_folder",
    "normal",
    "own_streams",
    "permutation",
    "pieces",
    "publish",
    "read_json",
    "read_notes",
    "refuse_existing",
    "remove_parts",
    "save_state",
    "silent",
    "uniform",
    "whole",
    "write_json",
]

__getattr__ = lazily(
    __name__,
    dict.fromkeys(
        (
            "NonFiniteError",
            "check_eps",
            "check_images",
            "check_labels",
            "check_logits",
            "check_weights",
            "explain_layout",
        ),
        "groundglass.core.checks",
    )
    | dict.fromkeys(
        ("counting", "input_dtype", "integers", "normal", "permutation", "pieces", "uniform", "whole"),
        "groundglass.core.numbers",
    )
    | dict.fromkeys(("as_images", "as_labels", "logits_of"), "groundglass.core.given")
    | {"as_model": "groundglass.core.given_models"}
    | dict.fromkeys(("check_seed", "derive_seed", "generator", "own_streams"), "groundglass.core.seeds")
    | dict.fromkeys(("begin_state", "load_state", "read_notes", "save_state"), "groundglass.core.states"),
)
