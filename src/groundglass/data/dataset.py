"""A data set: images of one size, their labels, and how a network should normalise and augment them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from groundglass.core import check_images, check_labels
from groundglass.core.settings import Positive, Settings, fit
from groundglass.data.augment import Augment

CHANNELS = 3
SIZE = 32  # pixels a side


#: More classes than this are labels by mistake: ids, or pixels.
MOST_CLASSES = 100_000


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels, in memory: one split of a data set.

    Attributes:
        name: the data set's name, "cifar10".
        split: "train" or "test".
        images: uint8 [n, c, h, w], 0..255, or float32 in [0, 1].
        labels: int64 [n], indices into `classes`.
        classes: the names of the classes.

    Raises:
        TypeError, ValueError: images or labels of another type or shape, or a label that is not a class.
    """

    name: str
    split: str
    images: UInt8[Tensor, "n c h w"] | Float[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype not in (torch.uint8, torch.float32):
            raise TypeError(
                f"an ImageSet holds bytes in 0..255 or float32 in [0, 1], not {self.images.dtype}: "
                "groundglass.data.given((images, labels)) takes others"
            )
        if self.images.ndim != 4 or 0 in self.images.shape[1:] or channels_last(self.images.shape[1:]):
            raise ValueError(
                f"images must have shape [n, channels, height, width], not {list(self.images.shape)}: of images with their "
                "channels last that is images.permute(0, 3, 1, 2)"
            )
        if self.images.dtype == torch.float32:
            check_images(self.images)
        check_labels(self.labels, count=len(self.images), classes=len(self.classes))
        if self.labels.dtype != torch.int64:
            raise TypeError(f"labels must be int64, not {self.labels.dtype}: use labels.long()")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"ImageSet({self.name} {self.split}, {len(self)} images, {len(self.classes)} classes)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def floats(self, index: Tensor | slice | None = None) -> Float[Tensor, "m c h w"]:
        """Images as float32 in [0, 1], NCHW: all, a slice, or those at `index`. A copy."""
        chosen = self.images if index is None else self.images[index]
        if chosen.dtype == torch.float32:
            return chosen.clone() if index is None or isinstance(index, slice) else chosen
        return chosen.float().div_(255)

    def take(self, index: Int64[Tensor, " m"]) -> tuple[Float[Tensor, "m c h w"], Int64[Tensor, " m"]]:
        """Images as floats, and their labels."""
        return self.floats(index), self.labels[index]

    def head(self, n: int) -> "ImageSet":
        """The first `n` images (a view, not a copy).

        Raises:
            ValueError: `n` is negative or more than there are.
        """
        n = fit(int, n, "n")
        if not 0 <= n <= len(self):
            raise ValueError(f"`n` (={n}) must be in 0..{len(self)}: {self.name} {self.split} has {len(self)} images")
        return replace(self, images=self.images[:n], labels=self.labels[:n])

    def first(self, n: int) -> "ImageSet":
        """The first `n` images, or all where there are fewer."""
        return self.head(min(n, len(self)))


def channels_last(shape: Sequence[int]) -> bool:
    """Whether the shape of an image is [height, width, channels], and cannot be [channels, height, width]."""
    return len(shape) == 3 and shape[2] in (1, 3, 4) and shape[0] not in (1, 3, 4)


@dataclass(frozen=True, eq=False)
class Dataset(Settings):
    """A data set and how the paper treats it.

    Attributes:
        name: "cifar10", "cifar100", "shapes", or what `load` calls a file or folder of the user's.
        train, test: the two splits.
        mean, std: per channel, in pixel units [0, 1]: what the model normalises by, inside.
        augment: what training does to an image, or None.

    Raises:
        ValueError: splits of different classes or sizes; a mean or std that is not one a channel.
    """

    name: str
    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    augment: Augment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train.classes != self.test.classes:
            raise ValueError(f"train and test of {self.name} must have the same classes")
        if self.train.shape != self.test.shape:
            raise ValueError(
                f"train and test of {self.name} must have images of one size, not {list(self.train.shape)} and "
                f"{list(self.test.shape)}"
            )
        if not len(self.mean) == len(self.std) == self.train.shape[0]:
            raise ValueError(
                f"mean {self.mean} and std {self.std} of {self.name} must have one value a channel: {self.train.shape[0]}"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.train.classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an image, pixels."""
        return self.train.shape[1:]

    def first(self, n: int) -> "Dataset":
        """The first `n` images of each split, or all where there are fewer."""
        return replace(self, train=self.train.first(n), test=self.test.first(n))
