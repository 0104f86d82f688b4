"""A model behind an API, or of another framework, as a function of arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundglass.attacks.access import Model


def numpy_model(function: Callable[[np.ndarray], Any]) -> Model:
    """A model made from a function of float32 arrays [batch, c, h, w] in [0, 1] to logits [batch, classes].

    For a model behind an API, or of another framework. What it returns may be anything that numpy reads as numbers.
    """

    def model(images: Tensor) -> Tensor:
        # A copy: what other frameworks return may be read-only, or written to again by the next call.
        logits = np.array(function(images.detach().cpu().numpy()), dtype=np.float32, order="C")
        return torch.from_numpy(logits).to(images.device)

    return model
