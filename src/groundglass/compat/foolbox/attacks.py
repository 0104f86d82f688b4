"""foolbox's attacks: `from groundglass.compat.foolbox.attacks import LinfPGD`."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from groundglass import attacks
from groundglass.attacks import L2, Ball, Linf
from groundglass.compat.calls import Recipe, Subject, ball, predicted, refuse
from groundglass.compat.foolbox.models import opened
from groundglass.compat.missing import missing
from groundglass.core import lookup
from groundglass.core.settings import NotNegative, fit

__all__ = [
    "FGM",
    "FGSM",
    "L2PGD",
    "PGD",
    "HopSkipJumpAttack",
    "L2CarliniWagnerAttack",
    "L2DeepFoolAttack",
    "L2FastGradientAttack",
    "L2ProjectedGradientDescentAttack",
    "LinfBasicIterativeAttack",
    "LinfDeepFoolAttack",
    "LinfFastGradientAttack",
    "LinfPGD",
    "LinfProjectedGradientDescentAttack",
]


class Attack(ABC):
    """An attack: `attack(fmodel, inputs, criterion, epsilons=...)`."""

    @abstractmethod
    def __call__(
        self, fmodel: Any, inputs: Any, criterion: Any, *, epsilons: Any, seed: int = 0
    ) -> tuple[Any, Any, Any]:
        """Adversarial images, before and after they are clipped to the ball, and whether they fool the model."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in vars(self).items())})"


class _InEachBall(Attack):
    """Made anew at each radius, on what the smaller ones left."""

    @abstractmethod
    def _at(self, eps: float, width: float) -> Recipe:
        """Our attack at a radius; both are in units of images whose range has this width."""

    def __call__(
        self, fmodel: Any, inputs: Any, criterion: Any, *, epsilons: Iterable[float] | float, seed: int = 0
    ) -> tuple[Any, Any, Any]:
        """Adversarial images, twice (foolbox: before and after they are clipped to the ball; ours are always in it), and whether
        they fool the model: of one epsilon tensors, of several lists, and a tensor [epsilons, n].

        Args:
            criterion: labels, `Misclassification(labels)` or `TargetedMisclassification(classes)`; or foolbox's own.
        """
        images, wrap = opened(inputs)
        radii, several = _radii(epsilons)
        subject = _subject(fmodel, images, criterion, seed)
        found = {0.0: (images, _met(subject, images))}
        rising = sorted(set(radii) - {0.0})
        width = subject.bounds[1] - subject.bounds[0]
        for eps, result in zip(rising, subject.in_turn(self._at(eps, width) for eps in rising), strict=True):
            found[eps] = result.adversarial, ~result.robust
        adversarial = [wrap(found[eps][0]) for eps in radii]
        if not several:
            return adversarial[0], adversarial[0], wrap(found[radii[0]][1])
        return adversarial, list(adversarial), wrap(torch.stack([found[eps][1] for eps in radii]))


def _subject(fmodel: Any, images: Tensor, criterion: Any, seed: int) -> Subject:
    """The model and images, with what counts as fooled."""

    def model(batch: Tensor) -> Tensor:
        found: Tensor = opened(fmodel(batch))[0]
        return found

    low, high = fmodel.bounds
    options: dict[str, Any] = {"bounds": (float(low), float(high)), "seed": seed}
    if not hasattr(criterion, "target_classes"):
        return Subject.of(model, images, opened(getattr(criterion, "labels", criterion))[0], **options)
    targets = opened(criterion.target_classes)[0]
    if getattr(targets, "ndim", 0) and len(targets) != len(images):
        raise ValueError(f"{len(targets)} target classes for {len(images)} images: one an image")
    return Subject.of(model, images, None, targets, **options)  # the true classes are not said


def _met(subject: Subject, images: Tensor) -> Tensor:
    """Which of these images fool."""
    found = predicted(subject.model, images)
    return found != subject.labels if subject.targets is None else found == subject.targets


class _Descent(_InEachBall):
    """Steps of a size relative to the radius, unless an absolute one is given, in the units of the images."""

    _kind: type[Ball]

    def __init__(self, rel_stepsize: float, abs_stepsize: float | None, steps: int, random_start: bool) -> None:
        self.rel_stepsize, self.abs_stepsize, self.steps = rel_stepsize, abs_stepsize, steps
        self.random_start = random_start

    def _at(self, eps: float, width: float) -> Recipe:
        size = (self.rel_stepsize * eps if self.abs_stepsize is None else self.abs_stepsize) / width
        made: Any = self._kind
        return Recipe(attacks.PGD(steps=self.steps, step_size=size, random_start=self.random_start), made(eps))


class LinfProjectedGradientDescentAttack(_Descent):
    """`groundglass.attacks.PGD` in L-inf."""

    _kind = Linf

    def __init__(
        self,
        *,
        rel_stepsize: float = 0.01 / 0.3,
        abs_stepsize: float | None = None,
        steps: int = 40,
        random_start: bool = True,
    ) -> None:
        super().__init__(rel_stepsize, abs_stepsize, steps, random_start)


class L2ProjectedGradientDescentAttack(_Descent):
    """`groundglass.attacks.PGD` in L2."""

    _kind = L2

    def __init__(
        self,
        *,
        rel_stepsize: float = 0.025,
        abs_stepsize: float | None = None,
        steps: int = 50,
        random_start: bool = True,
    ) -> None:
        super().__init__(rel_stepsize, abs_stepsize, steps, random_start)


