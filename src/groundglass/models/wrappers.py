"""Modules that only wrap a network: torch.compile, data parallelism, TorchScript."""

from torch import nn
from torch.jit import ScriptModule
from torch.nn.parallel import DataParallel, DistributedDataParallel


def unwrapped(model: nn.Module) -> nn.Module:
    """The network in wrappers of torch.compile and of data parallelism; another one as it is."""
    while True:
        if isinstance(model, DataParallel | DistributedDataParallel):
            model = model.module
        elif not isinstance(model, ScriptModule) and isinstance(inner := model._modules.get("_orig_mod"), nn.Module):
            model = inner
        else:
            return model


def check_plain(network: nn.Module) -> None:
    """Refuse a network that is wrapped, or recorded: what it computes cannot be changed by replacing a module of it.

    Raises:
        ValueError: says what to give in its place.
    """
    if isinstance(network, ScriptModule):
        raise ValueError(
            "`network` is TorchScript, whose modules cannot be replaced: give the PyTorch network it was made from"
        )
    if unwrapped(network) is not network:
        inside = (
            "network.module" if isinstance(network, DataParallel | DistributedDataParallel) else "network._orig_mod"
        )
        raise ValueError(
            f"`network` is in a wrapper, {type(network).__name__}: give what is inside, {inside}, and wrap the defended network"
        )
