"""Weights by name, as people have them, into a network."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from groundglass.models.defended import Defended


def load_weights(model: nn.Module, tensors: Mapping[str, Any], *, what: str) -> None:
    """`load_state_dict`, for weights as people have them: whatever torch or safetensors would load is loaded.

    Names may have the prefixes that `torch.compile` and data parallelism put before them; a name of weights that
    are tied to others, and the counters of BatchNorm, may be missing. If B was destroyed before the network was saved, it
    stays destroyed.

    Raises:
        ValueError: weights of another network, or of another shape: what torch reports, the first of it.
    """
    if isinstance(model, Defended) and not any(name.endswith("feedback") for name in tensors):
        model.destroy_feedback()
    own = model.state_dict()
    named = _named_as(own, tensors)
    try:
        missing, unexpected = model.load_state_dict(named, strict=False)
    except ValueError as error:  # another device's
        raise ValueError(f"{what}: {error}") from error
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise ValueError(
            f"{what}: {first[0].strip()} These are weights of another shape (another width, N or M)"
        ) from error
    loaded = {_place(own[name]) for name in named if name in own}
    missing = [
        name
        for name in missing
        if not name.endswith("num_batches_tracked") and (name not in own or _place(own[name]) not in loaded)
    ]
    for names, where in ((unexpected, "the network has"), (missing, "the weights have")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"{what}: {where} no {names[0]!r}{more}: these are the weights of another network")


def _named_as(own: Mapping[str, Tensor], tensors: Mapping[str, Any]) -> Mapping[str, Any]:
    """Weights without the prefixes of wrappers in their names, if the network itself has no such names."""
    names = list(tensors)
    if not any("_orig_mod." in name for name in own):
        names = [name.replace("_orig_mod.", "") for name in names]
    # No other prefix: "model." may belong to a network around this one, which computes something else.
    while names and all(name.startswith("module.") for name in names) and not any(name in own for name in names):
        names = [name.removeprefix("module.") for name in names]
    # Unchanged if there is nothing to remove: torch keeps version numbers on its own dict.
    return tensors if names == list(tensors) else dict(zip(names, tensors.values(), strict=True))


def _place(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor is in memory: tied weights are in one place."""
    return tensor.device, tensor.data_ptr(), tuple(tensor.shape)
