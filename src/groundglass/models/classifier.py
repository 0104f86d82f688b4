"""A classifier: images in [0, 1] in, logits out. Normalisation happens inside, so that every radius is in pixels."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core.settings import Positive, fit


class Classifier(nn.Module):
    """normalise -> features -> head.

    Args:
        features: images, normalised -> [batch, d].
        head: [batch, d] -> logits [batch, classes].
        mean, std: the data set's, one a channel.
        size: height and width of the images it takes, pixels; None: whatever `features` takes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: nn.Module,
        head: nn.Module,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        mean, std = fit(tuple[float, ...], mean, "mean"), fit(tuple[Positive, ...], std, "std")
        if len(mean) != len(std):
            raise ValueError(f"mean {mean} and std {std} must have one value a channel")
        self.size = size
        self.features = features
        self.head = head
        self.register_buffer(
            "mean", torch.tensor(mean, dtype=torch.float32, device="cpu").view(1, -1, 1, 1), persistent=False
        )
        self.register_buffer(
            "std", torch.tensor(std, dtype=torch.float32, device="cpu").view(1, -1, 1, 1), persistent=False
        )

    def forward(self, images: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"]:
        if images.ndim != 4 or images.shape[1] != self.mean.shape[1]:
            raise ValueError(
                f"the model takes images [batch, {self.mean.shape[1]}, height, width], not {tuple(images.shape)}"
            )
        if self.size is not None and tuple(images.shape[2:]) != self.size:
            height, width = self.size
            raise ValueError(
                f"the model takes images of {height} x {width} pixels, not of {images.shape[2]} x {images.shape[3]}"
            )
        logits: Tensor = self.head(self.features((images - self.mean) / self.std))
        return logits
