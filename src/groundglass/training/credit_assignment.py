"""Credit assignment: how the error at the output reaches the weights. One training loop serves them all."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core import logits_of
from groundglass.models import DefendedNetwork


@runtime_checkable
class CreditAssignment(Protocol):
    """Runs the forward pass in such a graph that `loss.backward()` leaves the right gradient in every parameter."""

    @property
    def name(self) -> str: ...

    def logits(self, model: nn.Module, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]: ...


class BackProp:
    """Ordinary backpropagation. A secret device cannot be differentiated, so a network with one is refused."""

    name = "bp"

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        if isinstance(model, DefendedNetwork):
            raise ValueError("backpropagation cannot pass the optical layer: train a defended network with HybridDFA()")
        logits: Tensor = logits_of(model(images))
        return logits


class HybridDFA:
    """Hybrid BP-DFA (paper, section 2.3).

    Layers above the optical layer get their ordinary gradient. The error e = dLoss/dlogits times the fixed random
    matrix B replaces the gradient at the layer's input; the layers below backpropagate that synthetic gradient.
    """

    name = "hybrid-dfa"

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        if not isinstance(model, DefendedNetwork):
            raise ValueError("hybrid training is for a defended network: make one with `defend(network, at=...)`")
        if model.feedback is None:
            raise ValueError(
                "this network's feedback matrix B was destroyed: it can predict but not train below the device"
            )
        return model.run(images, model.training_rule())
