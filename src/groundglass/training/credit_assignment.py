"""Credit assignment: how the error at the output reaches the weights. One training loop serves them all."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from groundglass.attacks import StraightThrough
from groundglass.core import logits_of
from groundglass.models import DefendedEnsemble, DefendedNetwork, MemberRules, check_one_layer
from groundglass.models.wrappers import unwrapped


@runtime_checkable
class CreditAssignment(Protocol):
    """Runs the forward pass in such a graph that `loss.backward()` leaves the right gradient in every parameter.

    Attributes:
        name: with all settings: a checkpoint is gone on from by an assignment of the same name alone.
    """

    @property
    def name(self) -> str: ...

    def logits(self, model: nn.Module, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]: ...


class BackProp:
    """Ordinary backpropagation. A secret device cannot be differentiated, so a network with one is refused.

    A defended network without a device has a linear head, which can be: so features are trained first, and the device is
    placed then (`place_device`).
    """

    name = "bp"

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        inner = unwrapped(model)
        if isinstance(inner, DefendedEnsemble):
            return _by_bp(inner, model, images)
        if not isinstance(inner, DefendedNetwork):
            logits: Tensor = logits_of(model(images))
            return logits
        if inner.device is not None:
            raise ValueError("backpropagation cannot pass the optical layer: train a defended network with HybridDFA()")
        if inner.block.encoding != "float":
            raise ValueError(
                f"backpropagation cannot pass the binarisation (encoding {inner.block.encoding!r}): train with HybridDFA()"
            )
        if inner is not model:
            raise ValueError(
                f"a network without a device is differentiated from outside of its wrapper, {type(model).__name__}: give the "
                "defended network itself, and wrap it once it has its device"
            )
        return inner.run(images, StraightThrough("bp"))


class HybridDFA:
    """Hybrid BP-DFA (paper, section 2.3).

    Layers above the optical layer get their ordinary gradient. The error e = dLoss/dlogits times the fixed random
    matrix B replaces the gradient at the layer's input; the layers below backpropagate that synthetic gradient. In an ensemble
    the error that is common to all parts, or of parts that vote each part's own, goes through the B of each part.

    A defended network's own graph is this one: in a loop of one's own, `loss(network(images), labels).backward()` does it.
    """

    name = "hybrid-dfa"

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        inner = unwrapped(model)
        if isinstance(inner, DefendedEnsemble):
            for part in inner.parts:
                check_feedback(part)
            _check_unwrapped(inner, model)
            return inner.learned(images)
        check_feedback(inner)
        logits: Tensor = model(images)
        return logits


def _by_bp(ensemble: DefendedEnsemble, model: nn.Module, images: Tensor) -> Tensor:
    """Of an ensemble of linear heads."""
    if ensemble.devices:
        raise ValueError("backpropagation cannot pass optical layers: train an ensemble with HybridDFA()")
    if ensemble.parts[0].block.encoding != "float":
        raise ValueError("backpropagation cannot pass the binarisation: train an ensemble of bits with HybridDFA()")
    _check_unwrapped(ensemble, model)
    return ensemble.learned(images, MemberRules([StraightThrough("bp")] * len(ensemble.parts)))


def _check_unwrapped(ensemble: DefendedEnsemble, model: nn.Module) -> None:
    if ensemble is not model:
        raise ValueError(
            f"an ensemble learns outside of its wrapper, {type(model).__name__}: give the ensemble itself, and wrap it when it "
            "is trained"
        )


def check_defended(model: nn.Module) -> DefendedNetwork:
    """Refuse a network that no feedback is for. Raises: ValueError."""
    check_one_layer(model)
    if not isinstance(model, DefendedNetwork):
        raise ValueError(
            f"this training is for a defended network, not for {type(model).__name__}: make one with `defend(network, at=...)`"
        )
    return model


def check_feedback(model: nn.Module) -> DefendedNetwork:
    """Refuse a network without B. Raises: ValueError."""
    network = check_defended(model)
    if network.feedback is None:
        raise ValueError(
            "this network's feedback matrix B was destroyed: it can predict but not train below the device"
        )
    return network
