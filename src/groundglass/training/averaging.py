"""An average of the weights along training, which is often better than the last ones (Polyak and Juditsky 1992)."""

from collections.abc import Callable, Collection, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from groundglass.core.modes import evaluating

#: Images from which BatchNorm's statistics are taken anew, at least.
STATISTICS = 10_000


@torch.no_grad()
def follow(average: dict[str, Tensor], model: nn.Module, *, half_life: float, step: int) -> None:
    """Move an exponential average of the weights on by a step; begin it where it is empty.

    Args:
        average: by name, changed in place.
        half_life: steps after which a step's weights count half.
        step: how many steps were taken, of the whole training. The first ones count less, as the beginning is soon worth nothing.
    """
    weight = 1 - min(0.5 ** (1 / half_life), (1 + step) / (10 + step))
    for name, parameter in model.named_parameters():
        if name in average:
            average[name].lerp_(parameter.detach(), weight)
        else:
            average[name] = parameter.detach().clone()


@torch.no_grad()
def settle(
    model: nn.Module,
    average: dict[str, Tensor],
    batches: Iterable[Tensor],
    *,
    frozen: Collection[nn.Module],
    run: Callable[[Tensor], Tensor],
) -> None:
    """Put the average into `model`, with statistics of BatchNorm that belong to it: means over training batches.

    The running statistics of training are of other weights; an average of them would be too.

    Args:
        batches: of images, as training sees them; taken until there are `STATISTICS` images. None is, without a BatchNorm.
        frozen: modules whose statistics stay.
        run: the forward pass.
    """
    for name, parameter in model.named_parameters():
        parameter.copy_(average[name])
    kept = set(frozen)
    norms = [
        one
        for one in model.modules()
        if isinstance(one, _BatchNorm) and one.running_mean is not None and one not in kept
    ]
    if not norms:
        return
    momenta = [one.momentum for one in norms]
    with evaluating(model):
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum, norm.training = None, True  # a mean of all batches
        try:
            seen = 0
            for images in batches:
                run(images)
                seen += len(images)
                if seen >= STATISTICS:
                    break
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum, norm.training = momentum, False
