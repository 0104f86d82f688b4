"""Small things that everything else stands on: seeds, files, names, checks. Each is imported when it is first asked for."""

from groundglass.core.lazy import lazily

TYPE_CHECKING = False
if TYPE_CHECKING:
    from groundglass.core.budget import BudgetExceededError
    from groundglass.core.checks import (
        NonFiniteError,
        check_eps,
        check_images,
        check_labels,
        check_logits,
        check_weights,
        explain_layout,
    )
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
    from groundglass.core.given import as_images, as_labels, logits_of
    from groundglass.core.given_models import as_model
    from groundglass.core.names import lookup
    from groundglass.core.numbers import counting, input_dtype, integers, normal, permutation, pieces, uniform, whole
    from groundglass.core.progress import Progress, silent
    from groundglass.core.seeds import check_seed, derive_seed, generator, own_streams
    from groundglass.core.states import begin_state, load_state, read_notes, save_state
    from groundglass.core.untrusted import read_json

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

_FROM = {
    "groundglass.core.budget": ("BudgetExceededError",),
    "groundglass.core.checks": (
        "NonFiniteError",
        "check_eps",
        "check_images",
        "check_labels",
        "check_logits",
        "check_weights",
        "explain_layout",
    ),
    "groundglass.core.files": (
        "DamagedFileError",
        "DiskFullError",
        "atomic_write",
        "check_writable",
        "make_folder",
        "publish",
        "refuse_existing",
        "remove_parts",
        "write_json",
    ),
    "groundglass.core.given": (
        "as_images",
        "as_labels",
        "logits_of",
    ),
    "groundglass.core.given_models": ("as_model",),
    "groundglass.core.names": ("lookup",),
    "groundglass.core.numbers": (
        "counting",
        "input_dtype",
        "integers",
        "normal",
        "permutation",
        "pieces",
        "uniform",
        "whole",
    ),
    "groundglass.core.progress": (
        "Progress",
        "silent",
    ),
    "groundglass.core.seeds": (
        "check_seed",
        "derive_seed",
        "generator",
        "own_streams",
    ),
    "groundglass.core.states": (
        "begin_state",
        "load_state",
        "read_notes",
        "save_state",
    ),
    "groundglass.core.untrusted": ("read_json",),
}

__getattr__ = lazily(__name__, {name: module for module, names in _FROM.items() for name in names})
