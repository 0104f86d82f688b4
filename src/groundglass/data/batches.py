"""Seeded batches of an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.core import counting, generator, permutation
from groundglass.core.settings import Count, Tally, fit
from groundglass.data.augment import Augment
from groundglass.data.dataset import ImageSet


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of an image set: images in [0, 1], their labels, and the place of each in its set."""

    images: Float[Tensor, "b 3 32 32"]
    labels: Int64[Tensor, " b"]
    index: Int64[Tensor, " b"]

    def __len__(self) -> int:
        return len(self.labels)


def batches(
    images: ImageSet,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: Augment | None = None,
    shuffle: bool = True,
    start: int = 0,
) -> Iterator[Batch]:
    """One epoch: every image once, the last batch as small as what is left.

    The order depends on (seed, epoch) alone, so a resumed run sees what the uninterrupted one would have seen.

    Args:
        epoch: from 0; another epoch, another order and other augmentations.
        augment: what is done to each image, or None.
        shuffle: False keeps the set's order.
        start: the first batch to make; those before it are skipped.

    Raises:
        ValueError: `batch_size` below 1, `epoch` or `start` below 0 (at the call, not at the first batch).
    """
    batch_size, epoch, start = (
        fit(Count, batch_size, "batch_size"),
        fit(Tally, epoch, "epoch"),
        fit(Tally, start, "start"),
    )
    count = len(images)
    order = permutation(count, generator=generator(seed, "batches", epoch)) if shuffle else counting(count)
    parts = order.split(batch_size) if count else ()
    return _walk(images, parts[start:], seed, epoch, augment)


def _walk(
    images: ImageSet, parts: tuple[Tensor, ...], seed: int, epoch: int, augment: Augment | None
) -> Iterator[Batch]:
    for index in parts:
        pixels = images.floats(index)
        if augment is not None:
            pixels = augment(pixels, index, seed=seed, epoch=epoch)
        yield Batch(pixels, images.labels[index], index)
