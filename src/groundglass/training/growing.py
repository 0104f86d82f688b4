"""Small images at first: early epochs find what is coarse, at a fraction of the cost (Howard 2018; Tan and Le 2021)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core.modes import evaluating
from groundglass.core.phases import image_share
from groundglass.core.settings import In, Settings
from groundglass.models import Classifier, Defended


@dataclass(frozen=True, kw_only=True)
class Growing(Settings):
    """Training images that grow from epoch to epoch.

    Sides grow by eighths. What is smaller is made by bilinear interpolation with antialiasing, after the augmentation and
    before noise. Max-pools then round up, so that five of them take any image, and a network that was made
    for one size takes the others. What is trained is the same network: its head, and a device, get as many features.

    Attributes:
        start: the share of its side that an image begins with.
        until: the share of all epochs after which images have their whole size. Attacks, and statistics of BatchNorm, are of
            whole images, so an epoch at least must be left.
    """

    start: Annotated[float, In("(0, 1)", "a share of the side")] = 0.5
    until: Annotated[float, In("(0, 1)", "a share of all epochs")] = 0.6

    def share(self, epoch: int, epochs: int) -> float:
        """Of the side, in an epoch of so many."""
        return image_share(epoch, epochs, start=self.start, until=self.until)

    def shrunk(self, images: Float[Tensor, "n c h w"], epoch: int, epochs: int) -> Float[Tensor, "n c a b"]:
        """Images in the size of an epoch, in [0, 1]."""
        share = self.share(epoch, epochs)
        if share == 1:
            return images
        size = [max(1, round(share * side)) for side in images.shape[2:]]
        return F.interpolate(images, size=size, mode="bilinear", antialias=True).clamp_(0, 1)

    def check(self, model: nn.Module, images: Float[Tensor, "n c h w"], epochs: int) -> None:
        """Refuse a network that does not take smaller images. Nothing is measured, and nothing is changed.

        Raises:
            ValueError: says which size.
        """
        tried = set()
        for epoch in range(epochs):
            few = self.shrunk(images[:2], epoch, epochs)
            height, width = few.shape[2:]
            if (height, width) in tried:
                continue
            tried.add((height, width))
            with evaluating(model), torch.no_grad(), any_size(model, small=True):
                try:
                    _ = model.each_below(few) if isinstance(model, Defended) else model(few)
                except (RuntimeError, ValueError, AssertionError) as error:
                    raise ValueError(
                        f"this network does not take images of {height} x {width} pixels, with which `growing` trains it in "
                        f"epoch {epoch + 1}: leave it out, or begin with a larger `start` ({error})"
                    ) from error


@contextmanager
def any_size(model: nn.Module, *, small: bool) -> Iterator[None]:
    """For `small` images max-pools round up, and a classifier does not look at their size; for others all is as it is."""
    modules = list(model.modules()) if small else []
    pools = [one for one in modules if isinstance(one, nn.MaxPool2d) and not one.ceil_mode]
    sized = [(one, one.size) for one in modules if isinstance(one, Classifier) and one.size is not None]
    for pool in pools:
        pool.ceil_mode = True
    for classifier, _ in sized:
        classifier.size = None
    try:
        yield
    finally:
        for pool in pools:
            pool.ceil_mode = False
        for classifier, size in sized:
            classifier.size = size
