"""What makes a gradient of one network hold for others: views of the image, a smoothed gradient, several networks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Generator, Tensor, nn


class View:
    """A linear map of pixels, one an image: each pixel of the view is a pixel of the image, or the fill.

    Args:
        source: for each pixel of the view, the flat index of the image's pixel; height * width stands for the fill.
        fill: what is where there is no image.
    """

    def __init__(self, source: Int64[Tensor, "b h w"], fill: float) -> None:
        self._source, self._fill = source.flatten(1), fill

    def apply(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The views. Autograd goes through, and gives what `pull` gives."""
        padded = F.pad(x.flatten(2), (0, 1), value=self._fill)
        return padded.gather(2, self._index(x)).view_as(x)

    def pull(self, grad: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
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
class InputDiversity:
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

    probability: float = 0.5
    smallest: float = 0.875
    fill: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"`probability` (={self.probability:g}) must be in [0, 1]")
        if not 0 < self.smallest < 1:
            raise ValueError(
                f"`smallest` (={self.smallest:g}) must be in (0, 1): a share of the image's side, so 28/32"
            )
        if not 0 <= self.fill <= 1:
            raise ValueError(f"`fill` (={self.fill:g}) must be in [0, 1]: pixel units, so 0.5 for grey, not 128")

    def draw(self, images: Float[Tensor, "b c h w"], generators: Sequence[Generator]) -> View:
        """A view for each image, drawn from a generator of its own."""
        height, width = images.shape[-2:]
        if height < 2:
            raise ValueError(f"images of {height} x {width} pixels cannot shrink: use an attack without `diversity`")
        unit = torch.stack([torch.rand(4, generator=g, dtype=torch.float64) for g in generators])
        low = max(1, min(height - 1, int(self.smallest * height + 1e-9)))
        tall = low + (unit[:, 1] * (height - low)).long()
        wide = (tall * width / height).round().long().clamp(1, width)
        changed = unit[:, 0] < self.probability
        tall, wide = torch.where(changed, tall, height), torch.where(changed, wide, width)
        rows = _nearest(height, tall, (unit[:, 2] * (height - tall + 1)).long())[:, :, None]
        columns = _nearest(width, wide, (unit[:, 3] * (width - wide + 1)).long())[:, None, :]
        source = torch.where((rows < 0) | (columns < 0), height * width, rows * width + columns)
        return View(source.to(images.device), self.fill)


def _nearest(side: int, small: Int64[Tensor, "b"], offset: Int64[Tensor, "b"]) -> Int64[Tensor, "b side"]:
    """Where each pixel of a view comes from, along one axis, `small` pixels beginning at `offset`; -1 is outside."""
    at = torch.arange(side) - offset[:, None]
    return torch.where((at >= 0) & (at < small[:, None]), at * side // small[:, None], -1)


@dataclass(frozen=True, kw_only=True)
class GaussianKernel:
    """A gradient smoothed over the image: that of a loss averaged over shifts, nearly (TI; Dong et al. 2019).

    Differences from the original, 15 x 15 on 299 pixels: 7 x 7 with sigma 1, the same bell that ends at three sigma.
    The same share of 32 pixels would be 1.6 pixels, a kernel that does nothing; 15 x 15 would be half the image, and
    smooth away what the early layers of a small network look at. It is a setting to sweep, not one to believe.

    Attributes:
        size: pixels, odd.
        sigma: pixels.
    """

    size: int = 7
    sigma: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise ValueError(f"`size` (={self.size}) must be odd and at least 1, so that the kernel has a middle")
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise ValueError(f"`sigma` (={self.sigma:g}) must be above 0, in pixels")

    def weights(self) -> list[float]:
        """The kernel along one axis, sum 1; over the image it is the product of two."""
        middle = self.size // 2
        bell = [math.exp(-0.5 * ((k - middle) / self.sigma) ** 2) for k in range(self.size)]
        return [w / sum(bell) for w in bell]

    def __call__(self, grad: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The gradient, smoothed in each channel; it counts as zero beyond the border."""
        # Shifted copies, not a convolution: that may round differently in a batch of another size.
        middle = self.size // 2
        for dim, pad in ((2, (0, 0, middle, middle)), (3, (middle, middle))):
            length, padded = grad.shape[dim], F.pad(grad, pad)
            grad = torch.zeros_like(grad)
            for shift, weight in enumerate(self.weights()):
                grad = grad + padded.narrow(dim, shift, length) * weight
        return grad


class Ensemble(nn.Module):
    """Several networks as one: their logits averaged (Dong et al. 2018, who find it better than averaged
    probabilities or losses, as in Liu et al. 2017). What it gets wrong is what their mean gets wrong.

    A callable for `GradientAccess`, which counts an image once, not once a member. Members that are modules are in
    eval mode while they are attacked, as a single one would be.

    Args:
        models: images in [0, 1] -> logits, all of the same classes; their normalisations may differ.
        weights: one a model, above 0; scaled to sum to 1. Equal if not given.
    """

    def __init__(self, models: Sequence[Callable[[Tensor], Tensor]], *, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not models:
            raise ValueError("an ensemble needs at least one model")
        shares = [1.0] * len(models) if weights is None else [float(w) for w in weights]
        if len(shares) != len(models):
            raise ValueError(f"{len(shares)} weights for {len(models)} models: one a model")
        if any(not (w > 0 and math.isfinite(w)) for w in shares):
            raise ValueError(f"`weights` (={tuple(shares)}) must all be above 0: leave a model out instead")
        self._members = list(models)
        self._shares = [w / sum(shares) for w in shares]
        # Registered, so that eval mode reaches them.
        self.networks = nn.ModuleList(m for m in models if isinstance(m, nn.Module))

    def forward(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        # Each its own copy: a model may normalise its input in place.
        logits = [model(images.clone()) for model in self._members]
        classes = [x.shape[1] for x in logits]
        if len(set(classes)) > 1:
            raise ValueError(f"the models of an ensemble must have the same classes, not {classes} logits")
        total = logits[0].float() * self._shares[0]
        for x, share in zip(logits[1:], self._shares[1:], strict=True):
            total = total + x.float() * share
        return total
