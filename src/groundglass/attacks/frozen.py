"""A copy of a model that is set up to be attacked: the same function, with much faster gradients at the images."""

import copy
from collections import Counter
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from groundglass.kernels.convolutions import ConvChain, ConvLayer

M = TypeVar("M", bound=nn.Module)


def frozen_for_attack(model: M) -> M:
    """A copy of `model` for attacks: eval mode, parameters frozen, arranged for speed. `model` is not changed.

    Inside every `nn.Sequential`, Conv2d + BatchNorm2d and Linear + BatchNorm1d become one layer; and runs of 3 x 3
    convolutions with ReLU and 2 x 2 max-pooling, as in a VGG, are computed on CPUs by Winograd's method (`ConvChain`).
    Names of submodules stay, names of parameters do not: it is a copy to attack, not to train or to save. An optical
    device in the model is shared, not copied.

    On CPUs, in float32, the copy's logits for an image are the same bit for bit in any batch, which the model's own need
    not be: a matrix product of few rows is summed in another order.

    Logits agree with the model's to rounding (about 1e-6, relatively). Where a model makes rounding matter, as a
    binarisation does, single images can differ: `AttackResult.confirmed` checks successes again on the model itself.
    """
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    # A module that is used in two places, or that has hooks, is left alone.
    places = Counter(id(m) for _, m in frozen.named_modules(remove_duplicate=False))
    for sequence in [m for m in frozen.modules() if type(m) is nn.Sequential]:
        free = {name for name, m in sequence.named_children() if places[id(m)] == 1 and not _has_hooks(m)}
        _fold_norms(sequence, free)
        _gather_convolutions(sequence, free)
    for module in list(frozen.modules()):
        for name, child in list(module._modules.items()):
            if type(child) is nn.Linear and not _has_hooks(child):
                module._modules[name] = SteadyLinear(child)
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return frozen.eval()


def _has_hooks(module: nn.Module) -> bool:
    return any(
        getattr(module, kind, None)
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    )


def _fold_norms(sequence: nn.Sequential, free: set[str]) -> None:
    names = list(sequence._modules)
    for first, second in pairwise(names):
        layer, norm = sequence._modules[first], sequence._modules[second]
        if not {first, second} <= free or getattr(norm, "running_mean", None) is None:
            continue
        if type(layer) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
            sequence._modules[first] = fuse_conv_bn_eval(layer, norm).requires_grad_(False)
        elif type(layer) is nn.Linear and type(norm) is nn.BatchNorm1d:
            sequence._modules[first] = fuse_linear_bn_eval(layer, norm).requires_grad_(False)
        else:
            continue
        sequence._modules[second] = nn.Identity()


def _gather_convolutions(sequence: nn.Sequential, free: set[str]) -> None:
    """Every run of convolution, ReLU and perhaps pooling -> one module in the place of its first layer."""
    names = [name for name, m in sequence.named_children() if type(m) is not nn.Identity]
    position = 0
    while position < len(names):
        end, layers = position, []
        while (found := _layer_at(sequence, names[end : end + 3], free)) is not None:
            layer, used = found
            layers.append(layer)
            end += used
        if layers:
            run = names[position:end]
            plain = nn.Sequential(*[sequence.get_submodule(name) for name in run])
            for name in run:
                sequence._modules[name] = nn.Identity()
            sequence._modules[run[0]] = FusedConvolutions(plain, layers)
        position = max(end, position + 1)


def _layer_at(sequence: nn.Sequential, names: list[str], free: set[str]) -> tuple[ConvLayer, int] | None:
    modules = [sequence.get_submodule(name) for name in names]
    if (
        len(modules) < 2
        or not set(names[:2]) <= free
        or not _is_plain_conv(modules[0])
        or type(modules[1]) is not nn.ReLU
    ):
        return None
    conv = modules[0]
    assert isinstance(conv, nn.Conv2d)
    pool = len(modules) == 3 and names[2] in free and _is_plain_pool(modules[2])
    bias = conv.bias if conv.bias is not None else torch.zeros(conv.out_channels, dtype=torch.float32, device="cpu")
    return ConvLayer(conv.weight.detach(), bias.detach(), pool), 3 if pool else 2


def _is_plain_conv(module: nn.Module) -> bool:
    settings = {"kernel_size": (3, 3), "stride": (1, 1), "dilation": (1, 1), "groups": 1, "padding_mode": "zeros"}
    return (
        type(module) is nn.Conv2d
        and (module.weight.dtype, module.weight.device.type) == (torch.float32, "cpu")
        and module.padding in ((1, 1), "same")
        and all(getattr(module, name) == value for name, value in settings.items())
    )


def _is_plain_pool(module: nn.Module) -> bool:
    return (
        type(module) is nn.MaxPool2d
        and module.kernel_size in (2, (2, 2))
        and module.stride in (2, (2, 2))
        and module.padding in (0, (0, 0))
        and module.dilation in (1, (1, 1))
        and not module.return_indices
    )


class FusedConvolutions(nn.Module):
    """Convolutions, ReLUs and max-pools as one step; the original `layers` where that step does not apply."""

    def __init__(self, layers: nn.Sequential, fused: list[ConvLayer]) -> None:
        super().__init__()
        self.layers = layers
        self._chain = ConvChain(fused)

    def forward(self, x: Tensor) -> Tensor:
        if (
            x.device.type != "cpu"
            or x.dtype != torch.float32
            or x.ndim != 4
            or not len(x)
            or not self._chain.fits(*x.shape[1:])
        ):
            out: Tensor = self.layers(x)
            return out
        fused: Tensor = _Fused.apply(x, self._chain)
        return fused


class _Fused(torch.autograd.Function):
    """`ConvChain` in an autograd graph. Only the images get a gradient, and it cannot be differentiated again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, chain: ConvChain) -> Tensor:
        out, ctx.trace = chain.forward(x.detach().contiguous().numpy())
        ctx.chain = chain
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.chain.backward(grads[0].contiguous().numpy(), ctx.trace)), None


class SteadyLinear(nn.Linear):
    """A linear layer that always takes the same number of rows at a time, so that a row's result does not depend on the others.

    It does not depend on the row's place either: where rows begin at different alignments in memory (513 inputs, say), MKL
    sums a row in an order that depends on its place. So rows are padded with zeros.
    """

    ROWS = 64
    COLUMNS = 16

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or input.ndim != 2 or not len(input):
            return super().forward(input)
        rows, more = len(input), -self.in_features % self.COLUMNS
        weight = F.pad(self.weight, (0, more)) if more else self.weight
        padded = F.pad(input.contiguous(), (0, more, 0, -rows % self.ROWS))
        return torch.cat([F.linear(part, weight, self.bias) for part in padded.split(self.ROWS)])[:rows]