class LinfBasicIterativeAttack(_Descent):
    """PGD in L-inf with ten larger steps, from the image itself."""

    _kind = Linf

    def __init__(
        self,
        *,
        rel_stepsize: float = 0.2,
        abs_stepsize: float | None = None,
        steps: int = 10,
        random_start: bool = False,
    ) -> None:
        super().__init__(rel_stepsize, abs_stepsize, steps, random_start)


class LinfFastGradientAttack(_Descent):
    """One step of the whole radius in L-inf."""

    _kind = Linf

    def __init__(self, *, random_start: bool = False) -> None:
        super().__init__(1.0, None, 1, random_start)


class L2FastGradientAttack(_Descent):
    """One step of the whole radius in L2."""

    _kind = L2

    def __init__(self, *, random_start: bool = False) -> None:
        super().__init__(1.0, None, 1, random_start)


class _Nearest(Attack):
    """The nearest image that fools; then brought into each ball."""

    def __init__(self, attack: attacks.NearestImageAttack, budget: int | None = None) -> None:
        self.attack, self._budget = attack, budget

    def __call__(
        self, fmodel: Any, inputs: Any, criterion: Any, *, epsilons: Any = None, seed: int = 0
    ) -> tuple[Any, Any, Any]:
        """As `Attack`; where `epsilons` is None, the nearest image alone."""
        images, wrap = opened(inputs)
        radii, several = ([], False) if epsilons is None else _radii(epsilons)
        subject = _subject(fmodel, images, criterion, seed)
        raw = subject.attacked(Recipe(self.attack, budget=self._budget)).adversarial
        if epsilons is None:
            return wrap(raw), wrap(raw), wrap(_met(subject, raw))
        low, width = subject.bounds[0], subject.bounds[1] - subject.bounds[0]
        clipped = []
        for eps in radii:
            there = ball(self.attack.norm, eps / width)
            clipped.append(there.project((raw - low) / width, (images - low) / width) * width + low)
        success = torch.stack([_met(subject, x) for x in clipped])
        if not several:
            return wrap(raw), wrap(clipped[0]), wrap(success[0])
        return [wrap(raw)] * len(clipped), [wrap(x) for x in clipped], wrap(success)


class L2CarliniWagnerAttack(_Nearest):
    """`groundglass.attacks.CarliniWagnerL2`."""

    def __init__(
        self,
        binary_search_steps: int = 9,
        steps: int = 10_000,
        stepsize: float = 1e-2,
        confidence: float = 0,
        initial_const: float = 1e-3,
        abort_early: bool = True,
    ) -> None:
        super().__init__(
            attacks.CarliniWagnerL2(
                steps=steps,
                searches=binary_search_steps,
                learning_rate=stepsize,
                confidence=confidence,
                initial_c=initial_const,
                abort_early=abort_early,
            )
        )


class _DeepFool(_Nearest):
    _norm: Literal["Linf", "L2"]

    def __init__(
        self, *, steps: int = 50, candidates: int | None = 10, overshoot: float = 0.02, loss: str = "logits"
    ) -> None:
        refuse("foolbox", loss=(loss, "logits", "boundaries are between logits"))
        classes = 10_000 if candidates is None else candidates
        super().__init__(attacks.DeepFool(steps=steps, overshoot=overshoot, classes=classes, norm=self._norm))


class L2DeepFoolAttack(_DeepFool):
    """`groundglass.attacks.DeepFool` in L2."""

    _norm = "L2"


class LinfDeepFoolAttack(_DeepFool):
    """`groundglass.attacks.DeepFool` in L-inf."""

    _norm = "Linf"


class HopSkipJumpAttack(_Nearest):
    """`groundglass.attacks.HopSkipJump`, with as many queries as so many steps have probes, and a quarter more for searches."""

    def __init__(
        self,
        init_attack: Any = None,
        steps: int = 64,
        initial_gradient_eval_steps: int = 100,
        max_gradient_eval_steps: int = 10_000,
        stepsize_search: str = "geometric_progression",
        gamma: float = 1.0,
        tensorboard: Any = False,
        constraint: str = "l2",
    ) -> None:
        refuse(
            "foolbox",
            init_attack=(init_attack, None, "groundglass.HopSkipJump takes start="),
            stepsize_search=(stepsize_search, "geometric_progression", "leave it out"),
        )
        norm: Any = lookup("constraint", constraint, {"l2": "L2", "linf": "Linf"})
        first, most = initial_gradient_eval_steps, max_gradient_eval_steps
        probes = sum(min(int(first * math.sqrt(step + 1)), most) for step in range(steps))
        attack = attacks.HopSkipJump(norm=norm, probes=first, most_probes=most, gamma=gamma)
        super().__init__(attack, budget=100 + probes + probes // 4)


#: `LinfProjectedGradientDescentAttack`.
LinfPGD = LinfProjectedGradientDescentAttack
#: `LinfProjectedGradientDescentAttack`.
PGD = LinfProjectedGradientDescentAttack
#: `L2ProjectedGradientDescentAttack`.
L2PGD = L2ProjectedGradientDescentAttack
#: `LinfFastGradientAttack`.
FGSM = LinfFastGradientAttack
#: `L2FastGradientAttack`.
FGM = L2FastGradientAttack


def _radii(epsilons: Any) -> tuple[list[float], bool]:
    """Radii of a number, or of several in a list, an array or a tensor; and whether there were several."""
    several = isinstance(epsilons, Iterable) and getattr(epsilons, "ndim", 1) > 0
    radii = fit(tuple[NotNegative, ...], list(epsilons) if several else [epsilons], "epsilons")
    if not radii:
        raise ValueError("`epsilons` is empty: give one radius at least")
    return list(radii), several


__getattr__ = missing(__name__, "foolbox.attacks", __all__)
