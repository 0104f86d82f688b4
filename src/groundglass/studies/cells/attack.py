"""Cells that attack a trained network with one rule, at one radius; and the network as such an attacker sees it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from groundglass import attacks
from groundglass.adaptive import (
    FITTED,
    STAND_INS,
    StandInAccess,
    collapse,
    draw_seed,
    fit_facts,
    make_rule,
    observe,
    stand_in,
    unasked,
)
from groundglass.adaptive.channel import blurred
from groundglass.adaptive.stand_ins import LABELS, stand_in_facts
from groundglass.attacks import (
    L2,
    AttackCheckpoint,
    Ball,
    DrawnMatrix,
    GradientAccess,
    GradientAttack,
    LinearMatrix,
    Linf,
)
from groundglass.attacks.result import COLUMNS
from groundglass.core import derive_seed
from groundglass.core.sealed import without_locals
from groundglass.core.settings import Count, NotNegative, Tally
from groundglass.models import Defended, DefendedEnsemble, DefendedNetwork, devices_of, predict_logits
from groundglass.optics import BackwardRule, RandomFeedback, SimulatedOPU, entry_size, feedback_size, true_matrix
from groundglass.results import Record
from groundglass.results.kinds.attack import AttackResult, Fit
from groundglass.studies.cells.network import NEEDS_U, NetworkCell, is_given
from groundglass.studies.cells.retrieve import retrieved_matrix
from groundglass.studies.engine.cell import BaseCell, Cell, Outcome, filled, scratch_of
from groundglass.studies.engine.context import Context

#: What an attack is for: a figure, a sanity check ("control"), a yardstick ("reference"), one of several settings
#: ("sweep"), a rung of the access ladder alone, or the study that it is of.
Purpose = Literal[
    "figure",
    "control",
    "reference",
    "sweep",
    "ladder",
    "transfer",
    "extraction",
    "redraw",
    "ablation",
    "retrieval",
    "scale",
    "noise",
    "layer",
    "defences",
    "secret",
]
#: Rules that only who simulates the device can follow.
TRUE_MATRIX_RULES = ("exact", "exact-blurred")
_NAMES = {"CarliniWagnerL2": "CW"}


def widest(eps: float | tuple[float, ...]) -> float:
    """One number for a ball: where channels differ, the largest."""
    return max(eps) if isinstance(eps, tuple) else eps


def make_ball(norm: str, eps: float | tuple[float, ...]) -> Ball:
    """The ball that a cell names. A radius a channel is for L-inf alone."""
    if norm == "linf":
        return Linf(eps)
    assert isinstance(eps, float)
    return L2(eps)


def rewind(network: nn.Module, frames: int = 0) -> None:
    """Count the frames of a noisy camera from 0 again, or from `frames`: a cell's result does not depend on what others have
    asked."""
    for device in devices_of(network):
        if isinstance(device, SimulatedOPU):
            device.skip_frames(frames - device.frames)


@dataclass(frozen=True, kw_only=True)
class BallCell(BaseCell):
    """A cell of changes that stay within a ball.

    Attributes:
        norm, eps: the ball, in pixel units; a box may have a radius a channel.
        eps_paper: the same radius on the paper's axis, where it has one.
    """

    norm: Literal["linf", "l2"] = "linf"
    eps: NotNegative | tuple[NotNegative, ...]
    eps_paper: NotNegative | None = None

    @property
    def eps_per_channel(self) -> tuple[float, ...] | None:
        return self.eps if isinstance(self.eps, tuple) else None

    @property
    def ball_name(self) -> str:
        radius = widest(self.eps)
        return f"L-inf {radius * 255:.4g}/255" if self.norm == "linf" else f"L2 {radius:g}"

    def described(self) -> dict[str, Any]:
        return {"eps": widest(self.eps)}


@dataclass(frozen=True, kw_only=True)
class AttackCell(BallCell):
    """Attack the first `n_images` of the test set, or those of them that several networks get right.

    Attributes:
        rule: what the attacker differentiates with; "bp" for an ordinary network, "none" for an attack without gradients.
        labels: public labelled images that the attacker of the rule "own-head" fits a head to.
        smaller: the same attack in a smaller ball. What it fooled counts as fooled here too, and is not attacked again.
        gallery: this many images are kept whole, for the report.
        common: names those images; None attacks all.
        retrieved: has the matrix that the rule "bpda-retrieved" uses.
        matrix_error: relative, of the U that the rule "exact-blurred" uses, or of the B of "dfa"; None: B itself.
        error_scale: what the error is drawn at, see `blurred`: the true length of each "row", or that of the "law".
        confirmations: of a network with noise: how often it is asked whether an image fools it; more than half must say so.
    """

    target: NetworkCell
    rule: str
    attack: GradientAttack
    n_images: Count
    fit_images: Tally = 0
    labels: Count = LABELS
    gallery: Tally = 0
    seed: int
    common: Cell | None = None
    retrieved: Cell | None = None
    matrix_error: NotNegative | None = None
    error_scale: Literal["row", "law"] = "row"
    smaller: "AttackCell | None" = None
    purpose: Purpose = "figure"
    confirmations: Count = 1

    kind = "attack"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smaller is not None:
            nested(self, self.smaller)

    @property
    def name(self) -> str:
        matrix = f", {self.retrieved.name}" if self.retrieved is not None else ""
        if self.matrix_error is not None:
            matrix = f", error {self.matrix_error:g}"
        return f"{self.target.name} <- {self.rule} ({type(self.attack).__name__}, {self.ball_name}{matrix})"

    def described(self) -> dict[str, Any]:
        name, settings = type(self.attack).__name__, asdict(self.climb)  # type: ignore[call-overload]
        return {
            **super().described(),
            "model": self.target.name,
            "attack": _NAMES.get(name, name),
            "settings": settings,
            **{part: settings.get(part) for part in ("steps", "step_size", "restarts")},
            "fit_images": self.fit_images if self.rule.startswith("bpda-fit") else None,
            "labels": self.labels if self.rule == "own-head" else None,
        }

    def needs(self) -> str:
        return NEEDS_U if self.rule in TRUE_MATRIX_RULES and is_given(self.target) else ""

    @property
    def climb(self) -> GradientAttack:
        """The attack as this rule's attacker can run it: without the upper weights it is told nothing on the way."""
        return unasked(self.attack) if self.rule in STAND_INS else self.attack

    def access(
        self, trained: Record, context: Context, retrieved: Record | None = None, *, draw: int = 0
    ) -> tuple[GradientAccess, dict[str, Any] | None]:
        """What the attack asks, at a draw of the attacker's; and what a fitted rule cost and reached."""
        seed = draw_seed(self.seed, draw)
        if self.rule not in STAND_INS:
            network, fit = seen_by(
                self.rule,
                trained,
                context,
                fit_images=self.fit_images,
                seed=seed,
                retrieved=retrieved,
                matrix_error=self.matrix_error,
                by_law=self.error_scale == "law",
                redrawn=draw > 0,
            )
            return GradientAccess(network), fit
        target = context.target(trained)
        if not isinstance(target, Defended):
            raise ValueError(f"{trained.name} has no optical layer, so nothing lies below it: the rule 'bp' attacks it")
        made = context.memo(
            f"{trained.key}/{self.rule}/{self.labels}/{seed}",
            lambda: stand_in(self.rule, target, labelled=context.dataset.train, labels=self.labels, seed=seed),
        )
        return StandInAccess(target, made), stand_in_facts(made)

    def run(self, inputs: Sequence[Record], context: Context) -> Outcome:
        trained, test = inputs[0], context.dataset.test.head(self.n_images)
        index = np.arange(len(test)) if self.common is None else context.arrays(inputs[1])["index"]
        images, labels = test.floats(torch.from_numpy(index)).to(context.where), test.labels[index].to(context.where)
        rewind(context.network(trained))
        access, fit = self.access(trained, context, record_of(self.retrieved, self, inputs))
        rewind(context.network(trained))  # a rule may have been fitted now, or before
        before = None if self.smaller is None else context.arrays(record_of(self.smaller, self, inputs))
        # Images of the gallery are shown as they are here, so they are attacked in any case.
        left = (
            np.ones(len(index), bool) if before is None else ~before["success"] | (np.arange(len(index)) < self.gallery)
        )
        rows = torch.from_numpy(left.nonzero()[0]).to(context.where)
        # The same start for every rule and radius: curves differ by the attacker alone.
        seed = derive_seed(self.seed, "attack", type(self.attack).__name__)
        checkpoint = AttackCheckpoint(scratch_of(self, context))
        ball = make_ball(self.norm, self.eps)
        claimed = self.climb(access, images[rows], labels[rows], ball, seed=seed, indices=rows, checkpoint=checkpoint)
        # The attack ran on a copy arranged for speed: what counts is what fools the network itself.
        itself = context.network(trained)
        result = claimed.confirmed(GradientAccess(itself), labels[rows], votes=self.confirmations)
        unconfirmed = int(claimed.success.sum() - result.success.sum())
        prediction = predict_logits(itself, result.adversarial).argmax(1).numpy()
        if before is not None:
            prediction = _put(before["prediction"], rows, prediction)
            result = _with_fallen(result, rows, before, images)
        norms = result.norm[result.success]
        found = filled(
            AttackResult,
            result,
            n_images=len(result),
            correct=int(result.robust.sum()),
            clean_correct=int(result.clean_correct.sum()),
            gradients=int(result.gradients.sum()),
            median_norm=float(norms.median()) if len(norms) else None,
            unconfirmed=unconfirmed,
            fit=None if fit is None else Fit(**fit),
        )
        arrays = {
            "index": index,
            "success": result.success.cpu().numpy(),
            "clean_correct": result.clean_correct.cpu().numpy(),
            "norm": result.norm.float().cpu().numpy(),
            "gradients": result.gradients.to(torch.int32).cpu().numpy(),
            "prediction": prediction,
            "label": labels.cpu().numpy(),
        }
        if shown := self.gallery:
            arrays |= {
                "original": images[:shown].cpu().numpy(),
                "adversarial": result.adversarial[:shown].float().cpu().numpy(),
                "clean_prediction": predict_logits(itself, images[:shown]).argmax(1).numpy(),
            }
        return Outcome(found, arrays, earlier_seconds=checkpoint.earlier_seconds, scratch=checkpoint.path)


