"""The paper's augmentations: random crop, horizontal flip, rotation by a few degrees."""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from groundglass.core import derive_seed
from groundglass.core.settings import In, Settings
from groundglass.data.random_words import unit, words


@dataclass(frozen=True)
class Augment(Settings):
    """Shift, flip and turn images, each by draws of its own.

    The draws of an image depend on (seed, epoch, index of the image) alone: it comes out the same alone, in any
    batch, in any order, and after a resume.

    Attributes:
        crop: pixels of zero padding on each side, out of which a window of the image's size is cut at a random
            place; the same as a shift by -crop..crop pixels along each axis.
        flip: mirror left and right with probability 1/2.
        rotation: degrees; the angle is uniform in [-rotation, rotation], about the centre.

    The three are one warp, so an image is interpolated once (bilinear, zeros outside). One difference from cropping
    first and turning after: what a shift moves out of the window can be turned back into it, so fewer pixels are
    empty. Without rotation nothing is interpolated: pixels are moved bit for bit.

    Raises:
        ValueError: a negative `crop`, or a `rotation` outside [0, 180].
    """

    crop: Annotated[int, In("[0, inf)", "pixels")] = 4
    flip: bool = True
    rotation: Annotated[float, In("[0, 180]", "degrees")] = 15.0

    def __call__(
        self, images: Float[Tensor, "n c h w"], index: Int64[Tensor, " n"], *, seed: int, epoch: int
    ) -> Float[Tensor, "n c h w"]:
        """Augmented copies of `images`, in [0, 1].

        Args:
            images: float NCHW in [0, 1].
            index: the place of each image in its data set; this, not its place in the batch, selects its draws.

        Raises:
            ValueError: `index` has another length than `images`, or is not of integers.
        """
        if index.shape != images.shape[:1]:
            raise ValueError(f"`index` must have one entry an image: {len(images)}, not {list(index.shape)}")
        if index.is_floating_point():
            raise ValueError(f"`index` must be integers, places in the data set, not {index.dtype}")
        theta = self.maps(index, seed=seed, epoch=epoch, height=images.shape[2], width=images.shape[3])
        return self.warp(images, theta)

    def warp(self, images: Float[Tensor, "n c h w"], theta: Float[Tensor, "n 2 3"]) -> Float[Tensor, "n c h w"]:
        """Images as `maps` says."""
        grid = functional.affine_grid(theta.to(images), list(images.shape), align_corners=False)
        # Whole-pixel shifts and flips land on pixels up to rounding; "nearest" makes that exact.
        mode = "bilinear" if self.rotation else "nearest"
        warped = functional.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)
        return warped.clamp_(0, 1)  # the four weights may add up to one rounding error more than 1

    def maps(self, index: Tensor, *, seed: int, epoch: int, height: int, width: int) -> Float[Tensor, "n 2 3"]:
        """Drawn for each image, on the CPU: from a place in the output to the place in the image that it shows; both in [-1, 1],
        row x then row y."""
        draws = words(derive_seed(seed, "augment", epoch), index.cpu().numpy(), 4)
        uniform = unit(draws)
        angle = (2 * uniform[:, 0] - 1) * np.float32(math.radians(self.rotation))
        mirror = np.where(uniform[:, 1] < 0.5, -1, 1) if self.flip else np.ones(len(draws))
        shift = np.floor(uniform[:, 2:] * (2 * self.crop + 1)) - self.crop  # pixels: x, y
        cos, sin = np.cos(angle), np.sin(angle)
        theta = np.empty((len(draws), 2, 3), dtype=np.float32)
        # The ratios keep a rotation a rotation where an image is not square.
        theta[:, 0] = np.stack([mirror * cos, -mirror * sin * (height / width), shift[:, 0] * 2 / width], axis=1)
        theta[:, 1] = np.stack([sin * (width / height), cos, shift[:, 1] * 2 / height], axis=1)
        return torch.from_numpy(theta)


def augmented(
    images: Float[Tensor, "n c h w"], augment: Augment | None, index: Int64[Tensor, " n"], *, seed: int, epoch: int
) -> Float[Tensor, "n c h w"]:
    """As `augment` makes them; without one as they are."""
    return images if augment is None else augment(images, index, seed=seed, epoch=epoch)
