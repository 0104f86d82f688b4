"""One image with its label, or a batch of them, in whatever form a data set gives them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundglass.core.given import as_tensor
from groundglass.data.dataset import channels_last

#: Where an image and its label are in an item: two keys of a dict, or two places of a tuple.
Keys = tuple[str | int, str | int]

_IMAGES = ("image", "images", "img", "pixel_values", "x")
_LABELS = ("label", "labels", "target", "targets", "y")
_GREY, _DEEP = ("L", "1", "LA"), ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def pair_of(item: Any, keys: Keys | None = None) -> tuple[Any, Any]:
    """The image and the label in an item of a data set, or the images and labels in a batch.

    Args:
        item: a pair, or a dict with one of the usual names for each: "image" and "label", "img", "pixel_values", "target".
        keys: where they are, if they are elsewhere.

    Raises:
        TypeError: it does not show which they are; says what to give.
    """
    if keys is not None:
        try:
            return item[keys[0]], item[keys[1]]
        except (KeyError, IndexError, TypeError) as error:
            raise TypeError(f"an item is {_said(item)}, and has no {keys[0]!r} and {keys[1]!r} (`keys`)") from error
    if isinstance(item, Mapping):
        image, label = ([name for name in names if name in item] for names in (_IMAGES, _LABELS))
        if len(image) == len(label) == 1:
            return item[image[0]], item[label[0]]
    elif isinstance(item, tuple | list) and len(item) == 2:
        return item[0], item[1]
    raise TypeError(
        f"an item is {_said(item)}, and not an image with its label: say where they are, "
        "groundglass.data.given(data, keys=('img', 'fine_label')) or keys=(0, 1)"
    )


def _said(item: Any) -> str:
    if isinstance(item, Mapping):
        return f"a dict of {', '.join(map(repr, item))}"
    if isinstance(item, tuple | list):
        return f"a {type(item).__name__} of {len(item)}"
    return f"a {type(item).__name__} alone"


def image_of(value: Any) -> Tensor:
    """One image, [c, h, w], of the type that it had: of a Pillow image (grey, or else RGB), an array or a tensor.

    Arrays of numpy may have their channels last, as Pillow's have. A single plane is a grey image.

    Raises:
        TypeError: anything else.
        ValueError: a tensor with its channels last, more than 8 bits a pixel, or another shape.
    """
    if not isinstance(value, Tensor | np.ndarray):
        value = unpacked(value)
    if isinstance(value, np.ndarray):
        if channels_last(value.shape):
            value = value.transpose(2, 0, 1)
        value = as_tensor(value)
    if not isinstance(value, Tensor):
        raise TypeError(f"images must be floats in [0, 1] or uint8, not {value.dtype}")
    if value.ndim == 2:
        return value[None]
    if value.ndim != 3 or channels_last(value.shape):
        raise ValueError(
            f"an image must be [channels, height, width], not {list(value.shape)}: permute it in the data set"
        )
    return value


def images_of(value: Any) -> Tensor:
    """A batch of images, [n, c, h, w], of the type that it had; see `image_of`."""
    if isinstance(value, list | tuple):
        return stacked([image_of(each) for each in value])
    if isinstance(value, np.ndarray):
        if value.ndim == 4 and channels_last(value.shape[1:]):
            value = value.transpose(0, 3, 1, 2)
        value = as_tensor(value)
    if not isinstance(value, Tensor):
        raise TypeError(f"images must be a tensor or an array of numbers, not a {type(value).__name__}")
    return value[:, None] if value.ndim == 3 else value


def stacked(images: Sequence[Tensor]) -> Tensor:
    """A batch of single images.

    Raises:
        ValueError: they are of different sizes.
    """
    first, shapes = images[0], {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        odd = next(shape for shape in shapes if shape != tuple(first.shape))
        raise ValueError(
            f"images must be of one size, not {list(first.shape)} and {list(odd)} [channels, height, width]: resize or crop "
            "them in the data set"
        )
    return torch.stack(list(images))


def label_of(value: Any) -> np.ndarray:
    """One label as an array: of a number of any kind, or one-hot.

    Raises:
        TypeError: text, or anything else that is no number.
    """
    found = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    if found.dtype.kind not in "iubf":
        raise TypeError(
            f"labels must be class indices, integers from 0, not {value!r:.40}: number the classes in the data set"
        )
    return found


def is_batch(images: Any) -> bool:
    """Whether they are several, by their dimensions: single planes side by side are taken for one image."""
    return getattr(images, "ndim", 0) == 4 or isinstance(images, list | tuple)


def unpacked(picture: Any) -> np.ndarray:
    """The bytes of a Pillow image: [h, w] of a grey one, else [h, w, 3].

    Raises:
        TypeError: not a Pillow image.
        ValueError: more than 8 bits a channel.
    """
    if not type(picture).__module__.startswith("PIL."):
        raise TypeError(f"an image must be a tensor, an array or a Pillow image, not a {type(picture).__name__}")
    if is_deep(picture):
        raise ValueError(f"an image has more than 8 bits a pixel (mode {picture.mode}): make floats in [0, 1] of it")
    wanted = "L" if is_grey(picture) else "RGB"
    return np.array(picture if picture.mode == wanted else picture.convert(wanted))


def is_deep(picture: Any) -> bool:
    """Whether a Pillow image has more than 8 bits a channel."""
    return picture.mode in _DEEP


def is_grey(picture: Any) -> bool:
    """Whether a Pillow image has no colours."""
    return picture.mode in _GREY
