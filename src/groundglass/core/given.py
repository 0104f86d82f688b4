"""What a caller gives, as the package uses it: accepted where its meaning is clear, else refused with what to write."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundglass.core.checks import check_images, check_labels

# What an entry of a dict is called that is no logits, though it has a row an image.
_FEATURES = ("pool", "feature", "embed", "hidden", "state", "attention")


class OutputError(TypeError, ValueError):
    """A model's output does not show which part of it are the logits. A `ValueError` too, which commands tell in a line."""


def as_images(images: Any, *, bounds: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Images of a tensor or a numpy array: float32 in [0, 1], or in `bounds`, without a graph, in one layout.

    Bytes are 0..255, from the lower bound to the upper: divided by 255. Floats of any width are within the bounds.

    Raises:
        TypeError, ValueError: as `check_images`; bytes of 0 and 1 alone, which may be black and white.
    """
    images, (least, most) = as_tensor(images), bounds
    if isinstance(images, Tensor) and images.dtype == torch.uint8:
        check_bytes(images)
        images = least + (most - least) * (images.float() / 255)
    check_images(images, bounds=bounds)
    # Rounding depends on the layout, and so does code that looks at pixels in a row.
    images = images.detach().float().contiguous()
    # Other libraries hand over images with float noise at the border; balls are exact from here on.
    low, high = torch.aminmax(images) if images.numel() else bounds
    return images if low >= bounds[0] and high <= bounds[1] else images.clamp(*bounds)


def check_bytes(images: Tensor) -> None:
    """Refuse bytes that are no pixels of 0..255.

    Raises:
        ValueError: they are 0 and 1 alone.
    """
    if images.numel() and int(images.max()) == 1:
        raise ValueError(
            "images are bytes of 0 and 1 alone, and bytes are 0..255: for black and white give images.float(), or "
            "images.float() / 255 if they are as dark as that"
        )


def as_labels(labels: Any, images: Tensor) -> Tensor:
    """One class an image, int64 [n], where the images are: from integers of any type and library, a column, or one-hot rows.

    Raises:
        TypeError, ValueError: as `check_labels`.
    """
    if isinstance(labels, list | tuple) and all(
        isinstance(label, int | np.integer) and not isinstance(label, bool) for label in labels
    ):
        labels = np.array(labels, dtype=np.int64)
    labels = as_tensor(labels)
    if isinstance(labels, Tensor) and labels.ndim == 2 and len(labels) == len(images):
        if labels.shape[1] == 1 and not labels.is_floating_point() and labels.dtype != torch.bool:
            labels = labels[:, 0]
        elif labels.shape[1] > 1 and bool(((labels == 0) | (labels == 1)).all()) and bool((labels.sum(1) == 1).all()):
            labels = labels.float().argmax(1)
    check_labels(labels, count=len(images))
    found: Tensor = labels.to(images.device, torch.int64)
    return found


def logits_of(output: Any) -> Any:
    """The logits in what a model returned.

    They are the tensor itself, or what is called "logits" in a dict, a named tuple, or an output class of Hugging Face or
    torchvision. Where nothing is called so they are the only float matrix: the first entry of a tuple, or one of a dict that
    is not called features, embeddings or the like.

    Raises:
        OutputError: a dict or a tuple that does not show which they are.
    """
    if isinstance(output, Tensor):
        return output
    found = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if found is None:
        found = _only_matrix(output)
    if isinstance(found, Tensor):
        return found
    if isinstance(output, Mapping | tuple | list):
        what = f"a dict of {', '.join(map(repr, output))}" if isinstance(output, Mapping) else f"{len(output)} things"
        which = repr(next(iter(output), "logits")) if isinstance(output, Mapping) else "0"
        raise OutputError(
            f"the model returns {what}, and it is not clear which are the logits: give lambda images: model(images)[{which}]"
        )
    return output


def _only_matrix(output: Any) -> Any:
    if isinstance(output, tuple | list) and len(output) == 1:
        return output[0]
    if isinstance(output, Mapping):
        entries = {str(name): one for name, one in output.items()}
    else:
        entries = {str(place): one for place, one in enumerate(output if isinstance(output, tuple | list) else ())}
    matrices = [
        name for name, one in entries.items() if isinstance(one, Tensor) and one.ndim == 2 and one.is_floating_point()
    ]
    if len(matrices) != 1 or any(word in matrices[0].lower() for word in _FEATURES):
        return None
    return entries[matrices[0]] if isinstance(output, Mapping) or matrices[0] == "0" else None


def as_tensor(values: Any) -> Any:
    """A numpy array's values as a tensor of its own; anything else as it is, but of inference mode a copy, outside of it.

    Raises:
        ValueError: whole numbers of 2^63 or more, which no tensor adds up.
    """
    if isinstance(values, Tensor) and values.is_inference():
        return values.clone()
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        return values
    if values.dtype.kind == "u" and values.size and int(values.max()) >= 2**63:
        raise ValueError("there are whole numbers of 2**63 or more: divide them, or give floats, x.astype(float)")
    kind = np.int64 if values.dtype.kind in "iu" and values.dtype != np.uint8 else values.dtype.newbyteorder("=")
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        kind = np.float64  # tensors are not wider
    return torch.from_numpy(np.array(values, dtype=kind, order="C"))
