"""ART's classifier around a module."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from groundglass.compat.calls import Normalisation, logits, placed, refuse
from groundglass.compat.missing import missing
from groundglass.core import as_labels, generator, logits_of, permutation
from groundglass.core.settings import Count, fit

__all__ = ["PyTorchClassifier"]


class PyTorchClassifier:
    """A module with the range of its images and its preprocessing: arrays [n, c, h, w] in, arrays of logits out.

    Args:
        loss: of training. Attacks climb cross-entropy, which `nn.CrossEntropyLoss` and `nn.NLLLoss` (of logarithms of
            probabilities) are.
        clip_values: the range of the images before preprocessing.
        preprocessing: a mean that is taken off, and a deviation that is divided by; numbers, or one a channel.
        device_type: "gpu" leaves the module where it is.

    Raises:
        ValueError: a setting that is not here; says what to do.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Any,
        input_shape: tuple[int, ...],
        nb_classes: int,
        optimizer: torch.optim.Optimizer | None = None,
        use_amp: bool = False,
        opt_level: str = "O1",
        loss_scale: Any = "dynamic",
        channels_first: bool = True,
        clip_values: Any = None,
        preprocessing_defences: Any = None,
        postprocessing_defences: Any = None,
        preprocessing: Any = (0.0, 1.0),
        device_type: str = "gpu",
    ) -> None:
        refuse(
            "ART",
            use_amp=(use_amp, False, "train in a loop of your own"),
            channels_first=(channels_first, True, "give images [n, channels, height, width]"),
            preprocessing_defences=(preprocessing_defences, None, "put it in front of the model"),
            postprocessing_defences=(postprocessing_defences, None, "put it behind the model"),
        )
        if not isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss):
            raise ValueError(f"`loss` must be nn.CrossEntropyLoss() or nn.NLLLoss(), not {loss!r:.60}")
        self.model = model.to("cpu") if device_type == "cpu" else model
        self.loss, self.optimizer, self.input_shape, self.nb_classes = loss, optimizer, tuple(input_shape), nb_classes
        self.clip_values = None if clip_values is None else tuple(float(np.asarray(end).item()) for end in clip_values)
        if preprocessing is not None and not isinstance(preprocessing, tuple):
            raise ValueError("`preprocessing` must be (mean, deviation): put anything else in front of the model")
        #: Of images before preprocessing.
        self.network = self.model if preprocessing is None else Normalisation(*preprocessing).before(self.model)

    def predict(
        self, x: Any, batch_size: int = 128, training_mode: bool = False, **options: Any
    ) -> NDArray[np.float32]:
        """What the module gives, [n, classes]; in eval mode."""
        refuse("ART", training_mode=(training_mode, False, "ask the module itself"))
        found: Any = logits(self.network, self.given(x)).float().cpu().numpy()
        return found

    def fit(self, x: Any, y: Any, batch_size: int = 128, nb_epochs: int = 10, *, seed: int = 0, **options: Any) -> None:
        """Ordinary training, by the optimiser that was given.

        Args:
            y: classes, or one-hot rows.
            seed: of the order of the images.
        """
        if self.optimizer is None:
            raise ValueError("training needs optimizer=: give one of the module's parameters")
        images = self.given(x)
        labels = as_labels(placed(self.model, y), images)
        before = self.network.training
        self.network.train()
        for epoch in range(fit(Count, nb_epochs, "nb_epochs")):
            order = permutation(len(images), generator=generator(seed, "fit", epoch)).to(images.device)
            for rows in order.split(fit(Count, batch_size, "batch_size")):
                self.optimizer.zero_grad()
                self.loss(logits_of(self.network(images[rows])), labels[rows]).backward()
                self.optimizer.step()
        self.network.train(before)

    def given(self, x: Any) -> Tensor:
        """Images as a float tensor, where the module is.

        Raises:
            ValueError: they have another shape than `input_shape`.
        """
        found: Tensor = placed(self.model, x)
        if tuple(found.shape[1:]) != self.input_shape:
            raise ValueError(f"images of shape {tuple(found.shape[1:])}, and input_shape is {self.input_shape}")
        return found.float()


__getattr__ = missing(__name__, "art.estimators.classification", __all__)
