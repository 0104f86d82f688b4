"""What other people's networks expect in front: normalised images of one size. Here it happens inside, so that radii are in
pixels of [0, 1]."""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from groundglass.core.settings import Count, Positive, Settings


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Settings):
    """How a network wants its images.

    Attributes:
        mean, std: of each channel of images in [0, 1]; they are taken off and divided by.
        size: height and width, pixels; None where any will do.
        fixed: no other size is possible, as for most vision transformers.
    """

    mean: tuple[float, ...]
    std: tuple[Positive, ...]
    size: tuple[Count, Count] | None = None
    fixed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} must have one value a channel")


class Preprocessed(nn.Module):
    """A network with its preprocessing inside: images in [0, 1] -> what the network gives.

    Nothing is resized: the radius of an attack is meant for the pixels that it changes.

    Args:
        network: takes normalised images.
        preprocessing: of it.
        name: for errors.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing, *, name: str) -> None:
        super().__init__()
        self.network, self.preprocessing, self._name = network, preprocessing, name
        self._warned = False
        for what in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, what), dtype=torch.float32, device="cpu")
            self.register_buffer(what, values.view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "batch c h w"]) -> Tensor:
        """Raises ValueError for images of other channels, or of another size where that is fixed."""
        if images.ndim != 4 or images.shape[1] != self.mean.shape[1]:
            raise ValueError(
                f"{self._name} takes images [batch, {self.mean.shape[1]}, height, width], not {list(images.shape)}: if it was "
                "made for so many channels, give the mean and std of each"
            )
        size = self.preprocessing.size
        if size is not None and tuple(images.shape[2:]) != size:
            theirs = f"{images.shape[2]} x {images.shape[3]}"
            told = f"{self._name} was made for images of {size[0]} x {size[1]}, and these have {theirs}"
            if self.preprocessing.fixed:
                raise ValueError(
                    f"{told}: give such images, or make the network for these by its arguments (of timm, img_size)"
                )
            if not self._warned:
                self._warned = True
                warnings.warn(f"{told}: its accuracy may be poor", RuntimeWarning, stacklevel=2)
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits
