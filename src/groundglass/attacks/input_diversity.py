"""Input diversity: gradients at random views of the image, which hold for other networks too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Generator, Tensor

from groundglass.attacks.tensors import Images
from groundglass.core import counting
from groundglass.core.reading import sent
from groundglass.core.settings import In, Settings, Share


class View:
    """A linear map of pixels, one an image: each pixel of the view is a pixel of the image, or the fill.

    Args:
        source: for each pixel of the view, the flat index of the image's pixel; height * width means the fill.
        fill: what is where there is no image.
    """

    def __init__(self, source: Int64[Tensor, "b h w"], fill: float) -> None:
        self._source, self._fill = source.flatten(1), fill

    def apply(self, x: Images) -> Images:
        """The views. Autograd passes through it, and gives what `pull` gives."""
        padded = F.pad(x.flatten(2), (0, 1), value=self._fill)
        return padded.gather(2, self._index(x)).view_as(x)

    def pull(self, grad: Images) -> Images:
        """The gradient at the images, of one at their views: the transpose of `apply`.

        A view never enlarges, so no pixel is used twice: nothing is summed, and each entry is the same bit for bit in
        any batch and on any device.
        """
        b, c, h, w = grad.shape
        whole = grad.new_zeros(b, c, h * w + 1).scatter_add_(2, self._index(grad), grad.flatten(2))
        return whole[..., :-1].reshape(grad.shape)

    def _index(self, like: Tensor) -> Tensor:
        return self._source[:, None].expand(-1, like.shape[1], -1)


@dataclass(frozen=True, kw_only=True)
class InputDiversity(Settings):
    """Gradients at random views of the image: shrunk, and put at a random place of an empty one (DI; Xie et al. 2019).

    Differences from the original, which enlarges 299 pixels to 299...329 and pads to 330: the view has the image's own
    size, as a network for 32 x 32 images may take no other (one that flattens, or pools five times, changes its
    meaning or breaks), so the image shrinks by the same proportion instead: 32 to 28, 29, 30 or 31 pixels, each as
    likely, 54 views in all. Every image of a batch has a view of its own, not one for all. The same: resizing takes
    the nearest pixel, and the padding is the grey in the middle of the range (the original's 0 on [-1, 1]; ports to
    [0, 1] often pad with black).

    Attributes:
        probability: of a view other than the image itself, at each step.
        smallest: side of the smallest shrunk image, as a share of the image's; at least one pixel is always taken off.
        fill: of the padding, pixel units.
    """

    probability: Share = 0.5
    smallest: Annotated[float, In("(0, 1)", "a share of the image's side, so 28/32")] = 0.875
    fill: Annotated[float, In("[0, 1]", "pixel units, so 0.5 for grey, not 128")] = 0.5

    def draw(self, images: Images, generators: Sequence[Generator]) -> View:
        """A view for each image, drawn from a generator of its own."""
        height, width = images.shape[-2:]
        if height < 2:
            raise ValueError(f"images of {height} x {width} pixels cannot shrink: use an attack without `diversity`")
        unit = torch.stack([torch.rand(4, generator=g, dtype=torch.float64, device="cpu") for g in generators])
        low = max(1, min(height - 1, int(self.smallest * height + 1e-9)))
        tall = low + (unit[:, 1] * (height - low)).long()
        wide = ((tall * width).float() / height).round().long().clamp(1, width)
        changed = unit[:, 0] < self.probability
        tall, wide = torch.where(changed, tall, height), torch.where(changed, wide, width)
        rows = _nearest(height, tall, (unit[:, 2] * (height - tall + 1)).long())[:, :, None]
        columns = _nearest(width, wide, (unit[:, 3] * (width - wide + 1)).long())[:, None, :]
        source = torch.where((rows < 0) | (columns < 0), height * width, rows * width + columns)
        return View(sent(source, images.device), self.fill)


def _nearest(side: int, small: Int64[Tensor, "b"], offset: Int64[Tensor, "b"]) -> Int64[Tensor, "b side"]:
    """Where each pixel of a view comes from, along one axis, `small` pixels beginning at `offset`; -1 is outside."""
    at = counting(side) - offset[:, None]
    return torch.where((at >= 0) & (at < small[:, None]), at * side // small[:, None], -1)
