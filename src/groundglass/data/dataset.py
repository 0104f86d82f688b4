"""A data set: images as bytes, their labels, and how a network should normalise and augment them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from groundglass.core import check_labels
from groundglass.core.settings import Positive, Settings, fit
from groundglass.data.augment import Augment

CHANNELS = 3
SIZE = 32  # pixels a side


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of a data set, in memory, as bytes.

    Attributes:
        name: the data set's name, "cifar10".
        split: "train" or "test".
        images: uint8 [n, 3, 32, 32], 0..255.
        labels: int64 [n], indices into `classes`.
        classes: the names of the classes.

    Raises:
        TypeError, ValueError: images or labels of another type or shape, or a label that is not a class.
    """

    name: str
    split: str
    images: UInt8[Tensor, "n 3 32 32"]
    labels: Int64[Tensor, " n"]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8:
            raise TypeError(f"an ImageSet holds bytes: images must be uint8 in 0..255, not {self.images.dtype}")
        if self.images.ndim != 4 or self.images.shape[1:] != (CHANNELS, SIZE, SIZE):
            raise ValueError(f"images must have shape [n, 3, 32, 32], not {list(self.images.shape)}")
        check_labels(self.labels, count=len(self.images), classes=len(self.classes))
        if self.labels.dtype != torch.int64:
            raise TypeError(f"labels must be int64, not {self.labels.dtype}: use labels.long()")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return f"ImageSet({self.name} {self.split}, {len(self)} images, {len(self.classes)} classes)"

    def floats(self, index: Tensor | slice | None = None) -> Float[Tensor, "m 3 32 32"]:
        """Images as float32 in [0, 1], NCHW: all, a slice, or those at `index`."""
        chosen = self.images if index is None else self.images[index]
        return chosen.float().div_(255)

    def head(self, n: int) -> "ImageSet":
        """The first `n` images (a view, not a copy).

        Raises:
            ValueError: `n` is negative or more than there are.
        """
        n = fit(int, n, "n")
        if not 0 <= n <= len(self):
            raise ValueError(f"`n` (={n}) must be in 0..{len(self)}: {self.name} {self.split} has {len(self)} images")
        return replace(self, images=self.images[:n], labels=self.labels[:n])


def check_image_set(images: object) -> None:
    """Refuse what is not an `ImageSet`, such as a tensor or a DataLoader.

    Raises:
        TypeError: says how to make one.
    """
    if not isinstance(images, ImageSet):
        hint = " Of a Dataset give .train or .test." if isinstance(images, Dataset) else ""
        raise TypeError(
            f"images must be an ImageSet, not a {type(images).__name__}.{hint} load('cifar10').train is one, and "
            f"ImageSet(name, split, images, labels, classes) makes one from uint8 [n, 3, 32, 32] and int64 labels"
        )


@dataclass(frozen=True, eq=False)
class Dataset(Settings):
    """A data set and how the paper treats it.

    Attributes:
        name: "cifar10", "cifar100" or "shapes".
        train, test: the two splits.
        mean, std: per channel, in pixel units [0, 1]: what the model normalises by, inside.
        augment: what training does to an image, or None.
    """

    name: str
    train: ImageSet
    test: ImageSet
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]
    augment: Augment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train.classes != self.test.classes:
            raise ValueError(f"train and test of {self.name} must have the same classes")

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.train.classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)
