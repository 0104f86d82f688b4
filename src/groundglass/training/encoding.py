"""Every image of a set as it reaches the optical layer, computed once: what lies below stays as it is, and is what costs."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from groundglass.core import Progress, input_dtype, silent
from groundglass.core.modes import evaluating
from groundglass.data import Augment, ImagesLike, batches, given
from groundglass.models import DefendedNetwork, check_one_layer
from groundglass.optics import Encoding, encode
from groundglass.optics.layer import as_bytes


def encode_bits(
    network: DefendedNetwork,
    images: ImagesLike,
    *,
    encoding: Encoding = "bits",
    batch_size: int = 500,
    augment: Augment | None = None,
    seed: int = 0,
    epoch: int = 0,
    progress: Progress = silent,
    name: str = "features",
) -> Tensor:
    """Every image as it enters the device, in the set's or the stream's order: [n, N] on the CPU. No device is used.

    uint8, 0 or 1; float32 with the encoding "float". In eval mode: dropout off, BatchNorm with its running statistics,
    neither changed; the mode is put back. A network whose head is still linear (no device) gives the bits that a
    device in its place would get.

    Args:
        network: only the layers below the device are run.
        images: in any form that `groundglass.data.given` takes. Of a stream a batch at a time is in memory. What it says of
            labels, in its own order, only `fit_classifier(network, images)` keeps beside the bits.
        batch_size: images a forward pass. Convolutions may round differently in another batch size, and a feature
            within a rounding error of its threshold may then fall on the other side.
        augment, seed, epoch: augmentation, off by default, as in `batches`; another epoch, other augmentations.
        progress, name: told the images done under that name.

    Raises:
        TypeError: `images` is none of these.
    """
    check_one_layer(network)
    return encoded(network, images, encoding, batch_size, augment, seed, epoch, progress, name)[0]


def encode_features(
    network: DefendedNetwork,
    images: ImagesLike,
    *,
    batch_size: int = 500,
    progress: Progress = silent,
    name: str = "features",
) -> tuple[Float[Tensor, "n d"], Tensor]:
    """Every image as it reaches the block, [n, d] float32 on the CPU, and the labels, int64 [n]: what `fit_block` takes.

    Modes, arguments and errors as of `encode_bits`. What is random in reading the images is drawn once.
    """

    def take(images: Tensor) -> Tensor:
        return network.taken(images).float()

    return _walked(network, images, take, network.block.taken, torch.float32, batch_size, None, 0, 0, progress, name)


def encoded(
    network: DefendedNetwork,
    images: ImagesLike,
    encoding: Encoding,
    batch_size: int = 500,
    augment: Augment | None = None,
    seed: int = 0,
    epoch: int = 0,
    progress: Progress = silent,
    name: str = "features",
) -> tuple[Tensor, Tensor]:
    """What `encode_bits` gives, and the labels, in one walk."""

    def take(images: Tensor) -> Tensor:
        found = encode(network.features(images), encoding)
        return found if encoding == "float" else as_bytes(found)

    dtype = torch.float32 if encoding == "float" else torch.uint8
    width = network.block.width
    return _walked(network, images, take, width, dtype, batch_size, augment, seed, epoch, progress, name)


@torch.no_grad()
def _walked(
    network: DefendedNetwork,
    images: ImagesLike,
    take: Callable[[Tensor], Tensor],
    width: int,
    dtype: torch.dtype,
    batch_size: int,
    augment: Augment | None,
    seed: int,
    epoch: int,
    progress: Progress,
    name: str,
) -> tuple[Tensor, Tensor]:
    """A row of so many numbers for each image, and the labels."""
    walked = given(images)
    where, count = next(network.parameters()).device, len(walked)
    inputs = torch.empty(count, width, dtype=dtype, device="cpu")
    labels = torch.empty(count, dtype=torch.int64, device="cpu")
    done = 0
    with evaluating(network):
        walk = batches(
            walked, batch_size=batch_size, seed=seed, epoch=epoch, augment=augment, shuffle=False, where=where
        )
        for batch in walk:
            done += len(batch)
            if done > count:
                raise ValueError(f"{walked!r} gave more than {count} images this time: it must give as many each time")
            inputs[batch.index] = take(batch.images.to(where, input_dtype(network))).to(dtype).cpu()
            labels[batch.index] = batch.labels
            progress(name, done, count)
    if done < count:
        raise ValueError(f"{walked!r} gave {done} images this time, and {count} before: it must give as many each time")
    return inputs, labels
