"""Files of weights as people have them: what torch.save or safetensors wrote."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from groundglass.core import DamagedFileError

# Where other programs' checkpoints keep their weights, in the order in which they are tried.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params")


def read_weights(path: Path) -> dict[str, Any]:
    """Weights by name, of a safetensors file or of torch.save. Pickled code is not run.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedFileError: it holds none that can be read safely.
        ValueError: it holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no weights file {path}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise DamagedFileError(f"{path} is not a whole safetensors file ({error})") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on a file that is not one of its own
        raise DamagedFileError(
            f"{path} holds no weights that can be read safely ({type(error).__name__}): save `model.state_dict()` with torch.save"
        ) from error
    while isinstance(found, dict) and (inner := [found[key] for key in _WRAPPERS if isinstance(found.get(key), dict)]):
        found = inner[0]
    weights = (
        {name: value for name, value in found.items() if isinstance(value, Tensor)} if isinstance(found, dict) else {}
    )
    others = len(found) - len(weights) if isinstance(found, dict) else 0
    # A module's extra state has this name.
    if not weights or others != sum(str(name).endswith("_extra_state") for name in found):
        raise ValueError(
            f"{path} is not a state_dict: save `model.state_dict()`, alone or as one of {', '.join(_WRAPPERS)}"
        )
    return cast("dict[str, Any]", found)
