"""Cells that attack a trained network with one rule, at one radius."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from groundglass import attacks
from groundglass.attacks import L2, PGD, Ball, CarliniWagnerL2, GradientAccess, Linf
from groundglass.core import derive_seed
from groundglass.models import predict_logits
from groundglass.results import Record
from groundglass.results.kinds.attack import AttackConfig, AttackResult, Fit
from groundglass.studies.cells.gradient import seen_by
from groundglass.studies.cells.network import NetworkCell
from groundglass.studies.engine.cell import Cell, Outcome, attack_checkpoint, resumable
from groundglass.studies.engine.context import Context


class Attack(Protocol):
    """An attack of `groundglass.attacks`: a frozen dataclass, its configuration."""

    def __call__(
        self, access: GradientAccess, images: Tensor, labels: Tensor, ball: Ball, *, seed: int
    ) -> attacks.AttackResult: ...


def make_ball(norm: str, eps: float | tuple[float, ...]) -> Ball:
    """The ball that a cell names. A radius a channel is for L-inf alone."""
    if norm == "linf":
        return Linf(eps)
    assert isinstance(eps, float)
    return L2(eps)


@dataclass(frozen=True, kw_only=True)
class AttackCell:
    """Attack the first `n_images` of the test set, or those of them that several networks get right.

    Attributes:
        target: the network.
        rule: what the attacker differentiates with; "bp" for an ordinary network, "none" for an attack without gradients.
        attack: the attack, its configuration.
        norm, eps: the ball, in pixel units.
        eps_paper: the same radius on the paper's axis, where it has one.
        gallery: this many images are kept whole, for the report.
        common: names those images; None attacks all.
        retrieved: has the matrix that the rule "bpda-retrieved" uses.
        matrix_error: relative, of the matrix that the rule "exact-blurred" uses.
        purpose: "figure", "control" for the sanity checks, "reference" for the black-box study to compare with, or the
            study that it is of.
    """

    target: NetworkCell
    rule: str
    attack: Attack
    norm: Literal["linf", "l2"]
    eps: float | tuple[float, ...]
    eps_paper: float | None
    n_images: int
    fit_images: int
    gallery: int
    seed: int
    common: Cell | None = None
    retrieved: Cell | None = None
    matrix_error: float | None = None
    purpose: Literal["figure", "control", "reference", "transfer", "redraw", "ablation", "retrieval", "scale"] = (
        "figure"
    )

    kind = "attack"

    @property
    def radius(self) -> float:
        """One number for the ball: where channels differ, the largest."""
        return max(self.eps) if isinstance(self.eps, tuple) else self.eps

    @property
    def name(self) -> str:
        kind = type(self.attack).__name__
        at = f"L-inf {self.radius * 255:.4g}/255" if self.norm == "linf" else f"L2 {self.radius:g}"
        matrix = f", {self.retrieved.name}" if self.retrieved is not None else ""
        if self.matrix_error is not None:
            matrix = f", error {self.matrix_error:g}"
        return f"{self.target.name} <- {self.rule} ({kind}, {at}{matrix})"

    @property
    def inputs(self) -> Sequence[Cell]:
        return tuple(cell for cell in (self.target, self.common, self.retrieved) if cell is not None)

    def config(self) -> AttackConfig:
        settings = asdict(self.attack)  # type: ignore[call-overload]
        return AttackConfig(
            model=self.target.name,
            rule=self.rule,
            attack=_ATTACK_NAMES.get(type(self.attack).__name__, type(self.attack).__name__),
            settings=settings,
            norm=self.norm,
            eps=self.radius,
            eps_per_channel=self.eps if isinstance(self.eps, tuple) else None,
            eps_paper=self.eps_paper,
            steps=settings.get("steps"),
            step_size=settings.get("step_size"),
            restarts=settings.get("restarts"),
            n_images=self.n_images,
            fit_images=self.fit_images if self.rule.startswith("bpda-fit") else None,
            gallery=self.gallery,
            seed=self.seed,
            purpose=self.purpose,
            matrix_error=self.matrix_error,
        )

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        trained, test = inputs[0], context.dataset.test.head(self.n_images)
        index = np.arange(len(test)) if self.common is None else context.arrays(inputs[1])["index"]
        images, labels = test.floats(torch.from_numpy(index)), test.labels[index]
        network, fit = seen_by(
            self.rule,
            trained,
            context,
            fit_images=self.fit_images,
            seed=self.seed,
            retrieved=None if self.retrieved is None else inputs[-1],
            matrix_error=self.matrix_error,
        )
        # The same start for every rule and radius: curves differ by the attacker alone.
        seed = derive_seed(self.seed, "attack", type(self.attack).__name__)
        images, labels = images.to(context.where), labels.to(context.where)
        ball, checkpoint = make_ball(self.norm, self.eps), None
        if isinstance(self.attack, PGD | CarliniWagnerL2):
            checkpoint = attack_checkpoint(self, context)
            claimed = self.attack(GradientAccess(network), images, labels, ball, seed=seed, checkpoint=checkpoint)
        else:  # over in seconds
            claimed = self.attack(GradientAccess(network), images, labels, ball, seed=seed)
        # The attack ran on a copy arranged for speed: what counts is what fools the network itself.
        itself = context.network(trained)
        result = claimed.confirmed(GradientAccess(itself), labels)
        withdrawn = int(claimed.success.sum() - result.success.sum())
        norms = result.norm[result.success]
        found = AttackResult(
            robust_accuracy=result.robust_accuracy,
            n_images=len(result),
            correct=int(result.robust.sum()),
            clean_correct=int(result.clean_correct.sum()),
            gradients=int(result.gradients.sum()),
            zero_gradient_share=result.zero_gradient_share,
            success_rate=result.success_rate,
            median_norm=float(norms.median()) if len(norms) else None,
            unconfirmed=withdrawn,
            fit=None if fit is None else Fit(**fit),
        )
        arrays = _arrays(result, index, images, labels, itself, self.gallery)
        return Outcome(found, arrays) if checkpoint is None else resumable(found, arrays, checkpoint)


_ATTACK_NAMES = {"CarliniWagnerL2": "CW"}


def _arrays(
    result: attacks.AttackResult,
    index: np.ndarray,
    images: Tensor,
    labels: Tensor,
    network: nn.Module,
    gallery: int,
) -> dict[str, np.ndarray]:
    arrays = {
        "index": index,
        "success": result.success.cpu().numpy(),
        "clean_correct": result.clean_correct.cpu().numpy(),
        "norm": result.norm.float().cpu().numpy(),
        "gradients": result.gradients.to(torch.int32).cpu().numpy(),
        "prediction": predict_logits(network, result.adversarial).argmax(1).numpy(),
        "label": labels.cpu().numpy(),
    }
    if gallery:
        arrays |= {
            "original": images[:gallery].cpu().numpy(),
            "adversarial": result.adversarial[:gallery].float().cpu().numpy(),
            "clean_prediction": predict_logits(network, images[:gallery]).argmax(1).numpy(),
        }
    return arrays
