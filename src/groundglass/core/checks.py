"""What an image batch, its labels and a radius must be; said before any work is done."""

import torch
from torch import Tensor, nn

# Other libraries hand over images with float noise at the border: -3e-8 is not an error.
_RANGE_TOLERANCE = 1e-5


class NonFiniteError(ValueError):
    """NaN or infinity where a model computes: anything counted from it means nothing."""


def check_images(images: Tensor, *, bounds: tuple[float, float] = (0.0, 1.0)) -> None:
    """Refuse anything but float NCHW images in [0, 1], or in `bounds`.

    Raises:
        TypeError: not a tensor.
        ValueError: wrong dimensions, dtype, range, or NaN; says which, and what to do.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"images must be a torch.Tensor, not {type(images).__name__}")
    if images.ndim != 4:
        hint = ": for a single image give images[None]" if images.ndim == 3 else ""
        raise ValueError(f"images must be NCHW [batch, channels, height, width], not shape {tuple(images.shape)}{hint}")
    if not images.is_floating_point():
        scaled = "images.float()" if bounds == (0, 255) else "images.float() / 255"
        raise ValueError(
            f"images must be float in [{bounds[0]:g}, {bounds[1]:g}], not {images.dtype}: for 0..255 use {scaled}"
        )
    if images.numel() == 0:
        return
    low, high = (float(v) for v in torch.aminmax(images.detach()))
    if low != low or high != high:
        raise ValueError("images contain NaN: look at them before they go into a model")
    slack = _RANGE_TOLERANCE * (bounds[1] - bounds[0])
    if bounds != (0, 1) and (low < bounds[0] - slack or high > bounds[1] + slack):
        raise ValueError(f"images must be in `bounds`, [{bounds[0]:g}, {bounds[1]:g}], not [{low:.4g}, {high:.4g}]")
    if bounds == (0, 1) and (low < -slack or high > 1 + slack):
        if high > 2 and low >= 0:
            hint = "they look like 0..255: divide by 255"
        elif low < 0:
            hint = (
                "they look normalised, to [-1, 1] or by mean and std: undo that if the model normalises inside; if it takes them "
                "as they are, give attacks and audits bounds=(-1, 1), or what it is"
            )
        else:
            hint = "clamp them or undo their scaling"
        raise ValueError(f"images must be in [0, 1], not [{low:.4g}, {high:.4g}]: {hint}")


def explain_layout(images: Tensor, error: RuntimeError) -> None:
    """Say what is wrong when a model has failed on images whose channels come last, as other libraries have them.

    Only where it has failed: images of three columns are rare, and allowed.

    Raises:
        ValueError: they look like NHWC; else nothing.
    """
    if images.shape[-1] in (1, 3, 4) and images.shape[1] not in (1, 3, 4):
        raise ValueError(
            f"images of shape {list(images.shape)} seem to be NHWC, with their channels last, and the model cannot take them: "
            f"give NCHW, images.permute(0, 3, 1, 2) ({error})"
        ) from error


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
    # Torch has no minimum of unsigned integers above a byte.
    low, high = (int(v) for v in torch.aminmax(labels.long()))
    if low < 0 or (classes is not None and high >= classes):
        top = f"{classes - 1}" if classes is not None else "classes - 1"
        raise ValueError(f"labels must be in 0..{top}, not {low}..{high}")


def check_logits(logits: Tensor, *, rows: int, values: bool = True) -> None:
    """Refuse anything but finite float logits [rows, classes], at least two an image.

    Args:
        values: look at the numbers; else at type and shape alone, for which nobody waits.

    Raises:
        NonFiniteError: NaN or infinity: an argmax would take it for a class.
        ValueError: another type or shape; says which, and what to do.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.ndim != 2 or len(logits) != rows:
        what = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        hint = " (wrap a numpy function in `numpy_model`)" if type(logits).__module__ == "numpy" else ""
        raise ValueError(f"the model must return float logits of shape ({rows}, classes), not {what}{hint}")
    if logits.shape[1] < 2:
        # Its argmax is always the same class: nothing could ever be fooled.
        raise ValueError(
            f"the model gives {logits.shape[1]} logits an image: give one a class. Of a binary model with one logit z "
            "that is torch.cat([-z, z], 1)"
        )
    if not values:
        return
    finite = torch.isfinite(logits)
    if not bool(finite.all()):
        bad = int((~finite).any(1).sum())
        raise NonFiniteError(
            f"the model gave NaN or infinite logits for {bad} of {rows} images in [0, 1]: fix the model first"
        )


def check_weights(model: nn.Module) -> None:
    """Refuse a module with weights that are not finite: a threshold or a ReLU may hide them from the logits.

    Raises:
        NonFiniteError: a parameter with NaN or infinity, or a buffer with NaN (a mask may hold -inf).
    """
    for name, values in (*model.named_parameters(), *model.named_buffers()):
        # One pass if all is well: a sum is finite only if everything in it is.
        if values.is_meta:
            raise ValueError(
                f"the model's weights are on the meta device, {name!r} for one: they have no values. Load some"
            )
        if not values.is_floating_point() or bool(torch.isfinite(values.detach().sum())):
            continue
        bad = ~torch.isfinite(values) if isinstance(values, nn.Parameter) else torch.isnan(values)
        if bool(bad.any()):
            raise NonFiniteError(
                f"{int(bad.sum())} of the model's weights in {name!r} are NaN or infinite: fix it first"
            )


def check_eps(eps: float, *, upper: float, unit: str) -> None:
    """Refuse a radius outside [0, upper] pixel units."""
    if not 0 <= eps <= upper:
        hint = ": pixel units, so 8/255, not 8" if eps >= 1 and upper == 1 else ""
        raise ValueError(f"`eps` (={eps:g}) must be in [0, {upper:g}] {unit}{hint}")
