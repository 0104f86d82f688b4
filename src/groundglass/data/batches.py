"""Seeded batches of an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.core import counting, generator, permutation
from groundglass.core.settings import Count, Tally, fit
from groundglass.data.augment import Augment
from groundglass.data.dataset import ImageSet
from groundglass.data.given import Images
from groundglass.data.sources import IndexedImages, StreamedImages


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of an image set: images in [0, 1], their labels, and the place of each in its set."""

    images: Float[Tensor, "b c h w"]
    labels: Int64[Tensor, " b"]
    index: Int64[Tensor, " b"]

    def __len__(self) -> int:
        return len(self.labels)


def batches(
    images: Images,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    augment: Augment | None = None,
    shuffle: bool = True,
    start: int = 0,
) -> Iterator[Batch]:
    """One epoch: every image once, the last batch as small as what is left.

    The order depends on (seed, epoch) alone, so a resumed run sees what the uninterrupted one would have seen. That of a stream
    is its own, and an image's place is that in the stream.

    Args:
        images: see `given`.
        epoch: from 0; another epoch, another order and other augmentations.
        augment: what is done to each image, or None.
        shuffle: False keeps the set's order. Of no effect on a stream.
        start: the first batch to make; those before it are skipped.

    Raises:
        ValueError: `batch_size` below 1, `epoch` or `start` below 0 (at the call, not at the first batch); a stream with a
            `start`.
    """
    batch_size, epoch, start = (
        fit(Count, batch_size, "batch_size"),
        fit(Tally, epoch, "epoch"),
        fit(Tally, start, "start"),
    )
    if isinstance(images, StreamedImages):
        if start:
            raise ValueError("a stream is walked from its beginning: `start` is for images that have an order of ours")
        return _streamed(images, batch_size, seed, epoch, augment)
    count = len(images)
    order = permutation(count, generator=generator(seed, "batches", epoch)) if shuffle else counting(count)
    parts = order.split(batch_size) if count else ()
    return _walk(images, parts[start:], seed, epoch, augment)


def _walk(
    images: ImageSet | IndexedImages, parts: tuple[Tensor, ...], seed: int, epoch: int, augment: Augment | None
) -> Iterator[Batch]:
    for index in parts:
        pixels, labels = images.take(index)
        yield Batch(_augmented(pixels, index, seed, epoch, augment), labels, index)


def _streamed(
    images: StreamedImages, batch_size: int, seed: int, epoch: int, augment: Augment | None
) -> Iterator[Batch]:
    done = 0
    for pixels, labels in images.walk(batch_size):
        index = counting(len(labels)) + done
        done += len(labels)
        yield Batch(_augmented(pixels, index, seed, epoch, augment), labels, index)


def _augmented(pixels: Tensor, index: Tensor, seed: int, epoch: int, augment: Augment | None) -> Tensor:
    return pixels if augment is None else augment(pixels, index, seed=seed, epoch=epoch)
