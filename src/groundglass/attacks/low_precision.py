"""Climbing in bfloat16, where the model itself judges in its own precision."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import nn

from groundglass.attacks.access import GradientAccess, Gradients
from groundglass.attacks.apgd import APGD
from groundglass.attacks.losses import Loss
from groundglass.attacks.pgd import PGD
from groundglass.attacks.tensors import Images, Labels
from groundglass.attacks.unread import Unread
from groundglass.core.layout import layout_of


class LowPrecisionAccess(GradientAccess):
    """White-box access whose gradients are taken in bfloat16 (torch's autocast), for `PGD` and `APGD`.

    An image counts as fooled only if the model itself says so in its own precision: an iterate that seems to fool is looked
    at again, a check query. So no success is one of rounding; an image whose success only bfloat16 overlooks climbs on, and
    the last iterate is checked as always. Losses of images that are not fooled on the way are those of bfloat16.

    For a plain network on a processor with bfloat16 (AVX-512 or AMX) or a card; without, it is slower than float32.
    What `frozen_for_attack` can rearrange is faster so, and exact: that copy computes in float32 whatever is asked here.

    Args:
        model: images -> logits; its parameters stay as they are.
        budget, bounds: as of `GradientAccess`.
    """

    coarse = True

    @cached_property
    def model_identity(self) -> dict[str, Any]:
        """With the precision: what one has begun, the other does not go on with."""
        return {**super().model_identity, "gradients": "bfloat16"}

    def meet(self, attack: object, images: Images) -> None:
        """
        Raises:
            TypeError: an attack that would take answers of low precision for the model's.
        """
        if not isinstance(attack, PGD | APGD):
            raise TypeError(
                f"{type(attack).__name__} takes the logits of gradients for the model's: give it the model, or a GradientAccess; "
                "LowPrecisionAccess is for PGD and APGD"
            )

    @contextmanager
    def reading_later(self, images: Images) -> Iterator[Unread | None]:
        """The host reads each answer: what seems to fool is asked about at once."""
        yield None

    def loss_and_grad(self, images: Images, labels: Labels, loss: Loss) -> Gradients:
        """As of `GradientAccess`, in bfloat16 where autocast has it so; losses and gradients are float32."""
        if images.ndim == 4 and isinstance(self._model, nn.Module):
            images = images.contiguous(memory_format=layout_of(self._model))
        with torch.autocast(images.device.type, torch.bfloat16):
            found = super().loss_and_grad(images, labels, loss)
        return Gradients(found.logits.float(), found.loss.float(), found.grad.contiguous(), found.zero)
