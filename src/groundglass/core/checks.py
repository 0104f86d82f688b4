"""What an image batch, its labels and a radius must be; said before any work is done."""

import torch
from torch import Tensor

# Other libraries hand over images with float noise at the border: -3e-8 is not an error.
_RANGE_TOLERANCE = 1e-5


def check_images(images: Tensor) -> None:
    """Refuse anything but float NCHW images in [0, 1].

    Raises:
        TypeError: not a tensor.
        ValueError: wrong dimensions, dtype, range, or NaN; says which, and what to do.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a torch.Tensor, not {type(images).__name__}")
    if images.ndim != 4:
        raise ValueError(f"images must be NCHW [batch, channels, height, width], not shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"images must be float in [0, 1], not {images.dtype}: for bytes use images.float() / 255")
    if images.numel() == 0:
        return
    low, high = (float(v) for v in torch.aminmax(images.detach()))
    if low != low or high != high:
        raise ValueError("images contain NaN: look at them before they go into a model")
    if low < -_RANGE_TOLERANCE or high > 1 + _RANGE_TOLERANCE:
        if high > 2:
            hint = "they look like 0..255: divide by 255"
        elif low < 0:
            hint = "they look normalised, to [-1, 1] or by mean and std: undo that, the model normalises inside"
        else:
            hint = "clamp them or undo their scaling"
        raise ValueError(f"images must be in [0, 1], not [{low:.4g}, {high:.4g}]: {hint}")


def check_labels(labels: Tensor, *, count: int, classes: int | None = None) -> None:
    """Refuse anything but `count` integer labels in [0, classes)."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels must be a torch.Tensor, not {type(labels).__name__}")
    if labels.shape != (count,):
        raise ValueError(f"labels must have shape ({count},), one an image, not {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be integers, not {labels.dtype}: class indices, not scores")
    if count == 0:
        return
    low, high = (int(v) for v in torch.aminmax(labels))
    if low < 0 or (classes is not None and high >= classes):
        top = f"{classes - 1}" if classes is not None else "classes - 1"
        raise ValueError(f"labels must be in 0..{top}, not {low}..{high}")


def check_eps(eps: float, *, upper: float, unit: str) -> None:
    """Refuse a radius outside [0, upper] pixel units."""
    if not 0 <= eps <= upper:
        hint = ": pixel units, so 8/255, not 8" if eps >= 1 and upper == 1 else ""
        raise ValueError(f"`eps` (={eps:g}) must be in [0, {upper:g}] {unit}{hint}")
