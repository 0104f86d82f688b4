"""Credit for every layer below the device without the transposes of their weights.

Hybrid training replaces one derivative, that of the device. These replace that of every layer with weights below it
too, and leave all else as it is: the device is passed by the network's B, what lies above it has its ordinary
gradient, and so have BatchNorm, activations and pooling on the way down. A weight's gradient is that of its own
layer, from the error that reaches it.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core import derive_seed, generator, lookup, normal
from groundglass.core.settings import fit
from groundglass.models import DefendedNetwork
from groundglass.models.wrappers import unwrapped
from groundglass.optics import RandomFeedback
from groundglass.optics.backward import draw_feedback, stitch
from groundglass.training.credit_assignment import check_feedback
from groundglass.training.cutting import cutting


class _Layerwise(ABC):
    """What the three have in common.

    Args:
        seed: of the fixed matrices. A layer's depend on its name in the network and its shape, and on nothing else:
            a training that is interrupted, or a network that is loaded, goes on with the same ones under the same
            seed.
    """

    _kind: str

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = fit(int, seed, "seed")

    @property
    def name(self) -> str:
        return f"{self._kind}, seed {self.seed}"

    @abstractmethod
    def logits(self, model: nn.Module, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        """As `CreditAssignment`.

        Raises:
            ValueError: no defended network, one without B or in a wrapper, or one whose block is called several
                times; a layer below the device of a kind that these do not know, or without a graph of its own.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}(seed={self.seed})"


class DirectFeedback(_Layerwise):
    """Direct feedback alignment at every layer (Nøkland 2016): the error at the logits, through a fixed matrix for each.

    The gradient at the input of every layer below the device is e B_l, with B_l of the law of B. So each layer has
    its teaching signal from the next one's matrix, through the activation in between; the last has it from B.

    Where a layer's input goes elsewhere too, as in a residual block, what comes from there is added.
    """

    _kind = "direct-feedback"

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self._drawn: dict[tuple[str, int, int], RandomFeedback] = {}

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        network, cut = _plain(model), list[tuple[str, Tensor]]()

        def remember(name: str, layer: nn.Module, source: Tensor, out: Tensor) -> Tensor:
            cut.append((name, source))
            return out

        with cutting(network, remember):
            logits: Tensor = network(images)
        for name, source in cut:
            if len(source) != len(logits):
                raise ValueError(
                    f"the layer {name!r} got {len(source)} rows and the network gave {len(logits)}: the error at the logits has "
                    "no row for each of them. Use FeedbackAlignment() or SignSymmetry()"
                )
            flat = source.flatten(1)
            logits = stitch(logits, flat, flat.detach(), self._feedback(name, logits.shape[1], flat.shape[1]))
        return logits

    def _feedback(self, name: str, classes: int, width: int) -> RandomFeedback:
        key = (name, classes, width)
        if key not in self._drawn:
            self._drawn[key] = RandomFeedback(draw_feedback(classes, width, seed=derive_seed(self.seed, *key)))
        return self._drawn[key]


class _ByLayer(_Layerwise):
    """Layer by layer, with other weights than its own in the place of each layer's transpose."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__(seed=seed)
        self._drawn: dict[tuple[str | int, ...], Tensor] = {}

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        network = _plain(model)

        def cross(name: str, layer: nn.Module, source: Tensor, out: Tensor) -> Tensor:
            weight, groups = layer.weight, getattr(layer, "groups", 1)
            assert isinstance(weight, Tensor)
            fan_out = weight.numel() / weight.shape[1] / groups
            instead = self._instead(name, weight.detach().float(), (2 / fan_out) ** 0.5)
            # In the precision of the forward pass, as the layer's own derivative is.
            return stitch(out, source, source.detach(), _Backward(layer, instead.to(out.dtype)))

        with cutting(network, cross):
            logits: Tensor = network(images)
        return logits

    @abstractmethod
    def _instead(self, name: str, weight: Tensor, size: float) -> Tensor:
        """What stands in for a layer's weights, of their shape.

        Args:
            size: the root mean square that keeps that of a gradient that passes the layer and a ReLU (He et al. 2015).
        """

    def _random(self, name: str, weight: Tensor) -> Tensor:
        """N(0, 1) in the shape of a layer's weights, always the same."""
        key = (name, *weight.shape)
        if key not in self._drawn:
            self._drawn[key] = normal(*weight.shape, generator=generator(self.seed, "feedback weights", *key))
        if self._drawn[key].device != weight.device:
            self._drawn[key] = self._drawn[key].to(weight.device)
        return self._drawn[key]


