"""Images of the user's own, in whatever form they are, as the package uses them."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data import Dataset as TorchDataset

from groundglass.core import as_images, as_labels
from groundglass.core.bounds import Bounds
from groundglass.data.dataset import Dataset, ImageSet
from groundglass.data.image_files import read_sets
from groundglass.data.items import Keys, images_of, is_batch, pair_of
from groundglass.data.sources import UNNAMED, IndexedImages, StreamedImages, in_memory

#: What the package walks through.
Images: TypeAlias = ImageSet | IndexedImages | StreamedImages

#: What `given` takes.
ImagesLike: TypeAlias = Images | str | Path | Mapping[str, Any] | TorchDataset[Any] | Iterable[Any]

_ARRAYS = (Tensor, np.ndarray)
_SHUFFLED = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)


def given(
    data: ImagesLike, *, split: str = "train", classes: tuple[str, ...] | None = None, keys: Keys | None = None
) -> Images:
    """Images with their labels, of any size, number of channels and classes, in any of these forms.

    - `(images, labels)`: tensors or arrays, or a dict of them, or a `TensorDataset`. They stay in memory.
    - a path: an .npz file with `images` and `labels`, which is read into memory; a folder with a folder of pictures for each
      class, which are read one by one when they are needed.
    - anything with a length whose item k is an image with its label: a `torch.utils.data.Dataset`, one of torchvision or of
      Hugging Face's datasets, a list. Items are read when they are needed: memory holds a batch, and random transforms draw anew.
    - a `DataLoader`, an `IterableDataset`, or anything else that can be walked through again and again, of items or batches. Its
      order is its own. How many images a step takes is said by whoever asks, not by the loader.

    Images are uint8 in 0..255, or floats of any width in [0, 1], [channels, height, width]; Pillow images; arrays of numpy may
    have their channels last. Labels are class indices of any integer type, or one-hot. Items may be dicts.

    Args:
        split: what to call it in messages.
        classes: names of the classes; None: as the data has them, else numbers.
        keys: the places of image and label in an item, if they are not plain: `("img", "fine_label")`, `(0, 2)`.

    Raises:
        TypeError, ValueError: it is none of these, or images are in another range: normalised, or floats in 0..255. Says what to
            do. Of what is not in memory, when it is read.
        FileNotFoundError, DamagedFileError: of a path.
    """
    if isinstance(data, ImageSet | IndexedImages | StreamedImages):
        return data
    if isinstance(data, Dataset):
        raise TypeError(f"{data.name} has two splits: give its .train or .test")
    if isinstance(data, str | Path):
        return _of_path(data)
    return _of_object(data, split, classes, keys)


def images_and_labels(
    images: Any, labels: Any = None, *, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[Tensor, Tensor]:
    """Images and their labels in memory, as attacks take them.

    Args:
        images: a tensor or an array, as `as_images` takes it; or a set in any form that `given` takes, whose labels come with it.
        labels: of a tensor or an array, as `as_labels` takes them; of a set None.
        bounds: the range of float images. What the package has read itself, from a file or a folder, is in [0, 1], and is brought
            into them.

    Returns:
        Images float32 [n, c, h, w] in `bounds`, and labels int64 [n].

    Raises:
        TypeError, ValueError: labels are missing, or are given twice; a loader that shuffles, of whose images nobody could say
            which is which; else as `given`, `as_images` and `as_labels`.
    """
    if isinstance(images, _ARRAYS):
        if labels is None:
            raise TypeError(
                "`labels` are missing: give images and labels, or (images, labels), a Dataset or a DataLoader in place of images"
            )
        found, known = as_images(images, bounds=bounds), labels
    elif labels is not None:
        raise TypeError(
            f"where `labels` are given, images must be a torch.Tensor or an array, not a {type(images).__name__}: of a set, "
            "which has labels of its own, leave out `labels`"
        )
    else:
        found, known = _raw(images, bounds)
        found = as_images(found, bounds=bounds)
    return found, as_labels(known, found)


def first_of(data: ImagesLike, n: int, *, bounds: tuple[float, float] = (0.0, 1.0)) -> ImageSet:
    """What is in memory already, or the first `n` of what is not, as an image set.

    Args:
        bounds: of float images, as of `images_and_labels`; those of the set are in [0, 1].
    """
    pair = _plain(data, None)
    if bounds == (0, 1) or isinstance(data, ImageSet | str | Path):
        found = given(data)
        return found if isinstance(found, ImageSet) else found.first(n)
    if _is_pair(pair):
        images, labels = images_of(pair[0]), pair[1]
    else:
        source = given(data)
        assert not isinstance(source, ImageSet)
        images, labels = source.raw(n)
    if images.dtype != torch.uint8:
        images = Bounds(*bounds).inside_unit(as_images(images, bounds=bounds))
    return in_memory(images, labels)


def _raw(data: Any, bounds: tuple[float, float]) -> tuple[Tensor, Any]:
    """All images of a set, of the type and range they have."""
    pair = _plain(data, None)
    if _is_pair(pair):
        return images_of(pair[0]), pair[1]
    if isinstance(data, DataLoader) and isinstance(data.sampler, _SHUFFLED):
        raise ValueError(
            "the DataLoader draws the order of its images anew at each walk, and a result has a row an image: give one with "
            "shuffle=False, or its data set, loader.dataset"
        )
    found = given(data)
    if not isinstance(found, ImageSet):
        return found.raw()
    return Bounds(*bounds).from_unit(found.floats()), found.labels


def _plain(data: Any, keys: Keys | None) -> Any:
    """Of a TensorDataset or a dict the images and the labels; anything else as it is."""
    if isinstance(data, TensorDataset):
        data = data.tensors
    return _arrays(data, keys) if isinstance(data, Mapping) else data


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], _ARRAYS)


def _of_object(data: Any, split: str, classes: tuple[str, ...] | None, keys: Keys | None) -> Images:
    told: dict[str, Any] = {"split": split, "classes": tuple(classes or _classes(data)), "keys": keys}
    data = _plain(data, keys)
    if _is_pair(data):
        return in_memory(images_of(data[0]), data[1], split=split, classes=told["classes"])
    told["name"] = type(getattr(data, "dataset", data)).__name__
    if isinstance(data, DataLoader):
        return StreamedImages(data, length=_length(data), batched=data.batch_size is not None or None, **told)
    if isinstance(data, Iterator):
        raise TypeError(
            f"a {type(data).__name__} can be walked through once: give a DataLoader, a list, or an object whose __iter__ begins "
            "again"
        )
    if isinstance(data, _ARRAYS) or (not hasattr(data, "__iter__") and not hasattr(data, "__getitem__")):
        what = "images without labels" if isinstance(data, _ARRAYS) else f"a {type(data).__name__}"
        raise TypeError(
            f"a set of images must be (images, labels), a Dataset, a DataLoader, or the path of a file or folder, not {what}"
        )
    if isinstance(data, IterableDataset) or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        return StreamedImages(data, **told)
    if isinstance(data, list | tuple) and data and is_batch(pair_of(data[0], keys)[0]):
        return StreamedImages(data, batched=True, **told)
    return IndexedImages(data, **told)


def identity(images: Images) -> str:
    """What a checkpoint says of its images. Those in memory without a name are known by what they are."""
    if isinstance(images, ImageSet) and images.name == UNNAMED:
        return f"{len(images)} images {digest(images)}"
    return f"{images.name} {images.split} {len(images)}"


def digest(*sets: ImageSet) -> str:
    """Names images and labels by their values: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for images in sets:
        found.update(f"{images.images.dtype} {tuple(images.images.shape)} {images.classes}".encode())
        found.update(images.images.contiguous().view(torch.uint8).numpy().data)
        found.update(images.labels.contiguous().numpy().data)
    return found.hexdigest()[:16]


