"""Adversarial training: each step is on images that an attack made for the weights of that step."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Generator, Tensor, nn

from groundglass.adaptive import FITTED, check_rules, make_rule, observe
from groundglass.attacks import Linf
from groundglass.attacks.fitted_rules import FEWEST_PAIRS
from groundglass.attacks.gradient_attack import LinfStepSize
from groundglass.core import check_eps, derive_seed, generator, normal, uniform
from groundglass.core.modes import evaluating
from groundglass.core.settings import Count, NotNegative, Settings
from groundglass.data import Images
from groundglass.models import Defended, DefendedEnsemble, devices_of
from groundglass.optics import BackwardRule
from groundglass.training.precision import Precision

#: Rules that can be made again quickly while the network changes.
RULES_WHILE_TRAINING = ("bp", "ste", "dfa", "dfa-fresh", "fa", "bpda-drawn", "bpda-fit-linear", "exact")

#: Images in [0, 1] -> logits, in a graph: of the attacker's rule, or of the credit assignment.
Forward = Callable[[Tensor], Tensor]

#: Images, labels (without an attack inside also probabilities of the classes) and the number of a step of an epoch ->
#: logits to count right ones in, and the loss.
Objective = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class AdversarialTraining(Settings, ABC):
    """An attack inside each step of training, and the loss on its images. See `PGDTraining` and `TRADES`.

    The attack climbs in eval mode (dropout off, BatchNorm with its running statistics), in the precision of training,
    and leaves nothing behind. In a defended network its gradient comes through a backward rule of its own, which need
    not be the one that trains the weights. An image whose gradient is all zero takes a step at random.

    Attributes:
        eps: L-inf radius, pixel units, in (0, 1]: 8 / 255.
        steps: of the attack; each costs a forward and a backward pass, and on a device as many frames as images.
        step_size: pixel units; None: 2.5 * eps / steps.
        rule: how the attack differentiates the network, a name of `groundglass.adaptive.RULES`. "bp" for an ordinary
            network. For a defended one "dfa" (the B that trains it), "exact" (its U: simulated devices only), or a rule
            that is made anew at the start of every epoch: "dfa-fresh", "fa" and "bpda-drawn", drawn, so that the network
            cannot learn one draw, and "bpda-fit-linear", fitted. With a linear head "bp", or on bits "ste".
        fit_images: a fitted rule is fitted on the first so many training images (or all), without augmentation.
    """

    eps: float
    steps: Count = 7
    step_size: LinfStepSize | None = None
    rule: str = "bp"
    fit_images: int = 2000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self.eps, upper=1, unit="(L-inf)")
        if self.eps == 0:
            raise ValueError("`eps` (=0) must be above 0, in pixel units: for plain training adversarial=None")
        if self.fit_images < FEWEST_PAIRS:
            raise ValueError(f"`fit_images` (={self.fit_images}) must be at least {FEWEST_PAIRS}")
        check_rules((self.rule,))
        if self.rule not in RULES_WHILE_TRAINING:
            raise ValueError(
                f"the rule {self.rule!r} cannot be made again in every epoch while the network changes. "
                f"These can: {', '.join(RULES_WHILE_TRAINING)}"
            )

    @property
    def weight(self) -> float:
        """Of all terms of the loss together; cross-entropy's alone is 1."""
        return 1.0

    @property
    def fits(self) -> bool:
        """Whether the rule depends on the weights that an epoch begins with, and not on seeds alone."""
        return self.rule in FITTED

    def described(self) -> dict[str, Any]:
        """All of it, as part of an identity."""
        return {"kind": type(self).__name__, **asdict(self)}

    def check(self, model: nn.Module, images: Images) -> None:
        """Refuse a network that the rule does not fit.

        Raises:
            ValueError: says which rules there are for it.
        """
        if isinstance(model, DefendedEnsemble) and model.votes:
            raise ValueError(
                "the parts of a vote learn apart: train each on its own adversarial images, then make the ensemble"
            )
        if not isinstance(model, Defended):
            if self.rule != "bp":
                raise ValueError(f"the rule {self.rule!r} is for a defended network; this one has no device: rule='bp'")
            return
        if self.rule == "bp" and devices_of(model):
            there = ", ".join(rule for rule in RULES_WHILE_TRAINING if rule not in ("bp", "ste"))
            raise ValueError(f"the rule 'bp' cannot pass the optical layer of this network. These can: {there}")
        if not self.fits:
            try:
                make_rule(self.rule, model, seed=0)
            except TypeError as error:  # "exact", for a device that is not simulated
                raise ValueError(f"the rule {self.rule!r} is not for this network: {error}") from error
        elif len(images) < FEWEST_PAIRS:
            raise ValueError(f"{len(images)} images are too few to fit {self.rule!r}: it needs {FEWEST_PAIRS}")

    def objective(
        self, model: nn.Module, learn: Forward, images: Images, *, precision: Precision, seed: int, epoch: int
    ) -> Objective:
        """What each step of an epoch minimises. All that is random in it depends on the seed, the epoch and the step.

        Args:
            model: in train mode, and with the weights that the epoch begins with.
            learn: the network as the credit assignment differentiates it.
            images: the training set, for a rule that is fitted.
            precision: of the attack's passes.
        """
        rule = self._make_rule(model, images, seed, epoch)

        def climb(x: Tensor) -> Tensor:
            # A copy, in the graph: a network may normalise its input in place.
            x = x.clone()
            # A context of its own: autocast would hand casts of weights, made without a graph, on to the training pass.
            with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                if rule is None:
                    logits: Tensor = model(x)
                    return logits
                assert isinstance(model, Defended)
                return model.run(x, rule)

        def objective(x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
            # Parameters need no freezing: a gradient asked for images alone computes none for weights (measured).
            with evaluating(model):
                hard = self.craft(climb, x, y, generator=generator(seed, "adversarial", epoch, step))
            return self._loss(learn, x, hard, y)

        return objective

    def craft(
        self,
        climb: Forward,
        images: Float[Tensor, "batch c h w"],
        labels: Int64[Tensor, "batch"],
        *,
        generator: Generator,
    ) -> Float[Tensor, "batch c h w"]:
        """The last iterate of the attack, in the ball and in [0, 1].

        Args:
            climb: the network as the attacker differentiates it, in eval mode; only images get a gradient.
            generator: on the CPU, of all that is drawn.
        """
        ball = Linf(self.eps)
        size = 2.5 * self.eps / self.steps if self.step_size is None else self.step_size
        goal = self._goal(climb, images, labels)
        drawn = self._noise(images.shape, generator)
        noise = torch.empty_like(images, dtype=drawn.dtype).copy_(drawn)  # in the layout of the images
        x = ball.project(images + noise, images)
        for _ in range(self.steps):
            x.requires_grad_()
            (grad,) = torch.autograd.grad(goal(climb(x).float()), x)
            stuck = grad.flatten(1).abs().amax(1) == 0
            if bool(stuck.any()):
                grad[stuck] = normal(*grad[stuck].shape, generator=generator).to(grad)
            x = ball.project(x.detach() + ball.step(grad, size), images)
        return x

    def _make_rule(self, model: nn.Module, images: Images, seed: int, epoch: int) -> BackwardRule | None:
        if not isinstance(model, Defended):
            return None
        with evaluating(model):
            return make_rule(
                self.rule,
                model,
                seed=derive_seed(seed, "adversarial", "rule", epoch),
                pairs=lambda: observe(model, images.first(self.fit_images)),
            )

    @abstractmethod
    def _noise(self, shape: torch.Size, generator: Generator) -> Tensor:
        """The attack starts at the image plus this."""

    @abstractmethod
    def _goal(self, climb: Forward, images: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Logits -> what the attack maximises, summed over the batch: an image's gradient is its own."""

    @abstractmethod
    def _loss(self, learn: Forward, images: Tensor, hard: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of `hard`, and the loss."""


@dataclass(frozen=True, kw_only=True)
class PGDTraining(AdversarialTraining):
    """Training on PGD's images alone (Madry et al. 2018): sign steps up the cross-entropy from a random point of the ball.

    Differences from the original: the attack runs in eval mode, theirs with BatchNorm's batch statistics; the step is
    2.5 * eps / steps, theirs 2 / 255 with 7 steps of eps = 8 / 255; any rule of backward passes, theirs is "bp".
    """

    def _noise(self, shape: torch.Size, generator: Generator) -> Tensor:
        return (2 * uniform(*shape, generator=generator) - 1) * self.eps

    def _goal(self, climb: Forward, images: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda logits: F.cross_entropy(logits, labels, reduction="sum")

    def _loss(self, learn: Forward, images: Tensor, hard: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = learn(hard)
        return logits, F.cross_entropy(logits.float(), labels)


@dataclass(frozen=True, kw_only=True)
class TRADES(AdversarialTraining):
    """Cross-entropy of the image plus beta * KL(p(x) || p(x')), x' made to maximise that KL (Zhang et al. 2019).

    The attack starts at x + 0.001 n, n normal: at x itself the KL has no gradient.

    x and x' pass through the network one after the other, as in the authors' code, not as one batch: so each is
    normalised by BatchNorm statistics of its own, a prediction of clean images does not depend on adversarial ones, and
    with beta = 0 this is plain training. (Each pass moves the running statistics; each has dropout of its own.)

    Differences from the original: the start is projected into the ball and [0, 1]; the step is 2.5 * eps / steps, theirs
    .007 with 10 steps of eps = .031; an image whose start did not change its logits, which a binarisation makes likely,
    takes a step at random, where theirs would never move; x passes once, and its logits serve both terms, where their code
    passes it once for each: so BatchNorm's running statistics move once less.

    Attributes:
        beta: the authors' 6 favours robustness, 1 favours accuracy.
    """

    beta: NotNegative = 6.0

    @property
    def weight(self) -> float:
        return 1 + self.beta

    def _noise(self, shape: torch.Size, generator: Generator) -> Tensor:
        return 0.001 * normal(*shape, generator=generator)

    def _goal(self, climb: Forward, images: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        with torch.no_grad():
            clean = F.log_softmax(climb(images).float(), 1)
        return lambda logits: F.kl_div(F.log_softmax(logits, 1), clean, reduction="sum", log_target=True)

    def _loss(self, learn: Forward, images: Tensor, hard: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        clean, logits = learn(images).float(), learn(hard).float()
        apart = F.kl_div(F.log_softmax(logits, 1), F.log_softmax(clean, 1), reduction="batchmean", log_target=True)
        return logits, F.cross_entropy(clean, labels) + self.beta * apart
