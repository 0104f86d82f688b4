"""Ensembles on the convolutions of a VGG: heads with a device each, on its features, or on those at several depths."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

from groundglass.core import derive_seed
from groundglass.core.modes import evaluating
from groundglass.core.settings import Count, fit
from groundglass.models.classifier import Classifier
from groundglass.models.defence import Defence
from groundglass.models.defended import copied
from groundglass.models.ensemble import DefendedEnsemble
from groundglass.optics.device import OpticalDevice


class Taps(nn.Module):
    """The features of a network at several depths, one tensor a depth.

    Args:
        stages: one after the other.
        taken: after so many stages, 1, 2, ...; in any order, and any of them twice.
    """

    def __init__(self, stages: Sequence[nn.Module], taken: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.taken = tuple(taken)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = [x]
        for stage in self.stages[: max(self.taken)]:
            found.append(stage(found[-1]))
        return tuple(found[depth] for depth in self.taken)


def ensemble_on(
    network: Classifier,
    defences: Sequence[Defence],
    devices: Sequence[OpticalDevice | None],
    *,
    depths: Sequence[int] = (),
    votes: bool,
    seed: int,
) -> DefendedEnsemble:
    """An ensemble on the convolutions of a VGG-16: each part a head with new weights, as `Defence` says.

    Args:
        network: its `features` are copied, its head is not used.
        defences: one a part; `at`, the inputs and the logits of each are as they must be here, whatever it says.
        devices: one a part; None for linear heads.
        depths: for each part, after how many max-pools of `features` it takes its features; the number of all pools, or none
            given: at their end. Features that have a height and a width are flattened.
        votes: see `DefendedEnsemble`.
        seed: of the weights and of every B.

    Raises:
        ValueError: no such depth, numbers of defences, devices and depths that differ, or as `DefendedEnsemble` and `Defence`.
    """
    if len(devices) != len(defences) or len(depths) not in (0, len(defences)):
        raise ValueError(f"{len(defences)} parts need as many devices and depths, not {len(devices)} and {len(depths)}")
    classes = [module for module in network.modules() if isinstance(module, nn.Linear)][-1].out_features
    body = copied(network)
    body.head = nn.Identity()
    if depths:
        stages = _stages(body.features)
        for depth in depths:
            if not 1 <= fit(Count, depth, "depths") <= len(stages):
                raise ValueError(f"`depths` has {depth}, and these features have the depths 1 to {len(stages)}")
        if set(depths) != {len(stages)}:
            body.features = Taps(stages[: max(depths)], depths)
    found = _shapes(body)
    taken = [each.flatten(1).shape[1] for each in ([found] * len(defences) if isinstance(found, Tensor) else found)]
    parts = []
    for number, (defence, device, width) in enumerate(zip(defences, devices, taken, strict=True)):
        if defence.in_features not in (None, width):
            raise ValueError(f"a part takes {defence.in_features} features, and there are {width} at its depth")
        # Replaced at once, by the block: its sizes alone count.
        linear = nn.utils.skip_init(nn.Linear, width, classes, dtype=torch.float32, device="cpu")
        here = replace(defence, at="1", in_features=None, out_features=None, classes=classes)
        head = nn.Sequential(nn.Flatten(), linear)
        part = here.put_into(head, device, inplace=True, seed=derive_seed(seed, "part", number))
        parts.append(part.to(body.mean.device))
    return DefendedEnsemble(parts, body=body, votes=votes)


def _shapes(body: Classifier) -> Tensor | tuple[Tensor, ...]:
    """What it gives for an image, without values: of any size it takes no memory."""
    state = {**dict(body.named_parameters()), **dict(body.named_buffers())}
    image = torch.zeros(1, body.mean.shape[1], *(body.size or (32, 32)), dtype=body.mean.dtype, device="meta")
    with torch.no_grad(), evaluating(body):
        found: Tensor | tuple[Tensor, ...] = functional_call(
            body, {name: value.to("meta") for name, value in state.items()}, (image,)
        )
    return found


def _stages(features: nn.Module) -> list[nn.Module]:
    """The features of a VGG up to each max-pool; what is behind the last one belongs to it."""
    if not isinstance(features, nn.Sequential):
        raise ValueError("`depths` are for the features of a VGG, one layer after the other")
    ends = [place + 1 for place, layer in enumerate(features) if isinstance(layer, nn.MaxPool2d)]
    return [features[begin:end] for begin, end in pairwise([0, *ends[:-1], len(features)])]
