"""Logits and accuracy over many images, in batches, without a graph."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core import (
    as_images,
    as_model,
    check_labels,
    check_logits,
    check_weights,
    explain_layout,
    input_dtype,
    logits_of,
    pieces,
)
from groundglass.core.modes import evaluating
from groundglass.core.settings import Count, fit
from groundglass.data import ImageSet, check_image_set


@torch.no_grad()
def predict_logits(
    model: nn.Module, images: Float[Tensor, "n c h w"], *, batch_size: int = 500
) -> Float[Tensor, "n k"]:
    """Logits of every image, in eval mode; the model's mode is restored. The images are not changed.

    No images give [0, 0], and the model is not asked.

    Raises:
        ValueError: images that are not float NCHW in [0, 1]; logits that are not [n, k], k at least 2.
        NonFiniteError: NaN or infinite logits, or weights.
    """
    images, model = as_images(images), as_model(model)
    where = next((weights.device for weights in model.parameters()), images.device)
    dtype = input_dtype(model)
    if len(images) and isinstance(model, nn.Module):
        check_weights(model)
    found = []
    with evaluating(model):
        for part in pieces(images, batch_size):
            try:
                logits = logits_of(model(part.to(where, dtype, copy=True)))
            except RuntimeError as error:
                explain_layout(part, error)
                raise
            check_logits(logits, rows=len(part))
            found.append(logits.float().cpu())
    return torch.cat(found) if found else torch.zeros(0, 0, dtype=torch.float32, device="cpu")


def accuracy(model: nn.Module, images: ImageSet, *, batch_size: int = 500) -> float:
    """Share of images classified right.

    Raises:
        TypeError: not an ImageSet.
        ValueError: there are no images, or a label is not a class of the model; else as `predict_logits`.
    """
    check_image_set(images)
    if not len(images):
        raise ValueError("there are no images, so there is no share to give")
    right, batch_size = 0, fit(Count, batch_size, "batch_size")
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        logits = predict_logits(model, images.floats(part), batch_size=batch_size)
        check_labels(images.labels[part], count=len(logits), classes=logits.shape[1])
        right += int((logits.argmax(1) == images.labels[part]).sum())
    return right / len(images)
