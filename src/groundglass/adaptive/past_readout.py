"""Rules taken past the readout: the same derivative, from the logits' gradient, with far smaller products.

For an error E [batch, classes] the gradient below a readout R is E R. It has rank `classes`, although it has as many
columns as the device has outputs. A rule that is linear in that gradient can be computed for every row of R beforehand.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.attacks import DrawnMatrix, LinearMatrix
from groundglass.attacks.same_function import FEW, same_function
from groundglass.models import Classifier, Defended, DefendedNetwork, MemberRules
from groundglass.optics import BackwardRule, RandomFeedback
from groundglass.optics.backward import Held

# Rows of the forms that are made at a time.
_PIECE = 512


class QuadraticForms:
    """A rule that is linear in the bits and in the gradient, behind a readout: a square matrix for every class.

    Args:
        forms: [classes, n, n]; that of class c takes bits to what the rule gives for the readout's row c.
        name: the name in records.
    """

    site: Literal["readings", "logits"] = "logits"

    def __init__(self, forms: Float[Tensor, "classes n n"], name: str) -> None:
        self.name = name
        self._classes = len(forms)
        self._n = forms.shape[-1]
        self._stacked = Held(forms.detach().float().flatten(0, 1).contiguous())

    @classmethod
    def of(cls, rule: BackwardRule, readout: Float[Tensor, "classes m"], in_features: int) -> "QuadraticForms":
        """What `rule` gives for each single bit and each row of the readout: that determines it."""
        units = torch.eye(in_features, device=readout.device, dtype=torch.float32)
        forms = [
            torch.cat([rule.vjp(part, row.expand(len(part), -1)) for part in units.split(_PIECE)]) for row in readout
        ]
        return cls(torch.stack(forms), rule.name)

    def vjp(self, bits: Float[Tensor, "batch n"], grad: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch n"]:
        (stacked,) = self._stacked.on(grad.device)
        return (grad[:, :, None] * bits[:, None, :]).flatten(1) @ stacked

    def __repr__(self) -> str:
        return f"QuadraticForms(name={self.name!r}, n={self._n}, classes={self._classes})"


def collapse(rule: BackwardRule, network: Defended, images: Tensor | None = None) -> BackwardRule:
    """The same rule past the readout of this network, if that is faster; else the rule itself.

    It is the same, up to rounding, if the logits are the readout's own output and the rule is linear: `fa`, and
    `bpda-drawn`, whose pixels never saturate. It keeps a copy of the readout: for networks that are not trained further.

    Args:
        images: some that the network is for. The gradients by both rules are compared on the first 8 of them, without a frame
            of the device; where they differ, the rule itself is returned. There may be a hook behind the readout, say.
    """
    short = _of_all(rule, network)
    if images is None or short is rule:
        return short
    same = same_function(network.seen_through(rule), network.seen_through(short), images[:FEW])
    return short if same else rule


def _of_all(rule: BackwardRule, network: Defended) -> BackwardRule:
    """Past the readout of every part."""
    if not isinstance(rule, MemberRules):
        (part, *others) = network.parts
        return rule if others else _past_readout(rule, part)
    short = [_past_readout(own, part) for own, part in zip(rule.rules, network.parts, strict=True)]
    if all(a is b for a, b in zip(short, rule.rules, strict=True)):
        return rule
    return MemberRules(short, rule.name, undecided=rule.undecided)


def _ends_in_block(network: DefendedNetwork) -> bool:
    """As far as its class shows."""
    inside = network.network
    if type(inside) is nn.Sequential:
        return inside[-1] is network.block
    return type(inside) is Classifier and inside.head is network.block


def _past_readout(rule: BackwardRule, network: DefendedNetwork) -> BackwardRule:
    block = network.block
    if network.device is None or not _ends_in_block(network):
        return rule
    if block.above is not None:  # a ReLU: its derivative depends on the readings
        return rule
    readout = block.readout.weight.detach().float() * block.gain
    classes, m = readout.shape
    if type(rule) is LinearMatrix:
        return RandomFeedback(
            rule.vjp(torch.zeros(classes, block.width, device=readout.device, dtype=torch.float32), readout), rule.name
        )
    # Two complex products become one with a matrix a class.
    if type(rule) is DrawnMatrix and rule.power == 2 and classes * block.width < 4 * m:
        return QuadraticForms.of(rule, readout, block.width)
    return rule
