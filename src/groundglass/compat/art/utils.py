"""`from groundglass.compat.art.utils import load_mnist`: data sets as ART hands them out."""

from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from groundglass.compat.local_images import known
from groundglass.compat.missing import missing
from groundglass.core.given import as_tensor
from groundglass.data import ImageSet

__all__ = ["load_cifar10", "load_dataset", "load_mnist", "to_categorical"]

Floats = NDArray[np.float32]
Split = tuple[Floats, Floats]


def load_dataset(name: str) -> tuple[Split, Split, float, float]:
    """Training and test images, [n, h, w, c] in [0, 1], each with one-hot labels; and the range of the images.

    Args:
        name: "mnist", a file mnist.npz (x_train, y_train, x_test, y_test) in `GROUNDGLASS_DATA` or the cache; "cifar10", ...

    Raises:
        ValueError, FileNotFoundError: it is not there; says what to put where.
    """
    data = known(name)

    def split(images: ImageSet) -> Split:
        x: Any = images.floats().permute(0, 2, 3, 1).contiguous().numpy()
        return x, to_categorical(images.labels, data.num_classes)

    return split(data.train), split(data.test), 0.0, 1.0


def load_mnist() -> tuple[Split, Split, float, float]:
    """`load_dataset("mnist")`."""
    return load_dataset("mnist")


def load_cifar10() -> tuple[Split, Split, float, float]:
    """`load_dataset("cifar10")`."""
    return load_dataset("cifar10")


def to_categorical(labels: Any, nb_classes: int | None = None) -> Floats:
    """One-hot rows, [n, classes]."""
    found: Any = F.one_hot(as_tensor(labels).long(), nb_classes or -1).float().numpy()
    return found


__getattr__ = missing(__name__, "art.utils", __all__)
