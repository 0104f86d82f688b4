"""Train and eval mode, module by module: what a model's owner chose is what it has again afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: object) -> Iterator[None]:
    """Eval mode for a module; then every submodule in the mode it had. Anything else than a module has no mode.

    Only what is in train mode is touched: threads may share a network that is in eval mode.
    """
    changed = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in changed:
        module.training = False
    try:
        yield
    finally:
        for module in changed:
            module.training = True


def kept_in_eval(model: nn.Module) -> list[nn.Module]:
    """The modules that training must leave in eval mode, as a BatchNorm whose statistics its owner has frozen.

    A model is in train mode if one of its modules that have weights is; then those in eval mode are so by choice. In a model
    that is in eval mode altogether nothing shows a choice: all of it is trained.
    """
    modules = list(model.modules())
    if not any(module.training for module in modules if any(True for _ in module.parameters(recurse=False))):
        return []
    return [module for module in modules if not module.training]
