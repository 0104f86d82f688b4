"""Faster ways to compute layers, with gradients at their inputs alone, used as long as they are the same function."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from groundglass.attacks.same_function import FEW, same_function
from groundglass.kernels.convolutions import ConvChain, ConvLayer

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_plain(layer: nn.Module) -> bool:
    """Whether calling the layer does what its class does: no hooks, no patched forward."""
    held = vars(layer)
    return "forward" not in held and not any(held.get(kind) for kind in _HOOKS)


class Faster:
    """Runs `fast` in place of some layers, which stay where they are in their network.

    The first call compares the two on real inputs, with their gradients; if they differ, the layers themselves run from
    then on. They also run wherever `fast` may compute something else: for inputs of another type, place or rank, in train mode
    of a norm, once a weight was changed or exchanged, while a hook or a patched forward is on one of them, and for a tracer,
    a compiler or `torch.func`.

    Args:
        layers: what is replaced, one after the other; or one whose own `forward` this is (`as_forward`).
        fast: the same on inputs [batch, ...].
        ndim: of the inputs.
        owner: its attribute `verified` is set once the comparison was made.

    Attributes:
        trusted: "new", not compared yet; "trial", in a comparison of the whole network, which makes it "same"; "off".
    """

    def __init__(
        self, layers: list[nn.Module], fast: nn.Module, *, ndim: int, owner: nn.Module | None, as_forward: bool = False
    ) -> None:
        self.layers, self.fast, self.owner = layers, fast, owner
        self.trusted: Literal["new", "trial", "same", "off"] = "new"
        self._ndim, self._as_forward = ndim, as_forward
        weight = next(fast.parameters())
        self._type = weight.dtype, weight.device
        self._norms = [layer for layer in layers if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
        held = [held for layer in layers for held in (layer._parameters, layer._buffers)]
        self._slots = [(slots, name, tensor) for slots in held for name, tensor in slots.items() if tensor is not None]
        self._remember()

    def __call__(self, input: Tensor) -> Tensor:
        if (
            self.trusted == "off"
            or torch.jit.is_tracing()  # type: ignore[attr-defined]  # would keep what is computed outside of torch as constants
            or torch.compiler.is_compiling()
            or torch._C._are_functorch_transforms_active()  # knows torch's own operations alone
            or input.ndim != self._ndim
            or (input.dtype, input.device) != self._type
            or not len(input)
            or not self._applies()
        ):
            return self._plainly(input)
        if self.trusted == "new":
            self.trusted = "same" if same_function(self._plainly, self.fast, input[:FEW]) else "off"
            if self.trusted == "off":
                return self._plainly(input)
            if self.owner is not None:
                self.owner.verified = True  # type: ignore[assignment]
        elif self.trusted == "trial":
            self.trusted = "same"
        out: Tensor = self.fast(input)
        return out

    def _plainly(self, input: Tensor) -> Tensor:
        if self._as_forward:
            (layer,) = self.layers
            return type(layer).forward(layer, input)
        for layer in self.layers:
            input = layer(input)
        return input

    def _applies(self) -> bool:
        # As short as possible: it runs before every call.
        for norm in self._norms:
            if norm.training:
                return False
        if not self._as_forward:
            for layer in self.layers:
                held = layer.__dict__
                own = held.get("forward")
                if (
                    held["_forward_hooks"]
                    or held["_forward_pre_hooks"]
                    or held["_backward_hooks"]
                    or held["_backward_pre_hooks"]
                    or (own is not None and type(own) is not Faster)
                ):
                    return False
        for slots, name, tensor, version in self._watched:
            if slots.get(name) is not tensor or tensor._version != version:
                return False
        return True

    def _remember(self) -> None:
        self._watched = [(slots, name, tensor, tensor._version) for slots, name, tensor in self._slots]

    def __getstate__(self) -> dict[str, Any]:
        # A copy of the layers alone is not one of the whole network: the versions of its weights start again at 0.
        return {**vars(self), "owner": None, "trusted": self.trusted if self._applies() else "off"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._remember()


class InOrder:
    """The forward of a Sequential, by steps that stand for its layers; by the layers themselves if any was replaced."""

    def __init__(self, sequence: nn.Sequential, steps: list[nn.Module | Faster]) -> None:
        self.sequence, self.steps, self._layers = sequence, steps, dict(sequence._modules)

    def __call__(self, input: Tensor) -> Tensor:
        if self.sequence._modules != self._layers:
            out: Tensor = nn.Sequential.forward(self.sequence, input)
            return out
        for step in self.steps:
            input = step(input)
        return input


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

    Nor does it depend on the row's place: where rows begin at different alignments in memory (513 inputs, say), MKL
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
