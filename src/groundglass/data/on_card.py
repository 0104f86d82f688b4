"""Images on a card: bytes that stay there and are augmented there, with the bits that the processor would have made.

A step then moves the places of its images and their draws, and no pixel. Where the bytes do not fit, or the card's arithmetic is
not this processor's, batches are made on the processor while the card is at work on the one before.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from groundglass.core import counting
from groundglass.core.accelerator import free_memory
from groundglass.core.numbers import fused
from groundglass.core.reading import sent
from groundglass.data.augment import Augment, augmented
from groundglass.data.dataset import ImageSet

T = TypeVar("T")

#: The share of the free memory that images may take; the rest is for training.
_SHARE = 0.25
#: Images on which the card's arithmetic is compared with the processor's.
_COMPARED = 16


@dataclass(frozen=True, eq=False)
class Resident:
    """An image set whose bytes are on a card.

    Attributes:
        pixels: as in the set.
        levels: what a byte is as a float; a table, because a card divides in another way.
    """

    pixels: UInt8[Tensor, "n c h w"]
    levels: Float[Tensor, "256"]

    def floats(self, index: Int64[Tensor, " m"]) -> Float[Tensor, "m c h w"]:
        """Those at `index`, in [0, 1]: as `ImageSet.floats`."""
        return self.levels[self.pixels[sent(index, self.pixels.device)].int()]

    def augmented(
        self, index: Int64[Tensor, " m"], augment: Augment | None, *, seed: int, epoch: int
    ) -> Float[Tensor, "m c h w"]:
        """Those at `index`, each with draws of its own: as `Augment`."""
        images = self.floats(index)
        if augment is None:
            return images
        theta = augment.maps(index, seed=seed, epoch=epoch, height=images.shape[2], width=images.shape[3])
        return warp(images, sent(theta, images.device), turned=augment.rotation > 0)


def resident(images: ImageSet, augment: Augment | None, where: torch.device) -> Resident | None:
    """The set's bytes on the device; None where they do not fit, are no bytes, or would not be augmented to the same bits."""
    free = free_memory(where)
    if images.images.dtype != torch.uint8 or not len(images) or type(augment) not in (Augment, type(None)):
        return None
    if free is not None and images.images.numel() > _SHARE * free:
        return None
    levels = counting(256).float().div_(255).to(where)
    few = counting(min(len(images), _COMPARED))
    found = Resident(images.images[few].to(where), levels).augmented(few, augment, seed=0, epoch=0)
    if not torch.equal(found.cpu(), augmented(images.floats(few), augment, few, seed=0, epoch=0)):
        return None
    return Resident(images.images.to(where), levels)


def warp(images: Float[Tensor, "n c h w"], theta: Float[Tensor, "n 2 3"], *, turned: bool) -> Float[Tensor, "n c h w"]:
    """`Augment.warp` in steps that round alike on every device: as torch's own functions do on a processor with AVX2.

    Args:
        turned: a pixel is mixed of four; else it is moved.
    """
    count, channels, height, width = images.shape
    across, down = (_centres(size, images.device) for size in (width, height))
    rows = theta[:, :, :, None, None].unbind(1)
    places = []
    for (a, b, shift), size in zip((row.unbind(1) for row in rows), (width, height), strict=True):
        places.append(fused(across * a + down[:, None] * b + shift + 1, size / 2, -0.5))
    x, y = places
    flat = images.flatten(2)

    def at(column: Tensor, row: Tensor) -> Tensor:
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
        found = flat.gather(2, place.view(count, 1, -1).expand(-1, channels, -1)).view(count, channels, height, width)
        return found * inside[:, None]

    if not turned:
        return at(x.round(), y.round())
    left, top = x.floor(), y.floor()
    right, bottom = x - left, y - top  # how far it is from them: the weight of the pixels on the other side
    mixed = at(left, top) * ((1 - right) * (1 - bottom))[:, None]
    for column, row, weight in (
        (left + 1, top, right * (1 - bottom)),
        (left, top + 1, (1 - right) * bottom),
        (left + 1, top + 1, right * bottom),
    ):
        mixed = fused(at(column, row), weight[:, None], mixed)
    return mixed.clamp_(0, 1)


def _centres(size: int, where: torch.device) -> Float[Tensor, " size"]:
    """Of pixels, in [-1, 1], as `affine_grid` has them."""
    ends = torch.linspace(-1, 1, size, dtype=torch.float32, device="cpu")
    return (ends * ((size - 1) / size)).to(where)


def ahead(parts: Iterator[T]) -> Iterator[T]:
    """The same, the next one made in a thread while one is in use."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, parts, None)
        while (part := following.result()) is not None:
            following = thread.submit(next, parts, None)
            yield part
