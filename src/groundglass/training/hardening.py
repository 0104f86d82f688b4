"""A device in place of a trained network's classifier, and what is new fine-tuned by hybrid DFA (Cappelli et al. 2021, "ROPUST").

The paper's networks are robust ones, trained on adversarial images, and they are fine-tuned on natural images; here any
network will do. What lies below the device stays as it is, so what it makes of an image is computed once, and images are not
augmented. The block is that of all defended networks here, with BatchNorm in front of the binarisation.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from groundglass.core import Progress, check_labels, derive_seed, silent
from groundglass.core.modes import evaluating
from groundglass.core.settings import fit
from groundglass.data import Augment, Images, ImageSet, ImagesLike, given
from groundglass.data.given import first_of
from groundglass.data.sources import UNNAMED
from groundglass.models import DefendedNetwork, defend, predict_logits
from groundglass.models.wrappers import unwrapped
from groundglass.optics import OpticalDevice
from groundglass.training.config import TrainingConfig
from groundglass.training.credit_assignment import HybridDFA
from groundglass.training.encoding import encode_features
from groundglass.training.loop import train
from groundglass.training.state import EpochResult

#: How a hardened network is trained, unless it is told otherwise.
HARDENING = TrainingConfig(epochs=8, batch_size=128, learning_rate=0.05)

#: What stays as it is while a hardened network is fine-tuned: all that lies below the device, its BatchNorms' statistics too;
#: or nothing: layers below get their gradient through B.
Kept = Literal["below", "nothing"]


def harden(
    network: nn.Module,
    device: OpticalDevice | None,
    images: ImagesLike,
    config: TrainingConfig = HARDENING,
    *,
    at: str | None = None,
    frozen: Kept = "below",
    hidden: int | None = None,
    dropout: float = 0.0,
    augment: Augment | None = None,
    seed: int,
    checkpoint: Path | str | None = None,
    progress: Progress = silent,
    name: str = "hardening",
) -> DefendedNetwork:
    """A copy of `network` with `device` in place of its classifier, fine-tuned on `images`. The network itself stays as it was.

    `insert`, then `fine_tune`. Adversarial training is not part of it, unless `config.adversarial` asks for it.

    Args:
        network: images in [0, 1] -> logits, trained.
        device: N -> M; see `defend`. None: a new head without one, Linear to `hidden`, BatchNorm, ReLU, Linear, trained in the
            same way: what a hardened network must be compared with.
        images: with their labels, in any form that `groundglass.data.given` takes.
        config: of the fine-tuning.
        at: the module that the device takes the place of; None: the classifier, see `classifier_of`.
        frozen: see `Kept`.
        hidden, dropout: see `defend`.
        augment, checkpoint, progress, name: see `fine_tune`.
        seed: of the new weights and B, and of the order of images.

    Returns:
        The network, in eval mode, as `defend` would have given it: all of it can be trained further.

    Raises:
        ValueError, TypeError: as `insert` and `fine_tune`; before any work, as far as it can be known.
        DivergedError: see `train`.
    """
    walked = given(images)
    made = insert(network, device, walked, at=at, hidden=hidden, dropout=dropout, seed=seed)
    options: dict[str, Any] = {"checkpoint": checkpoint, "progress": progress, "name": name}
    fine_tune(made, walked, config, frozen=frozen, augment=augment, seed=seed, **options)
    return made


def insert(
    network: nn.Module,
    device: OpticalDevice | None,
    images: ImagesLike,
    *,
    at: str | None = None,
    hidden: int | None = None,
    dropout: float = 0.0,
    seed: int,
) -> DefendedNetwork:
    """`defend` at a network's classifier, tried on one image: its new layers guess until they are trained.

    Args:
        images: the first of them is run through the network, a frame of the device.

    Raises:
        ValueError: no Linear to replace; a place that is not there, or not the end of the network though none was named; a
            network that is defended already, or that fails on these images; else as `defend`.
    """
    place = classifier_of(network) if at is None else at
    made = defend(network, at=place, device=device, hidden=hidden, dropout=dropout, seed=derive_seed(seed, "harden"))
    try:
        predict_logits(made, _one(images))  # which shows how it ends
    except RuntimeError as error:
        raise ValueError(
            f"with a device at {place!r} the network fails on an image of these: {str(error).splitlines()[0]}. Name another "
            "module by `at`, or give the kind of images that the network takes"
        ) from error
    if at is None and not made.ends_in_block:
        raise ValueError(
            f"the Linear that the network defines last is in {place!r}, and does not give its logits: name the classifier by `at`"
        )
    return made


def classifier_of(network: nn.Module) -> str:
    """The name of the module that is the classifier: the Linear that is defined last, with the layers of the `Sequential` around
    it where these are Linear, dropout, BatchNorm1d and activations alone.

    Raises:
        ValueError: there is no Linear.
    """
    places = dict(unwrapped(network).named_modules())
    linears = [name for name, module in places.items() if isinstance(module, nn.Linear) and name]
    if not linears:
        raise ValueError(
            "the network has no Linear, so no classifier that a device could take the place of: it must end in one, inside of a "
            "module (a bare Linear is no network with features)"
        )
    found = linears[-1]
    while (around := found.rpartition(".")[0]) and type(places[around]) is nn.Sequential:
        if not all(map(_of_a_head, places[around])):
            break
        found = around
    return found


def fine_tune(
    network: DefendedNetwork,
    images: ImagesLike,
    config: TrainingConfig = HARDENING,
    *,
    frozen: Kept = "below",
    augment: Augment | None = None,
    features: tuple[Tensor, Tensor] | None = None,
    seed: int,
    checkpoint: Path | str | None = None,
    progress: Progress = silent,
    name: str = "fine-tuning",
) -> list[EpochResult]:
    """Train what is new in a network that `insert` gave, in place, by hybrid DFA. It ends in eval mode.

    Where all that is trained is the block, at the end of the network, and images do not change from epoch to epoch, what
    reaches the block is computed once, and the block alone is trained (`fit_block`). Else the whole network is run.

    Args:
        images: with their labels, in any form that `groundglass.data.given` takes.
        config: epochs and rates; `adversarial` and `noise` change images, as `augment` does.
        frozen: see `Kept`. Layers above the device are trained in either case.
        augment: what is done to an image anew in each epoch, or None.
        features: what `encode_features` gives, where it is there already: say, from a cache.
        seed, checkpoint, progress, name: see `train`.

    Raises:
        ValueError, DivergedError, DamagedFileError: see `train`.
    """
    walked, shared = given(images), {"checkpoint": checkpoint, "progress": progress, "name": name}
    seed, frozen = derive_seed(fit(int, seed, "seed"), "fine-tuning"), fit(Kept, frozen, "frozen")
    options: dict[str, Any] = {"credit": HybridDFA(), "seed": seed, "augment": augment, **shared}
    if frozen == "nothing":
        network.eval()  # wholly: so all of it is trained
        return train(network, walked, config, **options)
    if not computed_once(network, config, augment):
        with _frozen_below(network, walked):
            return train(network, walked, config, **options)
    network.eval()
    inputs, labels = encode_features(network, walked, progress=progress) if features is None else features
    return fit_block(network, inputs, labels, config, seed=seed, **shared)  # type: ignore[arg-type]


def computed_once(network: DefendedNetwork, config: TrainingConfig, augment: Augment | None = None) -> bool:
    """Whether a block alone is trained, to features that stay the same; see `fine_tune`."""
    return network.ends_in_block and augment is None and not config.on_images


def fit_block(
    network: DefendedNetwork,
    features: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    config: TrainingConfig = HARDENING,
    *,
    seed: int,
    checkpoint: Path | str | None = None,
    progress: Progress = silent,
    name: str = "block",
) -> list[EpochResult]:
    """Train the block at the end of `network` by hybrid DFA, in place, on features that were computed once; the rest stays.

    Args:
        features: [n, d], what reaches the block of each image, see `encode_features`.
        labels: [n], classes.
        config: epochs and rates. The device measures every image in every epoch: its bits change.
        seed, checkpoint, progress, name: see `train`.

    Raises:
        ValueError: the block is not the end of the network; features or labels of a wrong shape or value; adversarial training or
            noise, which are for images.
        DivergedError, DamagedFileError: see `train`.
    """
    if not network.ends_in_block:
        raise ValueError(
            f"the optical block at {network.at!r} does not seem to be the end of this network, so it cannot be trained alone: "
            "use `train`. If it is the end, run the network on an image first"
        )
    config.check_no_images("a block is fitted to given features")
    if features.ndim != 2 or features.shape[1] != network.block.taken or features.dtype != torch.float32:
        raise ValueError(
            f"features must be float32 [n, {network.block.taken}], not {features.dtype} {list(features.shape)}: "
            "encode_features(network, images) gives them"
        )
    if not bool(torch.isfinite(features).all()):
        raise ValueError(
            "features are NaN or infinite for some images: look at the network's weights and at the images"
        )
    check_labels(labels, count=len(features), classes=network.classes)
    classes = tuple(map(str, range(network.classes)))
    kept = _Features(UNNAMED, "train", features.cpu()[:, :, None, None], labels.cpu().long(), classes)
    outer = nn.Sequential(OrderedDict(flatten=nn.Flatten(), block=network.block))
    alone = network.within(outer, "block").train()
    try:
        shared: dict[str, Any] = {"checkpoint": checkpoint, "progress": progress, "name": name}
        return train(alone, kept, config, credit=HybridDFA(), seed=seed, **shared)
    finally:
        network.block.train(network.training)


class _Features(ImageSet):
    """What reaches a block, in place of images: float32 [n, d, 1, 1], of any range."""

    def __post_init__(self) -> None:
        """Whoever makes one has checked it."""


def _one(images: ImagesLike) -> Tensor:
    """The first of them, [1, c, h, w]."""
    return first_of(images, 1).first(1).floats()


def _of_a_head(module: nn.Module) -> bool:
    plain = type(module).__module__ == "torch.nn.modules.activation" and not list(module.parameters())
    return plain or isinstance(module, nn.Linear | nn.Dropout | nn.BatchNorm1d | nn.Identity)


@contextmanager
def _frozen_below(network: DefendedNetwork, images: Images) -> Iterator[None]:
    """The block, and what is called after it alone, in train mode; all else in eval mode and without gradients. Afterwards what
    could be trained before can be again."""
    new = [network.block, *_above(network, _one(images))]
    trained = {parameter for module in new for parameter in module.parameters()}
    held = [one for one in network.parameters() if one.requires_grad and one not in trained]
    network.eval()
    for module in new:
        module.train()
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)


def _above(network: DefendedNetwork, images: Tensor) -> list[nn.Module]:
    """The modules that a forward pass calls after the block and not before it, without those that hold others."""
    block, seen = network.block, dict[nn.Module, bool]()
    inside = set(block.modules())
    leaves = [one for one in network.network.modules() if one not in inside and not list(one.children())]
    passed: list[bool] = []

    def called(module: nn.Module, *_: Any) -> None:
        seen.setdefault(module, bool(passed))

    hooks = [leaf.register_forward_pre_hook(called) for leaf in leaves]
    hooks.append(block.register_forward_hook(lambda *_: passed.append(True)))
    try:
        with evaluating(network), torch.no_grad():
            where = next(network.parameters())
            network(images.to(where.device, where.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return [leaf for leaf in leaves if seen.get(leaf)]