def _of_path(path: str | Path) -> Images:
    sets = read_sets(Path(path))
    if len(sets) > 1:
        where = " or ".join(f"groundglass.data.load({str(path)!r}).{split}" for split in sets)
        raise ValueError(f"{path} has several splits: give {where}")
    return next(iter(sets.values()))


def _arrays(data: Mapping[str, Any], keys: Keys | None) -> tuple[Any, Any]:
    first = next(iter(data.values()), None)
    if keys is None and not isinstance(first, _ARRAYS) and hasattr(first, "__getitem__") and "train" in data:
        raise TypeError(f"it has several splits, {', '.join(map(repr, data))}: give one, data['train']")
    return pair_of(data, keys)


def _classes(data: Any) -> tuple[str, ...]:
    """The names of the classes, where a data set has them as torchvision's do."""
    found = getattr(getattr(data, "dataset", data), "classes", None)
    return tuple(map(str, found)) if isinstance(found, list | tuple) else ()


def _length(loader: "DataLoader[Any]") -> int | None:
    """Images in a walk through a loader, where that is plain."""
    if (
        isinstance(loader.dataset, IterableDataset)
        or loader.batch_size is None
        or not hasattr(loader.sampler, "__len__")
    ):
        return None
    sampler: Any = loader.sampler
    count = len(sampler)
    return count // loader.batch_size * loader.batch_size if loader.drop_last else count
