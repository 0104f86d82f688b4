"""The audit: what is given and what comes out; `battery.py` has what is tried, `measures.py` how claims are judged."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Complex
from torch import Tensor

from groundglass.attacks import Ball
from groundglass.attacks.access import UNIT, Model, check_bounds
from groundglass.attacks.attack import Attack
from groundglass.attacks.balls import L2, Each, Linf
from groundglass.attacks.criteria import UNTARGETED, Criterion, as_criterion
from groundglass.attacks.fitting import fitting_size
from groundglass.attacks.given_images import as_call
from groundglass.attacks.model_identity import digest, identity_of
from groundglass.attacks.norms import as_ball
from groundglass.attacks.probabilities import said_once
from groundglass.audit.battery import Battery
from groundglass.audit.claims import ClaimLike, each_of, understood
from groundglass.audit.config import AuditConfig
from groundglass.audit.kept import Kept
from groundglass.audit.ledger import GivenAttack, Ledger
from groundglass.audit.measures import judge
from groundglass.audit.network_checks import network_checks
from groundglass.audit.results import Audit
from groundglass.audit.subject import subject
from groundglass.audit.units import Units
from groundglass.core import Progress, accelerator, as_model, derive_seed, own_streams, silent
from groundglass.core.batch_size import BatchSize, checked
from groundglass.core.bounds import Bounds
from groundglass.core.files import check_place
from groundglass.core.modes import in_train_mode
from groundglass.core.schema import written
from groundglass.core.settings import fit
from groundglass.core.statistics import Proportion
from groundglass.core.text import short
from groundglass.data import ImagesLike
from groundglass.data.given import digest as digest_of
from groundglass.data.given import first_of
from groundglass.models import load_model


def audit(
    model: Model | str | Path,
    images: Any,
    labels: Any = None,
    ball: Any = None,
    *,
    claim: ClaimLike | Sequence[ClaimLike] | Mapping[str, ClaimLike] | None = None,
    natural: ImagesLike | None = None,
    matrix: Complex[Tensor, "m n"] | Sequence[Tensor] | None = None,
    views: Mapping[str, Model] | None = None,
    surrogates: Mapping[str, Model] | None = None,
    attacks: Mapping[str, GivenAttack] | None = None,
    config: AuditConfig | None = None,
    criterion: Criterion | Callable[[Tensor, Tensor], Tensor] | None = None,
    bounds: tuple[float, float] = UNIT,
    seed: int = 0,
    batch_size: BatchSize | None = None,
    checkpoint: Path | str | None = None,
    progress: Progress = silent,
) -> Audit:
    """What a network keeps, whatever is tried, and which claims that contradicts.

    The attacks are the same whatever is claimed. First PGD through the gradients that such a network has: its own, and of a
    defended network those of the paper's published code (`dfa-fresh`, and with a device `fa`). What one of them leaves is
    attacked by controls that should be weaker, by every adaptive gradient there is, by what an attacker draws, drawn again,
    by the best gradient with more steps, other losses and starts (APGD), by queries, by other models' images, and by
    attacks that you bring. An image that is fooled is not attacked again: what is right after all of them, image by image, is
    what the network keeps.

    A claim is then measured by its own attack on all images, and judged against that by its checks.

    Args:
        model: images in [0, 1] -> logits. Run in eval mode; its mode is put back. Or a network's name, "timm:resnet18", see
            `groundglass.models.load_model`.
        images, labels: at least one of them right; below a hundred the figures mean little. Tensors or arrays, [n, c, h, w]
            and [n]; or in place of images a set that has both, without `labels`: a Dataset, a DataLoader, a pair or another
            form that `groundglass.data.given` takes, read into memory. The ball may follow it directly.
        ball: the threat model, `Linf(8 / 255)` or `L2(0.5)`.
        claim: what is claimed; several in a list, or in a dict by their names. "own" is PGD through the network's own gradient,
            which for a defended network is that of its training, through B. A rule ("dfa-fresh"), a name of `views`, and
            names joined by "+" (what all of them leave, image by image) are PGD through these. A module is a view, a function
            of (model, images, labels, ball), an attack of this package or a name of `attacks` is an attack. A number in [0, 1]
            is a robust accuracy that somebody states. None: "own", and of a defended network the paper's too,
            "dfa-fresh+fa", or for a linear head "dfa-fresh". A view or an attack that is brought for a claim alone is tried
            last, and breaks what it breaks.
        natural: images that the attacker may run the model on, with labels, in any form that `groundglass.data.given` takes;
            surrogates of an optical layer are fitted to them. Of what is not in memory, the first `config.fit_images`.
        matrix: a retrieved U of the network's device; of an ensemble a list, one a part.
        views: by name, other modules with the model's logits and better gradients: a stand-in for what cannot be
            differentiated (BPDA).
        surrogates: by name, other models, to transfer attacks from.
        attacks: by name, attacks of your own: one of this package (`PGD(steps=200)`, `Square()`), or a function of (model,
            images, labels, ball) that returns images. One that fails, or that leaves an image outside the ball or [0, 1], is
            reported as invalid, and changes nothing.
        config: how much is tried: `QUICK` (the default), `STANDARD`, or sizes of your own.
        criterion: what counts as fooled: `Untargeted()`, `Targeted(classes)`, or a function of logits and labels to flags. An
            image that meets it as it is counts as wrong from the start.
        bounds: the range of the images, as the model, `views`, `surrogates` and `attacks` take them. The radius and the
            result's images are in the same units. Float images of `natural` are in it too, where it is not read from a file.
        seed: of all draws.
        batch_size: images in a pass through the model; "auto": as many as fit into the free memory, by what a few take; None: as
            each attack would. No result depends on it, if the model's logits for an image do not.
        checkpoint: a file that has what each attack made, once it has ended. If it is there, the audit goes on from it, to
            the same result; delete it when the result is kept. A model that draws from torch's stream is audited anew from
            where it first does. Not for a noisy device or a moving one, which count their frames.
        progress: told each attack.

    Raises:
        NothingToAuditError: the model gets no image right.
        ValueError: images, labels, ball, model or claim that cannot be, or a checkpoint of another audit; says what to do.
        DamagedFileError: the checkpoint was altered.

    Source of the checks: Athalye, Carlini, Wagner 2018; Carlini et al. 2019, "On evaluating adversarial robustness";
    Tramer et al. 2020, "On adaptive attacks".
    """
    started = time.perf_counter()
    bounds = check_bounds(bounds)
    model = as_model(load_model(model) if isinstance(model, str | Path) else model)
    if not callable(model):
        raise TypeError(f"an audit takes the model itself, images -> logits, not {type(model).__name__}")
    chosen = config if config is not None else AuditConfig()
    seed = fit(int, seed, "seed")
    size = None if batch_size is None else checked(batch_size)
    if checkpoint is not None:
        check_place(Path(checkpoint))
    with torch.inference_mode(False):
        images, labels, ball = as_call(model, images, labels, ball, bounds)
    units = Units(images, _one_ball(ball), Bounds(*bounds))
    ball = units.unit_ball
    ball.check(images, bounds[1] - bounds[0])
    goal = as_criterion(criterion)
    goal.check(labels)
    if not len(images):
        raise ValueError("there are no images to audit")
    if ball.radius == 0:
        raise ValueError("a ball of radius 0 holds nothing but the image: give a radius above 0, in pixel units")
    given_claims = each_of(claim)
    known = None if natural is None else first_of(natural, max(chosen.fit_images, chosen.labels), bounds=bounds)
    training = in_train_mode(model)
    # A model may draw from torch's own stream: it is made to begin here, and put back.
    with torch.inference_mode(False), own_streams(derive_seed(seed, "model")), said_once():
        if size == "auto":
            size = fitting_size(model, images, usual=Attack.usual_batch)
        who = subject(
            model,
            bounds=bounds,
            images=units.unit_images[:16],
            views=views or {},
            natural=known,
            matrix=matrix,
            fit_images=chosen.fit_images,
            labels=chosen.labels,
            seed=seed,
        )
        asked = understood(given_claims, who, attacks or {})
        ledger = Ledger(who.itself, units, labels, seed=seed, progress=progress, criterion=goal, batch_size=size)
        kept = None
        if checkpoint is not None:
            brought = {
                "views": {name: identity_of(view) for name, view in (views or {}).items()},
                "surrogates": sorted(surrogates or {}),
                "attacks": sorted(attacks or {}),
                "matrix": None if matrix is None else _digest_of(matrix),
                "natural": repr(known) if known is None or known is natural else digest_of(known),
                "settings": written(chosen),
                "ball": repr(units.ball),
                "seed": seed,
                "images": digest([images, ledger.labels]),
                "right": digest([ledger.broken_by]),
                **({} if goal == UNTARGETED else {"criterion": repr(goal)}),
                **({} if bounds == UNIT else {"bounds": bounds}),
            }
            kept = Kept(Path(checkpoint), {**identity_of(model), **brought})
        ledger.kept = kept
        battery = Battery(who, ledger, ball, chosen, seed)
        battery.probe(training=training)
        battery.run(surrogates or {}, attacks or {})
        claims = judge(asked, battery)
    earlier = 0.0 if kept is None or ledger.randomised else kept.earlier_seconds
    count = len(images)
    return Audit(
        ball=described(units.ball, bounds),
        clean=Proportion(len(ledger.right), count),
        worst=Proportion(len(ledger.standing), count),
        claims=claims,
        attempts=tuple(ledger.attempts),
        checks=network_checks(battery.findings, ledger),
        broken_by=ledger.broken_by,
        adversarial=units.back(ledger.adversarial),
        randomised=ledger.randomised,
        criterion=repr(goal),
        bounds=bounds,
        seconds=time.perf_counter() - started + earlier,
        earlier_seconds=earlier,
        computed_on=accelerator.described(images.device),
    )


def _digest_of(matrix: Tensor | Sequence[Tensor]) -> str:
    return digest(torch.view_as_real(one) for one in ([matrix] if isinstance(matrix, Tensor) else matrix))


def _one_ball(ball: Any) -> Linf | L2:
    if isinstance(ball, Each):
        raise ValueError(f"an audit is of one radius, not of {ball!r}: audit the images of each radius apart")
    found = as_ball(ball)
    if not isinstance(found, Linf | L2):
        raise ValueError(f"an audit is for Linf and L2, not for {found!r}: attack in it by APGD, PGD or SparseRS")
    return found


def described(ball: Ball, bounds: tuple[float, float] = UNIT) -> str:
    """A ball in words."""
    low, high = bounds
    where = "" if bounds == UNIT else f" (images in [{low:g}, {high:g}])"
    if isinstance(ball, Linf):
        return f"L-inf {short(ball.radius) if high - low <= 2 else f'{ball.radius:.4g}'}{where}"
    return f"L2 {ball.radius:g}{where}"