_OF_AN_ATTACK = ("target", "rule", "norm", "common", "seed", "labels", "fit_images", "n_images", "confirmations")


def nested(
    cell: BallCell,
    smaller: BallCell,
    parts: Sequence[str] = (*_OF_AN_ATTACK, "retrieved", "matrix_error", "error_scale"),
) -> None:
    """Refuse an attack that is not the same, but for its steps, in a smaller ball.

    Args:
        parts: attributes that both must share.
    """
    for part in parts:
        if getattr(smaller, part) != getattr(cell, part):
            raise ValueError(f"`smaller` attacks with another {part}: give the same attack in a smaller ball")
    one, other = (each.eps if isinstance(each.eps, tuple) else (each.eps,) for each in (smaller, cell))
    if len(one) != len(other) or any(a > b for a, b in zip(one, other, strict=True)):
        raise ValueError("`smaller` must have a ball that lies in this one: give the radii in order")


def record_of(wanted: Cell | None, cell: Cell, inputs: Sequence[Record]) -> Any:
    """The record of one of a cell's inputs; None for none."""
    return next((record for each, record in zip(cell.inputs, inputs, strict=True) if each is wanted), None)


def _put(before: np.ndarray, rows: Tensor, now: np.ndarray) -> np.ndarray:
    made = before.copy()
    made[rows.cpu().numpy()] = now
    return made


