"""Images that are not all in memory: read one by one when they are asked for, or as they come in a stream."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundglass.core import as_images, as_labels
from groundglass.core.given import check_bytes
from groundglass.core.platform import available_memory
from groundglass.data.dataset import MOST_CLASSES, ImageSet
from groundglass.data.items import Keys, image_of, images_of, is_batch, label_of, pair_of, stacked

#: The name of images that came without one.
UNNAMED = "given"


def in_memory(
    images: Tensor, labels: Any, *, name: str = UNNAMED, split: str = "train", classes: tuple[str, ...] = ()
) -> ImageSet:
    """An image set of images that are all here.

    Args:
        images: [n, c, h, w], uint8 or floats in [0, 1]. Bytes stay bytes.
        labels: see `as_labels`.
        classes: their names; none are numbered, as far as the labels go.

    Raises:
        TypeError, ValueError: as `ImageSet`.
    """
    if images.dtype == torch.uint8:
        check_bytes(images)
    kept = images.detach().contiguous() if images.dtype == torch.uint8 else as_images(images)
    known = as_labels(labels, kept).cpu()
    return ImageSet(name, split, kept.cpu(), known, classes or _numbered(known))


def _numbered(labels: Tensor) -> tuple[str, ...]:
    count = 1 + int(labels.max()) if len(labels) else 0
    if count > MOST_CLASSES:
        raise ValueError(f"labels must be class indices, and these go up to {count - 1}: number the classes from 0")
    return tuple(map(str, range(max(2, count))))


class IndexedImages:
    """The items of a data set by their number, each read when it is asked for: what is random in reading it is random anew.

    Args:
        data: has a length, and item k is an image with its label, see `pair_of`.
        name, split: what to call it.
        classes: the names of the classes, where they are known.
        keys: see `pair_of`.
    """

    def __init__(
        self,
        data: Any,
        *,
        name: str = UNNAMED,
        split: str = "train",
        classes: tuple[str, ...] = (),
        keys: Keys | None = None,
    ) -> None:
        self.name, self.split, self.classes = name, split, classes
        self._data, self._keys = data, keys
        if len(data):
            self._item(0)  # what is no image with a label is refused at once

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"IndexedImages({self.name} {self.split}, {len(self)} images)"

    def take(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The images at `index`, float32 [m, c, h, w] in [0, 1], and their labels, int64 [m].

        Raises:
            TypeError, ValueError: what they are is not understood; says what to do.
        """
        found = [self._item(place) for place in index.tolist()]
        return _checked(stacked([image for image, _ in found]), [label for _, label in found])

    def first(self, n: int) -> ImageSet:
        """The first `n`, or all where there are fewer, in memory.

        Raises:
            ValueError: they do not fit; else as `take`.
        """
        return _named(self, *self.raw(n))

    def raw(self, n: int | None = None) -> tuple[Tensor, np.ndarray]:
        """The first `n`, or all, in memory as they are: images [m, c, h, w] of the type and range they have, and labels."""
        count = len(self) if n is None else min(n, len(self))
        return _collected((self._item(place) for place in range(count)), count, self)

    def _item(self, place: int) -> tuple[Tensor, np.ndarray]:
        image, label = pair_of(self._data[place], self._keys)
        return image_of(image), label_of(label)


