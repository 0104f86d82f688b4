"""Networks whose images are not in [0, 1], as networks of images that are."""

from torch import Tensor, nn

from groundglass.core.bounds import Bounds
from groundglass.models.defended import Defended, DefendedNetwork, View
from groundglass.models.ensemble import DefendedEnsemble


class Rescaled(nn.Module):
    """The same network, asked about images in [0, 1].

    Args:
        network: of images in `bounds`.
        bounds: the value of a black pixel, and of a white one.
    """

    def __init__(self, network: nn.Module, bounds: tuple[float, float]) -> None:
        super().__init__()
        self.network = network
        self.bounds = bounds
        self.training = network.training  # its own mode only: the modules of the network keep theirs

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(Bounds(*self.bounds).from_unit(images))  # of an ensemble's body, its features
        return logits


def rescaled(network: nn.Module, bounds: tuple[float, float]) -> nn.Module:
    """A network of images in `bounds` as one of images in [0, 1]: itself where they are that.

    Of a defended network, or an ensemble, it is one as well, with the same layers, weights, devices and B, and a view stays a
    view by its rule.
    """
    if bounds == (0, 1):
        return network
    if isinstance(network, View):
        inner = rescaled(network.defended, bounds)
        assert isinstance(inner, Defended)
        return inner.seen_through(network.rule)
    if isinstance(network, DefendedNetwork):
        return network.within(Rescaled(network.network, bounds), f"network.{network.at}")
    if isinstance(network, DefendedEnsemble):
        return DefendedEnsemble(network.parts, body=Rescaled(network.body, bounds), votes=network.votes)
    return Rescaled(network, bounds)
