"""The audit: what is given and what comes out; `steps.py` has what is done."""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor

from groundglass.attacks import Ball
from groundglass.attacks.access import Model
from groundglass.attacks.balls import Linf, as_ball
from groundglass.attacks.model_identity import digest, identity_of
from groundglass.audit.checks import checks
from groundglass.audit.config import AuditConfig
from groundglass.audit.kept import Kept
from groundglass.audit.ledger import GivenAttack
from groundglass.audit.results import Audit
from groundglass.audit.steps import AuditSteps
from groundglass.audit.subject import PAPER_RULES, Subject, subject
from groundglass.core import Progress, as_images, as_labels, derive_seed, silent
from groundglass.core.files import check_place
from groundglass.core.settings import In, fit
from groundglass.core.statistics import Proportion
from groundglass.data import ImageSet


def audit(
    model: Model,
    images: Float[Tensor, "n c h w"],
    labels: Int64[Tensor, "n"],
    ball: Ball,
    *,
    claimed: float | None = None,
    natural: ImageSet | None = None,
    matrix: Complex[Tensor, "m n"] | None = None,
    views: Mapping[str, Model] | None = None,
    surrogates: Mapping[str, Model] | None = None,
    attacks: Mapping[str, GivenAttack] | None = None,
    config: AuditConfig | None = None,
    seed: int = 0,
    checkpoint: Path | str | None = None,
    progress: Progress = silent,
) -> Audit:
    """Whether a robustness figure can be believed, and what is left of it under the strongest attacks here.

    The claim's own attack comes first: PGD through the model's gradient; for a network with an optical layer PGD through
    the gradients of the paper's published code. What it leaves is attacked by controls that should be weaker, by
    every adaptive gradient there is, by the best of these with more steps, other losses and starts (APGD), by
    queries, by other models' images, and by attacks that you bring. An image that is fooled is not attacked again: the
    worst case over all attacks, image by image, is the robust accuracy.

    Args:
        model: images in [0, 1] -> logits. Run in eval mode; its mode is put back.
        images, labels: at least one of them right; below a hundred the figures mean little.
        ball: the threat model.
        claimed: a robust accuracy that somebody states, in [0, 1]: is it borne out?
        natural: images that the attacker may run the model on; surrogates of an optical layer are fitted to them.
        matrix: a retrieved U of the network's device.
        views: by name, other modules with the model's logits and better gradients: a stand-in for what cannot be
            differentiated (BPDA).
        surrogates: by name, other models, to transfer attacks from.
        attacks: by name, attacks of your own.
        config: how much is tried.
        seed: of all draws.
        checkpoint: a file that has what each attack made, once it has ended. If it is there, the audit goes on from it, to
            the same result; delete it when the result is kept. A model that draws from torch's stream is audited anew from
            where it first does. Not for a noisy device or a moving one, which count their frames.
        progress: told each attack.

    Raises:
        NothingToAuditError: the model gets no image right.
        ValueError: images, labels, ball, model or figure that cannot be, or a checkpoint of another audit; says what to do.
        DamagedFileError: the checkpoint was altered.

    Source of the checks: Athalye, Carlini, Wagner 2018; Carlini et al. 2019, "On evaluating adversarial robustness";
    Tramer et al. 2020, "On adaptive attacks".
    """
    started = time.perf_counter()
    if not callable(model):
        raise TypeError(f"an audit takes the model itself, images -> logits, not {type(model).__name__}")
    chosen = config if config is not None else AuditConfig()
    seed = fit(int, seed, "seed")
    if checkpoint is not None:
        check_place(Path(checkpoint))
    with torch.inference_mode(False):
        images = as_images(images)
        labels, ball = as_labels(labels, images), as_ball(ball)
    ball.check(images)
    if not len(images):
        raise ValueError("there are no images to audit")
    if ball.radius == 0:
        raise ValueError("a ball of radius 0 holds nothing but the image: give a radius above 0, in pixel units")
    if claimed is not None:
        check_claim(claimed)
    training = isinstance(model, torch.nn.Module) and model.training
    # A model may draw from torch's own stream: it is made to begin here, and put back.
    with torch.inference_mode(False), torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "model"))
        who = subject(
            model,
            images=images[:16],
            views=views or {},
            natural=natural,
            matrix=matrix,
            fit_images=chosen.fit_images,
            seed=seed,
        )
        steps = AuditSteps(who, images, labels, ball, chosen, seed, progress)
        kept = None
        if checkpoint is not None:
            given = {
                "views": {name: identity_of(view) for name, view in (views or {}).items()},
                "surrogates": sorted(surrogates or {}),
                "attacks": sorted(attacks or {}),
                "matrix": None if matrix is None else digest([torch.view_as_real(matrix)]),
                "natural": repr(natural),
                "settings": asdict(chosen),
                "ball": repr(ball),
                "seed": seed,
                "images": digest([steps.ledger.images, steps.ledger.labels]),
                "right": digest([steps.ledger.broken_by]),
            }
            kept = Kept(Path(checkpoint), {**identity_of(model), **given})
        steps.ledger.kept = kept
        found = steps.run(surrogates or {}, attacks or {}, training)
    ledger, findings = found.ledger, replace(found.findings, stated=claimed)
    earlier = 0.0 if kept is None or ledger.randomised else kept.earlier_seconds
    count = len(images)
    clean = Proportion(int((ledger.broken_by != -2).sum()), count)
    return Audit(
        ball=described(ball),
        claimed_by=_claimed_by(who, chosen.steps),
        stated=claimed,
        clean=clean,
        claimed=Proportion(findings.after_claim, count),
        worst=Proportion(len(ledger.standing), count),
        attempts=tuple(ledger.attempts),
        checks=checks(findings, ledger),
        broken_by=ledger.broken_by,
        adversarial=ledger.adversarial,
        randomised=ledger.randomised,
        seconds=time.perf_counter() - started + earlier,
        earlier_seconds=earlier,
    )


def check_claim(claimed: float) -> None:
    """Refuse a stated figure that is not a share."""
    fit(Annotated[float, In("[0, 1]", "0.45, not 45")], claimed, "claimed")


def described(ball: Ball) -> str:
    """A ball in words."""
    if isinstance(ball, Linf):
        return f"L-inf {ball.radius * 255:.4g}/255"
    return f"L2 {ball.radius:g}"


def _claimed_by(who: Subject, steps: int) -> str:
    if tuple(mode.name for mode in who.claims) == PAPER_RULES:
        return f"the paper's attacks (PGD-{steps} through a fresh B and through an unrelated matrix)"
    return f"PGD-{steps} with the model's own gradient"
