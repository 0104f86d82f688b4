"""Certificates through the device: an image none of whose bits can flip keeps its prediction, whatever U is.

A bit is 1 where a feature is above the mean of its sample's features, so it cannot flip while x_i - mean(x) keeps its sign. That
is one linear form more, and is bounded as such: bounds of x_i and of the mean, apart, would be wider. Bits that stay are readings
that stay, and so is all that is above them. Nothing is asked of the device, its noise, or its secret.

Where k bits may flip, readings may be anything that U makes of 2^k inputs, and without U no bound is left: one flipped bit moves
every reading. Who holds the device can show it all 2^k inputs; that is a certificate too if the prediction is the same for each.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from groundglass.certify.chain import to_features
from groundglass.certify.relaxed import Method, boxes, check_ball, check_steps, ranges, slack, walked_back
from groundglass.certify.steps import Centre, Step
from groundglass.core import as_labels, counting, silent
from groundglass.core.modes import evaluating
from groundglass.core.progress import Progress
from groundglass.core.settings import In, fit
from groundglass.models import DefendedNetwork, predict_logits
from groundglass.optics.layer import binarise
from groundglass.optics.steady import is_steady

#: Bits of which all combinations are shown to a device, at most.
_Bits = Annotated[int, In("[0, 16]", "each more doubles the frames: 16 are 65,536 an image")]


@dataclass(frozen=True, eq=False)
class FlippableBits:
    """Which bits of some images may flip within an L-inf ball.

    Attributes:
        eps: its radius, pixel units.
        bits: of the images as they are, uint8 [n, N].
        flippable: those that were not shown to stay, bool [n, N]. Not all of them need have an image that flips them.
    """

    eps: float
    bits: UInt8[Tensor, "n bits"]
    flippable: Bool[Tensor, "n bits"]

    @property
    def counts(self) -> Int64[Tensor, "n"]:
        """How many of an image's bits may flip."""
        return self.flippable.sum(1)


@dataclass(frozen=True, eq=False)
class ThroughDevice:
    """Certificates of a defended network within an L-inf ball.

    Attributes:
        bits: which may flip.
        predictions: of the images as they are, int64 [n].
        same_bits: those none of whose bits can flip: their logits are the same in all of the ball, whatever U is. bool [n].
        enumerated: others, whose prediction is the same for every combination of the bits that may flip, with this U. bool [n].
        labels: true classes, int64 [n].
        frames: that the device was shown to find out.
    """

    bits: FlippableBits
    predictions: Int64[Tensor, "n"]
    same_bits: Bool[Tensor, "n"]
    enumerated: Bool[Tensor, "n"]
    labels: Int64[Tensor, "n"]
    frames: int

    @property
    def certified(self) -> Bool[Tensor, "n"]:
        """Predicted right, and so for every image of the ball."""
        return (self.same_bits | self.enumerated) & (self.predictions == self.labels)


def flippable_bits(
    network: DefendedNetwork,
    images: Float[Tensor, "n c h w"],
    eps: float,
    *,
    method: Method = "crown",
    progress: Progress = silent,
) -> FlippableBits:
    """Which bits that enter the device may flip when an image moves by at most `eps` (L-inf), within [0, 1].

    Args:
        network: its layers below the device are of those that bounds know.
        eps: pixel units.
        method: see `bounds`. Of a deep network "ibp" and "crown-ibp" show next to nothing; "crown" takes a minute an image.
        progress: told images.

    Raises:
        TypeError: not a defended network.
        ValueError: a layer that bounds cannot follow; a network without bits of an image's own; eps not in [0, 1].
    """
    steps: list[Step] = [*to_features(network), Centre()]
    images, eps = check_ball(network, images, eps, method)
    if not len(images):
        none = torch.zeros(0, network.block.width, dtype=torch.uint8, device=images.device)
        return FlippableBits(eps, none, none.bool())
    with torch.no_grad(), evaluating(network):
        features = torch.cat(
            [network.features(part.to(network.block.readout.weight.dtype)) for part in images.split(256)]
        )
    apart = check_steps(steps[:-1], images, features)
    found = []
    for box, off in zip(boxes(images, eps), apart, strict=True):
        found.append(_may_flip(steps, box, method, off))
        progress("bits that may flip", len(found), len(images))
    return FlippableBits(eps, binarise(features).to(torch.uint8), torch.stack(found))