class StreamedImages:
    """Images that can be walked through again and again, in the order in which they come: nothing else is kept in memory.

    Args:
        data: each walk gives batches, or single items, of images with their labels, see `pair_of`.
        length: images in a walk; None counts them, by a walk, when the number is first asked for.
        batched: whether it gives batches; None looks at each.
        name, split, classes, keys: as of `IndexedImages`.
    """

    def __init__(
        self,
        data: Iterable[Any],
        *,
        length: int | None = None,
        batched: bool | None = None,
        name: str = UNNAMED,
        split: str = "train",
        classes: tuple[str, ...] = (),
        keys: Keys | None = None,
    ) -> None:
        self.name, self.split, self.classes = name, split, classes
        self._data, self._keys, self._batched, self._length = data, keys, batched, length

    def __len__(self) -> int:
        if self._length is None:
            self._length = sum(len(labels) for _, labels in self.walk(500))
        return self._length

    def __repr__(self) -> str:
        return f"StreamedImages({self.name} {self.split})"

    def walk(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All of it once, so many images at a time, the last time what is left: as `IndexedImages.take` gives them.

        Raises:
            TypeError, ValueError: what they are is not understood; there are none, as when a generator is at its end.
        """
        held: list[tuple[Tensor, list[np.ndarray]]] = []
        count, found = 0, False
        for images, labels in self._pieces():
            held.append((images, labels))
            count, found = count + len(images), True
            while count >= batch_size:
                pixels, names = _joined(held)
                yield _checked(pixels[:batch_size], names[:batch_size])
                count -= batch_size
                held = [(pixels[batch_size:], names[batch_size:])] if count else []
        if count:
            yield _checked(*_joined(held))
        if not found:
            raise ValueError(
                f"{self!r} gave no images: it is empty, or a generator that was walked through before. Each walk must begin "
                "again: give a DataLoader, or an object whose __iter__ does"
            )

    def first(self, n: int) -> ImageSet:
        """The first `n`, or all where there are fewer, in memory."""
        return _named(self, *self.raw(n))

    def raw(self, n: int | None = None) -> tuple[Tensor, np.ndarray]:
        """As of `IndexedImages`. Of a stream without an end there is no all."""

        def items() -> Iterator[tuple[Tensor, np.ndarray]]:
            for images, labels in self._pieces():
                yield from zip(images, labels, strict=True)

        return _collected(items(), n, self)

    def _pieces(self) -> Iterator[tuple[Tensor, list[np.ndarray]]]:
        """As they come: images [m, c, h, w] of the type they have, and m labels."""
        for piece in self._data:
            image, label = pair_of(piece, self._keys)
            if is_batch(image) if self._batched is None else self._batched:
                images, labels = images_of(image), label_of(label)
                if labels.ndim == 0 or len(labels) != len(images):
                    raise ValueError(
                        f"a batch has {len(images)} images and labels of shape {list(labels.shape)}: one an image"
                    )
                yield images, list(labels)
            else:
                yield image_of(image)[None], [label_of(label)]


def _joined(held: list[tuple[Tensor, list[np.ndarray]]]) -> tuple[Tensor, list[np.ndarray]]:
    if len(held) == 1:
        return held[0]
    for images, _ in held[1:]:
        if images.shape[1:] != held[0][0].shape[1:]:
            stacked([held[0][0][0], images[0]])  # says so
    return torch.cat([images for images, _ in held]), [label for _, labels in held for label in labels]


def _checked(images: Tensor, labels: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    floats = as_images(images)
    return floats, as_labels(np.stack(labels), floats)


def _collected(
    items: Iterable[tuple[Tensor, np.ndarray]], most: int | None, source: IndexedImages | StreamedImages
) -> tuple[Tensor, np.ndarray]:
    """The first of some items side by side."""
    pixels: list[Tensor] = []
    labels: list[np.ndarray] = []
    for image, label in items:
        if not pixels and most is not None:
            _check_room(most, image, source)
        if len(pixels) == most:
            break
        pixels.append(image)
        labels.append(label)
    if not pixels:
        raise ValueError(f"{source!r} gave no images")
    return stacked(pixels), np.stack(labels)


def _named(source: IndexedImages | StreamedImages, images: Tensor, labels: np.ndarray) -> ImageSet:
    return in_memory(images, labels, name=source.name, split=source.split, classes=tuple(source.classes))


def _check_room(count: int, image: Tensor, source: IndexedImages | StreamedImages) -> None:
    # As they are read, and once more side by side.
    size, memory = 2 * count * image.numel() * image.element_size(), available_memory()
    if isinstance(source, IndexedImages) and memory is not None and size > memory:
        raise ValueError(
            f"{count:,} images of {list(image.shape)} take {size / 2**30:.1f} GiB of memory, and {memory / 2**30:.1f} are free: "
            "use fewer, the name followed by [:1000], or smaller ones"
        )
