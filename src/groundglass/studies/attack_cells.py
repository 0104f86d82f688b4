"""Cells that attack a trained network with one rule, at one radius."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from groundglass.attacks import L2, AttackResult, Ball, GradientAccess, Linf
from groundglass.core import derive_seed
from groundglass.evaluation import Record
from groundglass.models import predict_logits
from groundglass.studies.cells import Cell, Outcome, plain
from groundglass.studies.context import Context
from groundglass.studies.networks import TrainCell
from groundglass.studies.rules import make_rule


class Attack(Protocol):
    """An attack of `groundglass.attacks`: a frozen dataclass, its configuration."""

    def __call__(
        self, access: GradientAccess, images: Tensor, labels: Tensor, ball: Ball, *, seed: int
    ) -> AttackResult: ...


def make_ball(norm: str, eps: float | tuple[float, ...]) -> Ball:
    """The ball that a cell names. A radius a channel is for L-inf alone."""
    if norm == "linf":
        return Linf(eps)
    assert isinstance(eps, float)
    return L2(eps)


@dataclass(frozen=True, kw_only=True)
class AttackCell:
    """Attack the first `n_images` of the test set.

    Attributes:
        target: the network.
        rule: what the attacker differentiates with; "bp" for an ordinary network, "none" for an attack without gradients.
        attack: the attack, its configuration.
        norm, eps: the ball, in pixel units.
        eps_paper: the same radius on the paper's axis, where it has one.
        gallery: this many images are kept whole, for the report.
        purpose: "figure", or "control" for the sanity checks.
    """

    target: TrainCell
    rule: str
    attack: Attack
    norm: Literal["linf", "l2"]
    eps: float | tuple[float, ...]
    eps_paper: float | None
    n_images: int
    fit_images: int
    gallery: int
    seed: int
    purpose: Literal["figure", "control"] = "figure"

    kind = "attack"

    @property
    def radius(self) -> float:
        """One number for the ball: where channels differ, the largest."""
        return max(self.eps) if isinstance(self.eps, tuple) else self.eps

    @property
    def name(self) -> str:
        kind = type(self.attack).__name__
        at = f"L-inf {self.radius * 255:.4g}/255" if self.norm == "linf" else f"L2 {self.radius:g}"
        return f"{self.target.name} <- {self.rule} ({kind}, {at})"

    @property
    def inputs(self) -> Sequence[Cell]:
        return (self.target,)

    def config(self) -> dict[str, Any]:
        settings = plain(asdict(self.attack))  # type: ignore[call-overload]
        return {
            "model": self.target.name,
            "rule": self.rule,
            "attack": _ATTACK_NAMES.get(type(self.attack).__name__, type(self.attack).__name__),
            "settings": settings,
            "norm": self.norm,
            "eps": self.radius,
            "eps_per_channel": list(self.eps) if isinstance(self.eps, tuple) else None,
            "eps_paper": self.eps_paper,
            "steps": settings.get("steps"),
            "step_size": settings.get("step_size"),
            "restarts": settings.get("restarts"),
            "n_images": self.n_images,
            "fit_images": self.fit_images if self.rule.startswith("bpda-fit") else None,
            "gallery": self.gallery,
            "seed": self.seed,
            "purpose": self.purpose,
        }

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        (trained,) = inputs
        subset = context.dataset.test.head(self.n_images)
        images, labels = subset.floats(), subset.labels
        plain_network = context.network(trained)
        network: nn.Module = plain_network
        fit = None
        if self.rule not in ("bp", "none"):
            defended = context.defended(trained)
            rule, fit = make_rule(self.rule, defended, trained, context, fit_images=self.fit_images, seed=self.seed)
            network = defended.seen_through(rule)
        access = GradientAccess(network)
        # The same start for every rule and radius: curves differ by the attacker alone.
        seed = derive_seed(self.seed, "attack", type(self.attack).__name__)
        result = self.attack(
            access,
            images.to(context.where),
            labels.to(context.where),
            make_ball(self.norm, self.eps),
            seed=seed,
        )
        return _outcome(result, images, labels, plain_network, fit, self.gallery)


_ATTACK_NAMES = {"CarliniWagnerL2": "CW"}


def _outcome(
    result: AttackResult,
    images: Tensor,
    labels: Tensor,
    network: nn.Module,
    fit: dict[str, Any] | None,
    gallery: int,
) -> Outcome:
    """Numbers and arrays of a result, with every claim of success confirmed by a fresh forward pass."""
    prediction = predict_logits(network, result.adversarial).argmax(1)
    clean = result.clean_correct.cpu()
    success = result.success.cpu()
    fooled = prediction != labels
    unconfirmed = int((success & ~fooled).sum())
    correct = int((clean & ~success).sum())
    arrays = {
        "index": np.arange(len(labels)),
        "success": success.numpy(),
        "clean_correct": clean.numpy(),
        "norm": result.norm.float().cpu().numpy(),
        "gradients": result.gradients.to(torch.int32).cpu().numpy(),
        "prediction": prediction.numpy(),
        "label": labels.numpy(),
    }
    if gallery:
        arrays |= {
            "original": images[:gallery].numpy(),
            "adversarial": result.adversarial[:gallery].float().cpu().numpy(),
            "clean_prediction": predict_logits(network, images[:gallery]).argmax(1).numpy(),
        }
    n_clean = int(clean.sum())
    norms = result.norm.cpu()[success]
    return Outcome(
        {
            "robust_accuracy": correct / len(labels),
            "n_images": len(labels),
            "correct": correct,
            "clean_correct": n_clean,
            "gradients": int(result.gradients.sum()),
            "zero_gradient_share": float(result.zero_gradient_share),
            "success_rate": int(success.sum()) / n_clean if n_clean else 0.0,
            "median_norm": float(norms.median()) if len(norms) else None,
            "unconfirmed": unconfirmed,
            "fit": fit,
        },
        arrays,
    )
