"""Logits and accuracy over many images, in batches, without a graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core import (
    NonFiniteError,
    as_images,
    as_model,
    check_labels,
    check_logits,
    check_weights,
    explain_layout,
    input_dtype,
    logits_of,
    own_streams,
    pieces,
)
from groundglass.core.accelerator import device_of
from groundglass.core.batch_size import FEW, BatchSize, checked, fitting
from groundglass.core.modes import evaluating
from groundglass.core.reading import free_to_read, sent
from groundglass.data import ImagesLike, batches, given
from groundglass.optics import without_devices

#: Images in a pass, unless the caller says otherwise.
USUAL = 500


@torch.no_grad()
def predict_logits(
    model: nn.Module, images: Float[Tensor, "n c h w"], *, batch_size: BatchSize = USUAL
) -> Float[Tensor, "n k"]:
    """Logits of every image, in eval mode; the model's mode is restored. The images are not changed.

    No images give [0, 0], and the model is not asked.

    Args:
        batch_size: images in a pass; "auto": as many as fit into the free memory, by what a few take.

    Raises:
        ValueError: images that are not float NCHW in [0, 1]; logits that are not [n, k], k at least 2.
        NonFiniteError: NaN or infinite logits, or weights.
    """
    images = as_images(images)
    with asked(model) as ask:
        found = [ask(part) for part in pieces(images, _size(batch_size, ask, images[:FEW]))]
    if not found:
        return torch.zeros(0, 0, dtype=torch.float32, device="cpu")
    logits = torch.cat(found)
    if not free_to_read(logits):
        check_logits(logits, rows=len(images))
    return logits.cpu()


@torch.no_grad()
def accuracy(model: nn.Module, images: ImagesLike, *, batch_size: BatchSize = USUAL) -> float:
    """Share of images classified right. On a card the host reads once, when all images were looked at.

    Args:
        images: with their labels, in any form that `groundglass.data.given` takes. Of a stream a batch at a time is in memory.
        batch_size: as of `predict_logits`.

    Raises:
        TypeError: it is none of these.
        ValueError: there are no images, or a label is not a class of the model; else as `predict_logits`.
    """
    batch_size, known, count = checked(batch_size), given(images), 0
    right, finite = [], []
    with asked(model) as ask:
        size = batch_size if batch_size != "auto" else _size("auto", ask, known.first(FEW).floats())
        for batch in batches(known, batch_size=size, seed=0, epoch=0, shuffle=False):
            # Images on a card were checked when they were given.
            logits = ask(as_images(batch.images) if free_to_read(batch.images) else batch.images)
            if free_to_read(batch.labels):
                check_labels(batch.labels, count=len(logits), classes=logits.shape[1])
            right.append((logits.argmax(1) == sent(batch.labels, logits.device)).sum())
            finite.append(torch.isfinite(logits).all(1).sum())
            count += len(batch)
    if not count:
        raise ValueError("there are no images, so there is no share to give")
    correct, good = torch.stack([torch.stack(right), torch.stack(finite)]).sum(1).tolist()
    if good < count:
        raise NonFiniteError(
            f"the model gave NaN or infinite logits for {count - good} of {count} images: fix it first"
        )
    return float(correct / count)


def _size(size: BatchSize, ask: Callable[[Tensor], Tensor], few: Tensor) -> int:
    """Images in a pass; `few` are those whose memory is measured. What the model draws for them is drawn again."""
    size = checked(size)
    if size != "auto":
        return size
    with own_streams(), without_devices():
        where = ask(few[:1]).device if len(few) else few.device
        return fitting(lambda: ask(few), len(few), where, usual=USUAL)


@contextmanager
def asked(model: Any) -> Iterator[Callable[[Tensor], Tensor]]:
    """A function of a batch of images to float32 logits, where the model is, in eval mode.

    The images of a batch may be outside of [0, 1], as those with noise are: who asks has checked them.

    On a CPU logits are checked at once. On a card only their shape is, as nobody waits for them there.
    """
    model = as_model(model)
    dtype = input_dtype(model)
    weights = device_of(model)
    checked = not isinstance(model, nn.Module)

    def ask(part: Tensor) -> Tensor:
        nonlocal checked
        if not checked:
            check_weights(model)
            checked = True
        where = part.device if weights is None else weights
        try:
            # A copy: a model may write to its input.
            logits = logits_of(model(sent(part, where).to(where, dtype, copy=where == part.device)))
        except RuntimeError as error:
            explain_layout(part, error)
            raise
        check_logits(logits, rows=len(part), values=isinstance(logits, Tensor) and free_to_read(logits))
        return logits.float()

    with evaluating(model):
        yield ask
