"""foolbox's model, and tensors as it takes them."""

from typing import Any

import torch
from torch import Tensor

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
        self._mean, self._std = told.get("mean", 0.0), told.get("std", 1.0)

    def __call__(self, images: Any) -> Any:
        raw, wrap = opened(images)

        def shaped(values: Any) -> Tensor:
            found = torch.as_tensor(values, dtype=raw.dtype, device=raw.device)
            return found.view(-1, 1, 1) if found.ndim else found

        with evaluating(self.model):
            return wrap(self.model((raw - shaped(self._mean)) / shaped(self._std)))


def accuracy(fmodel: Any, inputs: Any, labels: Any) -> float:
    """Share of images that the model puts into their class."""
    images, truth = opened(inputs)[0], opened(labels)[0]
    with torch.no_grad():
        predicted = opened(fmodel(images))[0].argmax(1)
    return float((predicted == truth).float().mean())


def opened(given: Any) -> tuple[Tensor, Any]:
    """A torch tensor, and what makes of one what was given: eagerpy's tensors come back as such."""
    if hasattr(given, "raw"):
        return given.raw, lambda found: type(given)(found)
    return given, lambda found: found
