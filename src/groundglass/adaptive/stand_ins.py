"""Attackers who have the weights below the layer and nothing else: they climb on a network, or a loss, of their own.

The deployed network is asked for no gradient and for no answer while they climb. It judges each image once, at the end.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.adaptive import attackers
from groundglass.attacks import FGSM, PGD, GradientAccess, Gradients, TransferPGD
from groundglass.attacks.losses import Loss
from groundglass.attacks.model_identity import digest
from groundglass.attacks.tensors import Images, Labels, PerImage, Rows
from groundglass.core import NonFiniteError, check_labels, generator, input_dtype, permutation
from groundglass.core.modes import evaluating
from groundglass.core.settings import Count, fit
from groundglass.data import ImagesLike, StreamedImages, given
from groundglass.models import Defended
from groundglass.optics import Encoding

A = TypeVar("A")

#: Rules that need the lower weights alone, with what they do: no backward rule, but a stand-in for the network.
STAND_INS: dict[str, str] = {one.name: one.says for one in attackers.RULES if one.needs == "lower weights"}
#: Public labelled images that an attacker's own head is fitted to, unless another number is given.
LABELS = 1000
# Every tenth labelled image is held out.
_HELD_OUT = 10
_RIDGES = (1e-2, 0.1, 1.0, 10.0)
# The logit of a label that the head is certain of.
_SURE = 10.0


class StandIn(ABC):
    """What is climbed in the network's place: a number an image, made of the weights below the layer.

    Attributes:
        name: in records.
        network: whose lower weights it has.
    """

    name: str
    network: Defended

    @abstractmethod
    def remember(self, images: Images) -> Tensor:
        """What must be known of the original images, a row an image."""

    @abstractmethod
    def value(self, images: Images, labels: Labels, loss: Loss, remembered: Tensor) -> PerImage:
        """What is climbed at iterates of images that `remember` saw; through autograd.

        Args:
            loss: of logits and labels, as the attack would climb it on the network.
        """


class OwnHead(nn.Module, StandIn):
    """The network up to the layer, and in place of the rest a linear head of the attacker's own: images -> logits.

    A plain network: any attack can be given it as one. Attacks on fine-tuned networks whose lower layers are public work alike
    (Wang et al. 2018, "With great training comes great vulnerability"); they move the features towards another image's, and
    need no head.

    The head is a ridge regression of one-hot labels, times ten, on the features before their ReLU, less their mean; the
    held-out tenth of the labelled images chooses the ridge. Of logits from 0 to 1 the cross-entropy would push down every
    other class alike. Softmax regression, and features after the ReLU, attack as well (docs/log.md).

    Args:
        network: the lower weights are its own, shared, not copied.
        weights, mean: [N, classes], [N]: logits = (features - mean) weights.
        n_images: labelled images that it was fitted to, held-out ones included.
        held_out_accuracy: of the head, on those held out, which also chose its ridge; None where there were none.
    """

    name = "own-head"

    def __init__(
        self,
        network: Defended,
        weights: Float[Tensor, "n classes"],
        mean: Float[Tensor, "n"],
        *,
        n_images: int,
        held_out_accuracy: float | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.weights: Tensor
        self.mean: Tensor
        self.register_buffer("weights", weights)
        self.register_buffer("mean", mean)
        self.n_images, self.held_out_accuracy = n_images, held_out_accuracy
        self.training = network.training

    @classmethod
    def fit(
        cls, network: Defended, labelled: ImagesLike, *, labels: int = LABELS, seed: int, batch_size: int = 500
    ) -> "OwnHead":
        """A head for this network's features, from labelled images that anybody may have.

        Args:
            labelled: public images with labels, as the training set, in any form that `groundglass.data.given` takes.
            labels: so many of them, drawn without replacement by `seed`, of a stream its first; all where there are fewer.

        Raises:
            TypeError: not a defended network, or not images with labels.
            ValueError: fewer than two labelled images, or of one class alone.
            NonFiniteError: the features are NaN or infinite.
        """
        _defended(network)
        public, labels, seed = given(labelled), fit(Count, labels, "labels"), fit(int, seed, "seed")
        if isinstance(public, StreamedImages):
            public = public.first(labels)
        drawn = permutation(len(public), generator=generator(seed, "own head"))[:labels]
        pictures, known = public.take(drawn)
        if len(known.unique()) < 2:
            raise ValueError(
                f"a head is fitted to labelled images of two classes or more, and these {len(known)} are of "
                f"{len(known.unique())}: give more `labels`"
            )
        where = next(network.parameters()).device
        with torch.no_grad(), evaluating(network):
            found = [
                below(network, rows.to(where, input_dtype(network))).float()
                for rows in pictures.split(fit(Count, batch_size, "batch_size"))
            ]
        features, known = torch.cat(found), known.to(where)
        if not bool(torch.isfinite(features).all()):
            raise NonFiniteError("the features below the layer are NaN or infinite: check the weights, and the images")
        classes = max(network.classes, int(known.max()) + 1)
        held = torch.zeros(len(known), dtype=torch.bool, device=where)
        held[_HELD_OUT - 1 :: _HELD_OUT] = True

        def right(ridge: float) -> float:
            weights, mean = ridge_regression(features[~held], known[~held], classes, ridge)
            return (
                float((((features - mean) @ weights).argmax(1) == known)[held].double().mean()) if held.any() else 0.0
            )

        # Of equals the larger: its gradient depends on fewer images.
        scores = {ridge: right(ridge) for ridge in reversed(_RIDGES)}
        best = max(scores, key=lambda ridge: scores[ridge])
        weights, mean = ridge_regression(features, known, classes, best)
        told = scores[best] if bool(held.any()) else None
        return cls(network, weights, mean, n_images=len(known), held_out_accuracy=told)

    def forward(self, images: Images) -> Float[Tensor, "batch classes"]:
        found: Tensor = (below(self.network, images).float() - self.mean) @ self.weights
        return found

    def remember(self, images: Images) -> Tensor:
        return images.new_zeros(len(images), 0)

    def value(self, images: Images, labels: Labels, loss: Loss, remembered: Tensor) -> PerImage:
        logits = self(images)
        check_labels(labels, count=len(images), classes=logits.shape[1])
        return loss(logits, labels.long())

    def extra_repr(self) -> str:
        told = "none" if self.held_out_accuracy is None else f"{self.held_out_accuracy:.3f}"
        return f"n_images={self.n_images}, held_out_accuracy={told}"


class BitFlip(StandIn):
    """Pushes an image's own bits across their thresholds. No label, no data, no query: the lower weights alone.

    A bit is 1 where a feature is above the mean of its sample's. With h the features before their ReLU, t that mean, b the
    bits of the original image, and s the spread of its h, each iterate climbs

        sum over bits of tanh((1 - 2 b) (h - t) / s).

    Before the ReLU a feature that is off still has a gradient. A bit that is far from its threshold, on either side, counts
    for less than one that is near it.

    Moving internal features in place of the output is the idea of Sabour et al. 2016, "Adversarial manipulation of deep
    representations". Difference: away from the image's own bits, not towards the features of another image.

    Args:
        network: binarises what enters its layer.

    Raises:
        TypeError: not a defended network.
        ValueError: floats enter the layer of this network: it has no bits to flip.
    """

    name = "bit-flip"

    def __init__(self, network: Defended) -> None:
        if any(part.block.encoding == "float" for part in _defended(network).parts):
            raise ValueError(
                "the rule 'bit-flip' pushes bits across thresholds, and floats enter the layer of this network: use 'own-head'"
            )
        self.network = network

    def remember(self, images: Images) -> Tensor:
        """The direction of each bit, over the spread of the image's features: [n, N]."""
        found = below_each(self.network, images)
        above = self._above(found)
        return torch.cat(
            [
                (1 - 2 * (over > 0).to(over.dtype)) / each.std(1, keepdim=True).clamp_min(1e-12)
                for each, over in zip(found, above, strict=True)
            ],
            1,
        )

    def value(self, images: Images, labels: Labels, loss: Loss, remembered: Tensor) -> PerImage:
        return torch.tanh(torch.cat(self._above(below_each(self.network, images)), 1) * remembered).sum(1)

    def _above(self, found: tuple[Tensor, ...]) -> list[Tensor]:
        """How far each feature is above its threshold, the sample's mean, the batch's with "bits-batch", 0 with "bits-zero"."""
        return [
            _above_threshold(each, part.block.encoding) for part, each in zip(self.network.parts, found, strict=True)
        ]


