"""Seeded batches of an epoch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from groundglass.core import counting, generator, permutation
from groundglass.core.settings import Count, Tally, fit
from groundglass.data.augment import Augment, augmented
from groundglass.data.dataset import ImageSet
from groundglass.data.given import Images
from groundglass.data.on_card import ahead, resident
from groundglass.data.sources import IndexedImages, StreamedImages


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of an image set: images in [0, 1], their labels, and the place of each in its set; both on the CPU."""

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
    where: torch.device | None = None,
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
        where: the device on which the images come, None for the CPU. On a card they are the same, bit for bit: see `on_card`.

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
        return _moved(_streamed(images, batch_size, seed, epoch, augment), where)
    count = len(images)
    order = permutation(count, generator=generator(seed, "batches", epoch)) if shuffle else counting(count)
    parts = order.split(batch_size) if count else ()
    if isinstance(images, IndexedImages):
        return _moved(_read(images, parts[start:], seed, epoch, augment), where)
    return _of_set(images, parts[start:], seed, epoch, augment, where)


def _of_set(
    images: ImageSet,
    parts: tuple[Tensor, ...],
    seed: int,
    epoch: int,
    augment: Augment | None,
    where: torch.device | None,
) -> Iterator[Batch]:
    def walk(take: Callable[[Tensor], Tensor]) -> Iterator[Batch]:
        return (Batch(take(index), images.labels[index], index) for index in parts)

    on_cpu = walk(lambda index: augmented(images.floats(index), augment, index, seed=seed, epoch=epoch))
    if where is None or where.type == "cpu":
        return on_cpu
    kept = resident(images, augment, where)
    if kept is None:
        return _moved(ahead(replace(batch, images=batch.images.pin_memory()) for batch in on_cpu), where)
    return walk(partial(kept.augmented, augment=augment, seed=seed, epoch=epoch))


def _moved(found: Iterator[Batch], where: torch.device | None) -> Iterator[Batch]:
    """On the device. What was pinned is moved while the card is at work."""
    if where is None or where.type == "cpu":
        return found
    return (replace(batch, images=batch.images.to(where, non_blocking=True)) for batch in found)


def _read(
    images: IndexedImages, parts: tuple[Tensor, ...], seed: int, epoch: int, augment: Augment | None
) -> Iterator[Batch]:
    for index in parts:
        pixels, labels = images.take(index)
        yield Batch(augmented(pixels, augment, index, seed=seed, epoch=epoch), labels, index)


def _streamed(
    images: StreamedImages, batch_size: int, seed: int, epoch: int, augment: Augment | None
) -> Iterator[Batch]:
    done = 0
    for pixels, labels in images.walk(batch_size):
        index = counting(len(labels)) + done
        done += len(labels)
        yield Batch(augmented(pixels, augment, index, seed=seed, epoch=epoch), labels, index)
