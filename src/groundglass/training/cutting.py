"""Each layer with weights below the device, taken out of the graph of a forward pass, and put back by somebody else's rule."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.models import DefendedNetwork

# Layers whose derivative by their input is a matrix of weights.
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

#: Name of a layer in its network, the layer, its input in the graph, its output (without that input in its graph) -> the output.
Cross = Callable[[str, nn.Module, Tensor, Tensor], Tensor]


@contextmanager
def cutting(network: DefendedNetwork, cross: Cross) -> Iterator[None]:
    """In this block, in this thread, layers with weights below the device get their input out of the graph; `cross` puts it back.

    Raises:
        ValueError: in the forward pass, as `_Layerwise.logits`.
    """
    thread, block, followed = threading.get_ident(), network.block, torch.is_grad_enabled()
    waiting: list[Tensor] = []
    passed: list[bool] = []

    def below() -> bool:
        return threading.get_ident() == thread and not passed

    def before(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if not below():
            return None
        (source,) = (*given, *named.values())
        waiting.append(source)
        return (source.detach(),), {}

    def after(name: str) -> Callable[..., Any]:
        def called(layer: nn.Module, given: tuple[Any, ...], out: Tensor) -> Any:
            if not below():
                return None
            source = waiting.pop()
            if followed and not torch.is_grad_enabled() and any(p.requires_grad for p in layer.parameters()):
                raise ValueError(
                    f"the layer {name!r} runs without a graph: leave out activation checkpointing, or give its parameters "
                    "requires_grad=False if they are not to be trained"
                )
            return cross(name, layer, source, out) if source.requires_grad else None

        return called

    def refuse(name: str) -> Callable[..., None]:
        def called(layer: nn.Module, given: tuple[Any, ...]) -> None:
            if below():
                raise ValueError(
                    f"the layer {name!r} below the device is a {type(layer).__name__}: only Linear and "
                    "convolutions are known layer by layer. Train this network with HybridDFA() or EstimatedDerivative"
                )

        return called

    def pass_block(block: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        if threading.get_ident() == thread:
            passed.append(True)
            if len(passed) > 1:
                raise ValueError(
                    f"the optical block at {network.at!r} is called several times in a forward pass: what lies below "
                    "it cannot be told from what lies above. Train this network with HybridDFA()"
                )

    hooks: list[Any] = [block.register_forward_hook(pass_block)]
    try:
        for name, layer in network.network.named_modules():
            if name.startswith(f"{network.at}.") and not name.startswith(f"{network.at}.project."):
                continue
            if isinstance(layer, _LAYERS):
                # The innermost of all hooks: those of others see what they always see.
                hooks.append(layer.register_forward_pre_hook(before, with_kwargs=True))
                hooks.append(layer.register_forward_hook(after(name), prepend=True))
            elif _has_matrix(layer):
                hooks.append(layer.register_forward_pre_hook(refuse(name)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _has_matrix(layer: nn.Module) -> bool:
    """Whether a module has weights of its own that its input is multiplied with: attention, a recurrent or a transposed layer."""
    return not isinstance(layer, nn.Embedding) and any(
        "weight" in name and parameter.ndim > 1 for name, parameter in layer.named_parameters(recurse=False)
    )