def stand_in(
    name: str, network: Defended, *, labelled: ImagesLike | None = None, labels: int = LABELS, seed: int
) -> OwnHead | BitFlip:
    """The stand-in called `name`, "own-head" or "bit-flip", for this network.

    Args:
        labelled, labels, seed: of the head, see `OwnHead.fit`.

    Raises:
        TypeError: not a defended network, or `labelled` is not images with labels.
        ValueError: another name; a network that it is not for; a head without labelled images.
    """
    if name not in STAND_INS:
        raise ValueError(f"{name!r} is not a stand-in: these are {', '.join(STAND_INS)}; `make_rule` makes the others")
    if name == "bit-flip":
        return BitFlip(network)
    if labelled is None:
        raise ValueError("the rule 'own-head' is fitted to labelled images: give labelled=dataset.train")
    return OwnHead.fit(network, labelled, labels=labels, seed=seed)


def stand_in_facts(made: OwnHead | BitFlip) -> dict[str, Any] | None:
    """How many images a head was fitted to, and how often it is right on others; None for an attacker that fits nothing."""
    if not isinstance(made, OwnHead):
        return None
    return {"n_images": made.n_images, "held_out_accuracy": made.held_out_accuracy}


class StandInAccess(GradientAccess):
    """Gradients of a stand-in, answers of the deployed network: for attackers who climb without asking it.

    Only attacks whose last iterate counts can use it, as `unasked` makes them of PGD: the deployed network is asked about
    every image before the attack and after it, and never in between.

    Args:
        model: the deployed network, images -> logits.
        stand_in: what is climbed.
        budget: rows, over all calls, that may pass through the deployed network; None for no limit.

    Raises:
        TypeError: the model cannot be called, or `stand_in` is none.
    """

    def __init__(self, model: Any, stand_in: OwnHead | BitFlip, budget: int | None = None) -> None:
        super().__init__(model, budget)
        if not isinstance(stand_in, StandIn):
            raise TypeError(
                f"`stand_in` must be what stand_in('bit-flip', network, ...) or 'own-head' gives, not {stand_in!r:.60}"
            )
        self._stand_in = stand_in
        self._climbed = 0
        self._remembered: Tensor | None = None

    @property
    def gradients(self) -> int:
        return self._climbed

    @property
    def model_identity(self) -> dict[str, Any]:
        weights = self._stand_in.weights if isinstance(self._stand_in, OwnHead) else None
        own = None if weights is None else digest([weights])
        return {**super().model_identity, "stand_in": [self._stand_in.name, own]}

    def meet(self, attack: object, images: Images) -> None:
        if unasked(attack) != attack:
            raise ValueError(
                f"{attack!r} asks the network where it is while it climbs, and an attacker with the lower weights alone does "
                f"not: use {unasked(attack)!r}"
            )
        with torch.no_grad(), evaluating(self._stand_in.network):
            self._remembered = torch.cat([self._stand_in.remember(self._typed(part)) for part in images.split(256)])

    def climb(self, rows: Rows, images: Images, labels: Labels, loss: Loss) -> Gradients:
        if self._remembered is None:
            raise ValueError("this access has met no images: give it to an attack")
        self._climbed += len(images)
        with torch.enable_grad(), evaluating(self._stand_in.network):
            x = images.detach().requires_grad_()
            value = self._stand_in.value(self._typed(x.clone()), labels, loss, self._remembered[rows])
            (grad,) = torch.autograd.grad(value.sum(), x)
        largest = grad.flatten(1).abs().amax(1)
        self._check_finite(largest)
        # The deployed network was not asked: as far as the attack knows, nothing is fooled yet.
        unknown = F.one_hot(labels.long(), self.classes or max(2, int(labels.max()) + 1)).to(value.dtype)
        return Gradients(unknown, value.detach(), grad, largest == 0)

    def _typed(self, images: Images) -> Images:
        return images.to(input_dtype(self._stand_in.network))


