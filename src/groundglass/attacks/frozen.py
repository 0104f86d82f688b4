"""A copy of a model that is set up to be attacked: the same function, with much faster gradients at the images."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from groundglass.attacks.faster_layers import Faster, FusedConvolutions, InOrder, SteadyLinear, is_plain
from groundglass.attacks.same_function import FEW, same_function
from groundglass.core import as_model
from groundglass.core.layout import layout_of
from groundglass.kernels import jit
from groundglass.kernels.convolutions import ConvLayer

M = TypeVar("M", bound=nn.Module)


def frozen_for_attack(model: M, images: Tensor | None = None) -> M:
    """A copy of `model` for attacks: eval mode, parameters frozen, arranged for speed. `model` is not changed.

    Where an `nn.Sequential` is run as a whole, Conv2d + BatchNorm2d and Linear + BatchNorm1d become one layer; and two or more
    3 x 3 convolutions in a row, with ReLU and 2 x 2 max-pooling, as in a VGG, are computed on CPUs by Winograd's method
    (`ConvChain`). The layers stay in the copy, under their names: code that picks one, iterates or tests types finds what it
    expects. It is a copy to attack, not to train. An optical device in the model is shared, not copied.

    On CPUs, in float32, the copy's logits for an image are the same bit for bit in any batch, if no convolution is left to
    torch. The model's own need not be: a matrix product of few rows is summed in another order, and so may a convolution.

    Nothing is used unchecked. With `images` the copy is compared with the model on the first 8 of them, logits and gradients
    at the images, under the same random draws and without a frame of a device; a copy that differs is replaced by one
    without any rearrangement, compared as well. `copy.verified` says whether they agreed: if not, attack the model
    itself. Without images each rearranged part compares itself with its layers when it is first called, and goes back to
    them if it differs; `copy.verified` is True from the first that agreed, and never where a module has a
    hook or a patched forward, which may reach past the copy.

    Logits agree with the model's to rounding (about 1e-6, relatively). Where a model makes rounding matter, as a
    binarisation does, single images can differ: `AttackResult.confirmed` checks successes again on the model itself.

    Args:
        images: [n, c, h, w], some that the model is for.

    Raises:
        Exception: whatever the model raises when it is copied, or run on the images.
    """
    model = as_model(model)
    if not isinstance(model, nn.Module):
        raise TypeError(f"a copy for attacks is made of a torch.nn.Module: attack the {type(model).__name__} itself")
    # The copy's tensors count their versions, wherever it is made.
    with torch.inference_mode(False):
        frozen = _copied(model)
        parts = _rearranged(frozen)
        found = False
        if images is not None and len(images):
            for part in parts:
                part.trusted = "trial"
            found = same_function(model, frozen, images[:FEW])
            if not found:
                frozen, parts = _copied(model), []
                found = same_function(model, frozen, images[:FEW])
            for part in parts:
                part.trusted = "new" if part.trusted == "trial" else part.trusted
        frozen.verified = found  # type: ignore[assignment]
        return frozen


def _copied(model: M) -> M:
    # What a forward pass left in an attribute (the weight of `weight_norm`), or a hook in a dict, has a graph, which cannot
    # be copied.
    held = [value for module in model.modules() for value in vars(module).values()]
    held += [one for value in held if isinstance(value, dict) for one in value.values()]
    memo = {id(one): one.detach().clone() for one in held if isinstance(one, Tensor) and not one.is_leaf}
    copied = copy.deepcopy(model, memo).eval()
    # One by one: a TorchScript module has no `requires_grad_`, and its copy has parameters of which it would be refused.
    for parameter in copied.parameters():
        if parameter.is_leaf:
            parameter.requires_grad_(False)
    return copied


def _rearranged(model: nn.Module) -> list[Faster]:
    """Put faster ways of computing into `model`, a copy: as the `forward` of a Sequential or a Linear. Returns them."""
    parts: list[Faster] = []
    # A hook or a patched forward may speak to the original: then parts that agree do not show that the whole does.
    owner = model if all(is_plain(module) for module in model.modules()) else None
    for sequence in [m for m in model.modules() if type(m) is nn.Sequential and "forward" not in vars(m)]:
        steps = _steps(sequence, owner)
        faster = [step for step in steps if isinstance(step, Faster)]
        if faster:
            sequence.forward = InOrder(sequence, steps)  # type: ignore[method-assign]
            parts += faster
    for linear in [m for m in model.modules() if type(m) is nn.Linear and is_plain(m)]:
        parts.append(Faster([linear], SteadyLinear(linear), ndim=2, owner=owner, as_forward=True))
        linear.forward = parts[-1]  # type: ignore[method-assign]
    layout = layout_of(model)
    for module in [model, *(part.fast for part in parts)]:
        for conv in module.modules():
            if isinstance(conv, nn.Conv2d) and conv._parameters.get("weight") is not None:
                conv.weight.data = conv.weight.data.contiguous(memory_format=layout)
    return parts


#: Consecutive layers of a Sequential, and the layer that computes what they do: the layer itself if there is only one.
_Entry = tuple[list[nn.Module], nn.Module]


def _steps(sequence: nn.Sequential, owner: nn.Module | None) -> list[nn.Module | Faster]:
    """Every run of convolutions, with ReLU and perhaps pooling, as one step; norms in the step of the layer before them."""
    entries = [entry for entry in _folded(sequence) if type(entry[1]) is not nn.Identity or not is_plain(entry[1])]
    steps: list[nn.Module | Faster] = []
    position = 0
    while position < len(entries):
        end, fused = position, []
        while (found := _layer_at(entries[end : end + 3])) is not None:
            layer, used = found
            fused.append(layer)
            end += used
        if len(fused) < 2 or not jit.available():
            # One convolution alone gains less than carrying its images into Winograd's layout and back costs.
            end, fused = position + 1, []
        run = entries[position:end]
        layers, computes = [layer for entry in run for layer in entry[0]], run[0][1]
        if fused:
            steps.append(
                Faster(layers, FusedConvolutions(nn.Sequential(*[e[1] for e in run]), fused), ndim=4, owner=owner)
            )
        elif isinstance(computes, nn.Linear) and len(layers) == 2:
            steps.append(Faster(layers, SteadyLinear(computes), ndim=2, owner=owner))
        elif len(layers) == 2:
            steps.append(Faster(layers, computes, ndim=4, owner=owner))
        else:
            steps.append(computes)
        position = end
    return steps


def _folded(sequence: nn.Sequential) -> list[_Entry]:
    entries: list[_Entry] = []
    for layer in sequence:
        before = entries[-1] if entries else ([], layer)
        together = _with_norm(before[0][0], layer) if len(before[0]) == 1 else None
        if together is None:
            entries.append(([layer], layer))
        else:
            entries[-1] = ([*before[0], layer], together.requires_grad_(False))
    return entries


def _with_norm(layer: nn.Module, norm: nn.Module) -> nn.Module | None:
    if not (is_plain(layer) and is_plain(norm)) or getattr(norm, "running_mean", None) is None:
        return None
    if type(layer) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
        return fuse_conv_bn_eval(layer, norm)
    if type(layer) is nn.Linear and type(norm) is nn.BatchNorm1d:
        return fuse_linear_bn_eval(layer, norm)
    return None


def _layer_at(entries: list[_Entry]) -> tuple[ConvLayer, int] | None:
    modules = [entry[1] for entry in entries]
    if (
        len(modules) < 2
        or not (is_plain(modules[0]) and is_plain(modules[1]))
        or not _is_plain_conv(modules[0])
        or type(modules[1]) is not nn.ReLU
    ):
        return None
    conv = modules[0]
    assert isinstance(conv, nn.Conv2d)
    pool = len(modules) == 3 and is_plain(modules[2]) and _is_plain_pool(modules[2])
    bias = conv.bias if conv.bias is not None else conv.weight.new_zeros(conv.out_channels)
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
