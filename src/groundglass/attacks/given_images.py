"""What a call is made of: images with labels, or a set that has both, and a ball."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundglass.attacks.access import Access
from groundglass.attacks.balls import Ball
from groundglass.core.accelerator import device_of
from groundglass.data.given import images_and_labels


def as_call(model: Any, images: Any, labels: Any, ball: Any, bounds: tuple[float, float]) -> tuple[Tensor, Tensor, Any]:
    """Images in `bounds` and labels in memory, and what was given as the ball.

    Of a set (a Dataset, a DataLoader, a pair, the path of a file) in place of images the labels come with it, and the ball may
    follow it directly: `attack(model, loader, Linf(8 / 255))`. Its images go where the model's weights are; tensors stay.

    Raises:
        TypeError, ValueError: as `groundglass.data.given.images_and_labels`.
    """
    one_by_one = isinstance(images, Tensor | np.ndarray)
    if one_by_one and isinstance(labels, Ball | type):
        raise TypeError(
            f"`labels` is {labels!r:.60}: images and labels are two arguments; or give (images, labels), a Dataset or a "
            "DataLoader in place of images"
        )
    if not one_by_one and ball is None and _is_ball(labels):
        labels, ball = None, labels
    found, known = images_and_labels(images, labels, bounds=bounds)
    if one_by_one:
        return found, known, ball
    where = device_of(model._model if isinstance(model, Access) else model) or torch.device("cpu")
    return found.to(where), known.to(where), ball


def _is_ball(value: Any) -> bool:
    """A ball, or what names one or several."""
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(one, Ball) for one in value)
    return isinstance(value, Ball | type | str)
