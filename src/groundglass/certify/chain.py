"""A network as a chain of steps that bounds can follow."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from groundglass.certify.steps import Averages, Convolution, Dense, MaxPool, Rectify, Scale, Step, folded
from groundglass.core import as_model
from groundglass.models.block import OpticalBlock
from groundglass.models.classifier import Classifier
from groundglass.models.defended import DefendedNetwork, View
from groundglass.models.preprocessing import Preprocessed
from groundglass.models.rescaled import Rescaled
from groundglass.models.wrappers import unwrapped

_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
_KNOWN = (
    "Conv2d (zero padding), Linear, BatchNorm, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout, Identity, "
    "in Sequential or in a Classifier"
)


def to_logits(model: Any) -> list[Step]:
    """The steps of a network from images to logits; in eval mode, whatever mode the model is in.

    Raises:
        ValueError: a layer, or a network, that bounds cannot follow; says which layers there are. Bits on the way.
    """
    found = list(_followed(model))
    if None in found:
        raise ValueError(
            "no bound on the images bounds these logits: bits are in between, and a secret device. How many bits can flip says "
            "`flippable_bits`, and `through_device` what follows from it"
        )
    return folded([step for step in found if step is not None])


def to_features(network: DefendedNetwork) -> list[Step]:
    """The steps from images to the features that become bits, after their ReLU.

    Raises:
        TypeError: not a defended network.
        ValueError: as `to_logits`; no bits there, or bits that depend on the other images of a batch.
    """
    if not isinstance(network, DefendedNetwork):
        raise TypeError(f"bits enter the device of a defended network, not a {type(network).__name__}")
    encoding = network.block.encoding
    if encoding != "bits":
        why = {"float": "floats enter it", "bits-batch": "its thresholds depend on the other images of a batch"}
        told = why.get(encoding, "thresholds are bounded where they are the mean of an image's own features")
        raise ValueError(f"the layer of this network has no bits that can be bounded, encoding {encoding!r}: {told}")
    steps: list[Step] = []
    for step in _followed(network):
        if step is None:
            return folded(steps)
        steps.append(step)
    raise ValueError(f"the optical block at {network.at!r} is not where its network's layers lead")


def _followed(model: Any) -> Iterator[Step | None]:
    model = as_model(model)
    if isinstance(model, nn.Module):
        model = unwrapped(model)
    if isinstance(model, View):
        model = model.defended
    if isinstance(model, DefendedNetwork):
        model = model.network
    return _steps(model, type(model).__name__)


def _steps(module: Any, name: str) -> Iterator[Step | None]:
    """None: from here on there are bits."""
    if isinstance(module, OpticalBlock):
        yield from _steps(module.project, f"{name}.project")
        yield Rectify()
        if module.optical is not None or module.encoding != "float":
            yield None
            return
        if module.above is not None:
            yield from _steps(module.above, f"{name}.above")
        readout = module.readout
        yield Dense(_double(readout.weight) * module.gain, _bias(readout, readout.out_features))
    elif isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        for child, inner in module.named_children():
            yield from _steps(inner, f"{name}.{child}")
    elif type(module) is Classifier:
        yield Scale(1 / _double(module.std), -_double(module.mean) / _double(module.std))
        yield from _steps(module.features, f"{name}.features")
        yield from _steps(module.head, f"{name}.head")
    elif type(module) is Preprocessed:
        yield Scale(1 / _double(module.std), -_double(module.mean) / _double(module.std))
        yield from _steps(module.network, f"{name}.network")
    elif type(module) is Rescaled:
        low, high = (torch.tensor(end, dtype=torch.float64, device="cpu") for end in module.bounds)
        yield Scale(high - low, low)
        yield from _steps(module.network, f"{name}.network")
    elif type(module) not in _NOTHING:
        yield _step(module, name)


def _step(module: Any, name: str) -> Step:
    kind = type(module)
    if kind is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        settings = {what: getattr(module, what) for what in ("stride", "padding", "dilation", "groups")}
        return Convolution(_double(module.weight), _bias(module, module.out_channels), settings)
    if kind is nn.Linear:
        return Dense(_double(module.weight), _bias(module, module.out_features))
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d) and module.running_mean is not None:
        spread = (_double(module.running_var) + module.eps).sqrt()
        factor = (1 if module.weight is None else _double(module.weight)) / spread
        shift = (0 if module.bias is None else _double(module.bias)) - _double(module.running_mean) * factor
        shape = (1, -1, 1, 1) if kind is nn.BatchNorm2d else (1, -1)
        return Scale(factor.view(shape), shift.view(shape))
    if kind is nn.ReLU:
        return Rectify()
    if kind is nn.MaxPool2d and not module.ceil_mode:
        return MaxPool(*map(_pair, (module.kernel_size, module.stride, module.padding, module.dilation)))
    if kind is nn.AvgPool2d:
        settings = {
            what: getattr(module, what)
            for what in ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
        }
        return Averages(partial(F.avg_pool2d, **settings))
    if kind is nn.AdaptiveAvgPool2d:
        return Averages(partial(F.adaptive_avg_pool2d, output_size=module.output_size))
    if kind is nn.Flatten and module.start_dim == 1 and module.end_dim == -1:
        return Averages(partial(torch.flatten, start_dim=1))
    raise ValueError(f"bounds cannot follow {name}, {kind.__name__}: they know {_KNOWN}")


def _double(values: Tensor) -> Tensor:
    return values.detach().double()


def _bias(module: Any, count: int) -> Tensor:
    return module.weight.new_zeros(count).double() if module.bias is None else _double(module.bias)