def unasked(attack: A) -> A:
    """The same attack, made to run to its end and to leave its last iterate: nothing is asked on the way.

    Raises:
        TypeError: an attack that cannot: it judges iterates by the network's answers.
    """
    if isinstance(attack, PGD):
        return replace(attack, keep="last", stop_when_fooled=False)
    if isinstance(attack, TransferPGD):
        return replace(attack, keep="last")
    if isinstance(attack, FGSM):
        return attack
    raise TypeError(
        f"{type(attack).__name__} judges its iterates by the network's answers, which an attacker with the lower weights alone "
        "does not ask for: use PGD, FGSM or TransferPGD"
    )


def _defended(network: Any) -> Defended:
    if not isinstance(network, Defended):
        raise TypeError(
            f"the network must be a DefendedNetwork or an ensemble, not {type(network).__name__}: `defend` makes one of a "
            "network of your own, and an ordinary network has nothing below a layer"
        )
    return network


def below(network: Defended, images: Images) -> Float[Tensor, "batch n"]:
    """`DefendedNetwork.below`, a row an image; of an ensemble that of all parts side by side.

    Raises:
        ValueError: the block gets other rows than images.
    """
    found = below_each(network, images)
    return found[0] if len(found) == 1 else torch.cat(found, 1)


def below_each(network: Defended, images: Images) -> tuple[Float[Tensor, "batch n"], ...]:
    """The same for each part of an ensemble."""
    every = network.each_below(images)
    for found in every:
        if len(found) != len(images):
            raise ValueError(
                f"the optical block got {len(found)} rows of {len(images)} images: an attack below the layer needs a row of "
                "features an image"
            )
    return every


def _above_threshold(features: Float[Tensor, "batch n"], encoding: Encoding) -> Float[Tensor, "batch n"]:
    """How far features before their ReLU are above where their bits turn. Thresholds get no gradient."""
    if encoding == "bits-zero":
        return features
    after = features.detach().relu()
    return features - (after.mean(1, keepdim=True) if encoding == "bits" else after.mean())


def ridge_regression(features: Tensor, known: Tensor, classes: int, ridge: float) -> tuple[Tensor, Tensor]:
    """A ridge regression of one-hot labels on features: weights [N, classes] and the features' mean; closed form, in float64."""
    mean = features.mean(0)
    centred, targets = (features - mean).double(), _SURE * F.one_hot(known.long(), classes).double()
    gram = centred.t() @ centred
    unit = gram.diagonal().mean().clamp_min(1e-12)
    shifted = gram + ridge * unit * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weights = torch.cholesky_solve(centred.t() @ (targets - targets.mean(0)), torch.linalg.cholesky(shifted))
    return weights.float(), mean