def _with_fallen(
    result: attacks.AttackResult, rows: Tensor, before: dict[str, np.ndarray], images: Tensor
) -> attacks.AttackResult:
    """All images: those of `rows` as they are now, the others as the attack in the smaller ball fooled them, at no cost."""
    known = {name: torch.from_numpy(before[name]).to(images.device) for name in ("success", "clean_correct", "norm")}
    whole: dict[str, Any] = {"adversarial": images, **known}
    for name in COLUMNS:
        own = getattr(result, name)
        whole[name] = whole[name].clone() if name in whole else own.new_zeros(len(images))
        # What fooled in the smaller ball is in this one too.
        whole[name][rows] = own | whole[name][rows] if name == "success" else own
    return attacks.AttackResult(**whole)


@without_locals
def seen_by(
    rule: str,
    trained: Record,
    context: Context,
    *,
    fit_images: int,
    seed: int,
    retrieved: Record | None = None,
    matrix_error: float | None = None,
    by_law: bool = False,
    redrawn: bool = False,
) -> tuple[nn.Module, dict[str, Any] | None]:
    """The network as an attacker with this rule differentiates it, and what a fitted rule cost and reached.

    Args:
        fit_images: of the fitted rules.
        retrieved, matrix_error: see `AttackCell`.
        by_law: the error is drawn at the length that rows have by their law.
        redrawn: it is one of many draws of the same attacker.

    Raises:
        ValueError: the rule is not for this network, or lacks what it needs.
    """
    target = context.target(trained)
    if rule == "none":
        return target, None
    if not isinstance(target, Defended):
        if rule != "bp":
            raise ValueError(f"{trained.name} has no optical layer: the rule 'bp' attacks it")
        return target, None
    if rule == "bpda-retrieved":
        matrix = None if retrieved is None else retrieved_matrix(retrieved, context)
        return target.seen_through(make_rule(rule, target, seed=seed, matrix=matrix)), None
    if rule == "exact-blurred":
        if matrix_error is None:
            raise ValueError("the rule 'exact-blurred' needs a `matrix_error`")
        of_blur = derive_seed(seed, "blur", str(matrix_error))
        seeds = [of_blur, *(derive_seed(of_blur, "part", number) for number in range(1, len(target.parts)))]
        wrong = [
            blurred(true_matrix(one), matrix_error, own, size=entry_size(one) if by_law else None)
            for one, own in zip(target.devices, seeds, strict=True)
        ]
        given = wrong if isinstance(target, DefendedEnsemble) else wrong[0]
        return target.seen_through(make_rule(rule, target, seed=seed, matrix=given)), None

    if rule == "dfa" and matrix_error is not None:
        if not isinstance(target, DefendedNetwork) or target.feedback is None:
            raise ValueError(f"{trained.name} has no single B that could be wrong: leave out `matrix_error`")
        size = feedback_size(target.feedback.shape[1]) if by_law else None
        feedback = blurred(target.feedback, matrix_error, derive_seed(seed, "blur", str(matrix_error)), size=size)
        return target.seen_through(RandomFeedback(feedback, rule)), None

    def pairs() -> Any:
        subset = context.dataset.train.head(fit_images)
        return context.memo(f"pairs/{trained.key}/{fit_images}", lambda: observe(target, subset))

    def make() -> BackwardRule:
        given = pairs if rule in FITTED else None
        # The network learns no more: what lies above the device can be worked into the rule.
        made = make_rule(rule, target, seed=derive_seed(seed, "rule", rule), pairs=given)
        return collapse(made, target, context.few_images)

    # A rule is made once in a run: it may hold a drawn matrix, or have been fitted.
    # Redrawn, only if it is smaller than the device: there may be twenty.
    made: BackwardRule = context.memo(
        f"{trained.key}/{rule}/{fit_images}/{seed}",
        make,
        keep=lambda one: not redrawn or not isinstance(one, DrawnMatrix | LinearMatrix),
    )
    return target.seen_through(made), fit_facts(made)
