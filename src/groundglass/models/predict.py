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
from groundglass.data import ImagesLike, batches, given


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


def accuracy(model: nn.Module, images: ImagesLike, *, batch_size: int = 500) -> float:
    """Share of images classified right.

    Args:
        images: with their labels, in any form that `groundglass.data.given` takes. Of a stream a batch at a time is in memory.

    Raises:
        TypeError: it is none of these.
        ValueError: there are no images, or a label is not a class of the model; else as `predict_logits`.
    """
    right, count, batch_size = 0, 0, fit(Count, batch_size, "batch_size")
    for batch in batches(given(images), batch_size=batch_size, seed=0, epoch=0, shuffle=False):
        logits = predict_logits(model, batch.images, batch_size=batch_size)
        check_labels(batch.labels, count=len(logits), classes=logits.shape[1])
        right, count = right + int((logits.argmax(1) == batch.labels).sum()), count + len(batch)
    if not count:
        raise ValueError("there are no images, so there is no share to give")
    return right / count