def _may_flip(steps: list[Step], box: tuple[Tensor, Tensor], method: Method, apart: Tensor) -> Tensor:
    found = ranges(steps, box, method)
    low, high = found[-1][0][0], found[-1][1][0]
    least = slack(found[-2][1].max(), apart)
    # What intervals do not show is walked back.
    open_bits = (~_fixed(low, high, least)).nonzero()[:, 0]
    if len(open_bits):
        rows = low.new_zeros(len(open_bits), len(low))
        rows[counting(len(open_bits), rows.device), open_bits] = 1
        one, other = walked_back(steps, found, rows, to_images=method != "ibp")
        low[open_bits], high[open_bits] = torch.maximum(low[open_bits], one), torch.minimum(high[open_bits], other)
    return ~_fixed(low, high, least)


def _fixed(low: Tensor, high: Tensor, least: Tensor) -> Tensor:
    return (low > least) | (high < -least)


def through_device(
    network: DefendedNetwork,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, "n"],
    eps: float,
    *,
    method: Method = "crown",
    enumerate_bits: int = 0,
    progress: Progress = silent,
) -> ThroughDevice:
    """Which images keep their prediction in an L-inf ball: by bits alone, or by showing the device all that may enter it.

    The first holds for every U, known or not, and for a device that is random or noisy: of the law of its predictions. The
    second holds for this device, as it is now.

    Args:
        labels: true classes.
        enumerate_bits: of an image with so many flippable bits or fewer the device is shown all combinations; 0 for none.
        eps, method, progress: as of `flippable_bits`.

    Raises:
        TypeError, ValueError: as `flippable_bits`; labels that do not fit; combinations for a device whose answer may be another
            each time (`is_steady`), or for a network with layers above its block.
    """
    most = fit(_Bits, enumerate_bits, "enumerate_bits")
    found = flippable_bits(network, images, eps, method=method, progress=progress)
    images, _ = check_ball(network, images, eps, method)
    known = as_labels(labels, images)
    logits = predict_logits(network, images)
    predictions = logits.argmax(1).to(images.device) if len(images) else known
    if most:
        _check_repeats(network)
    same, frames = found.counts == 0, 0
    enumerated = torch.zeros_like(same)
    for place in (~same & (found.counts <= most)).nonzero()[:, 0].tolist():
        inputs = _combinations(found.bits[place], found.flippable[place])
        with torch.no_grad(), evaluating(network):
            classes = torch.cat(
                [network.block.classify(part.to(images.dtype)).argmax(1) for part in inputs.split(1024)]
            )
        frames += len(inputs)
        enumerated[place] = bool((classes == predictions[place]).all())
    return ThroughDevice(found, predictions, same, enumerated, known, frames)


def _combinations(bits: Tensor, flippable: Tensor) -> Tensor:
    """All inputs that may enter: uint8 [2^k, N], as they are first."""
    where = flippable.nonzero()[:, 0]
    numbers = counting(2 ** len(where), bits.device)
    flips = (numbers[:, None] >> counting(len(where), bits.device)) & 1
    inputs = bits.repeat(len(numbers), 1)
    inputs[:, where] ^= flips.to(torch.uint8)
    return inputs


def _check_repeats(network: DefendedNetwork) -> None:
    if network.device is not None and not is_steady(network.device):
        raise ValueError(
            "what the device of this network answers now need not be what it answers next: it has noise, or switches among "
            "matrices, or drifts, or is not known not to. Leave out `enumerate_bits`, or smooth the network"
        )
    if not network.ends_in_block:
        raise ValueError("there are layers above the optical block of this network: leave out `enumerate_bits`")
