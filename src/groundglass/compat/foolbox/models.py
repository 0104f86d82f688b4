"""foolbox's model, and tensors as it takes them."""

from typing import Any

import torch
from torch import Tensor

from groundglass.compat import calls
from groundglass.compat.calls import Normalisation
from groundglass.compat.local_images import pictures
from groundglass.core.bounds import Bounds
from groundglass.core.modes import evaluating


class PyTorchModel:
    """A module with the range of its images and its preprocessing.

    Args:
        model: of preprocessed images.
        bounds: of the images before that.
        preprocessing: "mean", "std" and "axis" (-3 for channels first), each optional.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        bounds: tuple[float, float],
        device: Any = None,
        preprocessing: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.bounds, self.device = model, bounds, device
        told = preprocessing or {}
        unknown = set(told) - {"mean", "std", "axis", "flip_axis"}
        if unknown or told.get("flip_axis") is not None or told.get("axis", -3) != -3:
            raise ValueError(f"preprocessing knows mean, std and axis=-3, not {told!r:.80}")
        self._normalised = Normalisation(told.get("mean", 0.0), told.get("std", 1.0)).before(model)

    def __call__(self, images: Any) -> Any:
        raw, wrap = opened(images)
        with evaluating(self.model):
            return wrap(self._normalised(raw))


def accuracy(fmodel: Any, inputs: Any, labels: Any) -> float:
    """Share of images that the model puts into their class."""
    images, truth = opened(inputs)[0], opened(labels)[0]
    return calls.accuracy(lambda batch: opened(fmodel(batch))[0], images, truth)


def samples(
    fmodel: Any, dataset: str = "imagenet", index: int = 0, batchsize: int = 1, shape: Any = None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Test images of a data set on this machine, in the bounds of the model, and their labels: `index` and those after it.

    Args:
        dataset: "cifar10", "cifar100" or "shapes". foolbox's own pictures come with foolbox.
        shape, options: of no consequence: images have the size that the data set gives them.
    """
    images, labels = pictures(dataset, index + batchsize)
    return Bounds(*fmodel.bounds).from_unit(images[index:]), labels[index:]


def opened(given: Any) -> tuple[Tensor, Any]:
    """A torch tensor, and what makes of one what was given: eagerpy's tensors come back as such."""
    if hasattr(given, "raw"):
        return given.raw, lambda found: type(given)(found)
    return given, lambda found: found
