"""Train and eval mode, module by module: afterwards each module has the mode that its owner chose."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Eval mode for a module; then every submodule in the mode it had. Anything but a module has no mode.

    Only what is in train mode is touched: threads may share a network that is in eval mode. A module that has a `train` of
    its own is asked by it: it may stay in train mode, as a dropout that is a defence does.
    """
    modules = _modules_of(model) if isinstance(model, nn.Module) else []
    changed = [module for module in modules if getattr(module, "training", False)]
    own = [module for module in changed if _has_own_mode(module)]
    before = [(module, in_train_mode(module)) for module in modules] if own else [(module, True) for module in changed]
    try:
        if own and isinstance(model, nn.Module):
            model.eval()
    except NotImplementedError:  # one of them has no other mode, as a graph of torch.export
        changed = [module for module in changed if module not in own]
        own = []
    if not own:
        for module in changed:
            module.training = False
    try:
        yield
    finally:
        for module in own:
            if not in_train_mode(module):
                module.train()
        for module, mode in before:
            module.training = mode


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Afterwards its parameters and buffers are what they were."""
    held = [*model.parameters(), *model.buffers()]
    before = [tensor.detach().clone() for tensor in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(held, before, strict=True):
                if not torch.equal(tensor, value):
                    tensor.copy_(value)


def _modules_of(model: nn.Module) -> list[nn.Module]:
    """What `model.modules()` gives, in that order. Its generators take longer than a small network's layers do."""
    found: dict[nn.Module, None] = {}
    left: list[nn.Module | None] = [model]
    while left:
        module = left.pop()
        if module is not None and module not in found:
            found[module] = None
            left.extend(reversed(list(module._modules.values())))
    return list(found)


def in_train_mode(model: object) -> bool:
    """What `torch.jit.freeze` gives has lost its mode, which was eval; and a function has none."""
    return bool(getattr(model, "training", False))


def _has_own_mode(module: nn.Module) -> bool:
    held, kind = vars(module), type(module)
    return "train" in held or "eval" in held or kind.train is not nn.Module.train or kind.eval is not nn.Module.eval


def kept_in_eval(model: nn.Module) -> list[nn.Module]:
    """The modules that training must leave in eval mode, such as a BatchNorm whose statistics its owner has frozen.

    A model is in train mode if one of its modules that have weights is; then those in eval mode are so by choice. In a model
    that is wholly in eval mode nothing shows a choice: all of it is trained.
    """
    modules = list(model.modules())
    if not any(in_train_mode(module) for module in modules if any(True for _ in module.parameters(recurse=False))):
        return []
    return [module for module in modules if not in_train_mode(module)]
