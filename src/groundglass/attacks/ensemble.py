"""Several networks attacked as one."""

from collections.abc import Sequence
from typing import Annotated

from torch import nn

from groundglass.attacks.access import Model
from groundglass.attacks.tensors import Images, Logits
from groundglass.core import input_dtype, logits_of
from groundglass.core.settings import In, fit

_Weight = Annotated[float, In("(0, inf)", "leave a model out instead")]


class Ensemble(nn.Module):
    """Several networks as one: their logits averaged (Dong et al. 2018, who find it better than averaged
    probabilities or losses, as in Liu et al. 2017). What it gets wrong is what their mean gets wrong.

    A callable for `GradientAccess`, which counts an image once, not once a member. Members that are modules are in
    eval mode while they are attacked, as a single one would be.

    Args:
        models: images in [0, 1] -> logits, all of the same classes; their normalisations may differ.
        weights: one a model, above 0; scaled to sum to 1. Equal if not given.
    """

    def __init__(self, models: Sequence[Model], *, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not models:
            raise ValueError("an ensemble needs at least one model")
        shares = [1.0] * len(models) if weights is None else fit(tuple[_Weight, ...], list(weights), "weights")
        if len(shares) != len(models):
            raise ValueError(f"{len(shares)} weights for {len(models)} models: one a model")
        self._members = list(models)
        self._shares = [w / sum(shares) for w in shares]
        # Registered, so that eval mode reaches them.
        self.networks = nn.ModuleList(m for m in models if isinstance(m, nn.Module))

    def forward(self, images: Images) -> Logits:
        # Each its own copy, of its own type: a model may normalise its input in place.
        logits = [logits_of(model(images.to(input_dtype(model), copy=True))) for model in self._members]
        classes = [x.shape[1] for x in logits]
        if len(set(classes)) > 1:
            raise ValueError(f"the models of an ensemble must have the same classes, not {classes} logits")
        total = logits[0].float() * self._shares[0]
        for x, share in zip(logits[1:], self._shares[1:], strict=True):
            total = total + x.float() * share
        return total