class FeedbackAlignment(_ByLayer):
    """Feedback alignment (Lillicrap et al. 2016): a fixed random matrix in place of every layer's transposed weights.

    Normal, of variance 2 / fan-out (He et al. 2015), so that gradients keep their size on the way down. A
    convolution's is a convolution with fixed random kernels (Moskovitz et al. 2018).
    """

    _kind = "feedback-alignment"

    def _instead(self, name: str, weight: Tensor, size: float) -> Tensor:
        return self._random(name, weight) * size


class SignSymmetry(_ByLayer):
    """Sign-symmetry (Liao, Leibo and Poggio 2016): the signs of every layer's weights go back, their magnitudes do not.

    M ∘ sign(W) in place of W. With "uniform" magnitudes M is 1 (their uSF); with "random" ones it is drawn once,
    and fixed (their frSF).

    Differences from the paper: it steps along the signs of gradients ("Batch Manhattan"), so that their size is of
    no consequence; here any optimiser steps along the gradient, so M has the mean square 2 / fan-out in place of 1.
    BatchNorm, which they need, is as the network has it.
    """

    _kind = "sign-symmetry"

    def __init__(self, *, seed: int = 0, magnitudes: Literal["uniform", "random"] = "uniform") -> None:
        super().__init__(seed=seed)
        self.magnitudes = lookup("magnitudes", magnitudes, {one: one for one in ("uniform", "random")})

    @property
    def name(self) -> str:
        return self._kind if self.magnitudes == "uniform" else f"{super().name}, random magnitudes"

    def _instead(self, name: str, weight: Tensor, size: float) -> Tensor:
        return weight.sign() * (size if self.magnitudes == "uniform" else self._random(name, weight).abs() * size)

    def __repr__(self) -> str:
        return f"SignSymmetry(seed={self.seed}, magnitudes={self.magnitudes!r})"


class _Backward:
    """A layer's derivative by its input, with other weights in place of its own."""

    name = "layer"
    site: Literal["readings", "logits"] = "readings"

    def __init__(self, layer: nn.Module, weight: Tensor) -> None:
        self._layer, self._weight = layer, weight

    def vjp(self, bits: Tensor, grad: Tensor) -> Tensor:
        layer: Any = self._layer
        grad = grad.to(self._weight.dtype)
        if isinstance(layer, nn.Linear):
            return (grad @ self._weight).to(bits.dtype)
        if layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
            # The gradient alone: of the input only its shape is looked at.
            shape, settings = grad.new_empty(1).expand(bits.shape), (layer.stride, layer.padding, layer.dilation)
            nothing = [0] * len(layer.stride)
            found, *_ = torch.ops.aten.convolution_backward(
                grad, shape, self._weight, None, *settings, False, nothing, layer.groups, (True, False, False)
            )
            return found.to(bits.dtype)
        with torch.enable_grad():  # linear in the input: at which one the derivative is taken is of no consequence
            x = torch.zeros_like(bits, dtype=grad.dtype).requires_grad_()
            out = layer._conv_forward(x, self._weight, None)
            (found,) = torch.autograd.grad(out, x, grad)
        return found.to(bits.dtype)


def _plain(model: nn.Module) -> DefendedNetwork:
    inner = unwrapped(model)
    network = check_feedback(inner)
    if inner is not model:
        raise ValueError(
            f"the layers of a network in a wrapper, {type(model).__name__}, cannot be told apart: "
            "give the defended network itself"
        )
    return network
