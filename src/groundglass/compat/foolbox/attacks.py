"""foolbox's attacks: `from groundglass.compat.foolbox.attacks import LinfPGD`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from groundglass import attacks
from groundglass.attacks import L2, Ball, CarliniWagnerL2, Criterion, GradientAccess, Linf, Targeted, Untargeted
from groundglass.compat.foolbox.models import opened
from groundglass.compat.missing import missing
from groundglass.core import as_labels
from groundglass.core.settings import NotNegative, fit

__all__ = [
    "FGM",
    "FGSM",
    "L2PGD",
    "PGD",
    "L2CarliniWagnerAttack",
    "L2FastGradientAttack",
    "L2ProjectedGradientDescentAttack",
    "LinfBasicIterativeAttack",
    "LinfFastGradientAttack",
    "LinfPGD",
    "LinfProjectedGradientDescentAttack",
]


class Attack(ABC):
    """An attack: `attack(fmodel, inputs, criterion, epsilons=...)`."""

    @abstractmethod
    def _at(self, eps: float, width: float) -> tuple[attacks.Attack, Ball]:
        """Our attack and its ball at a radius of images in [0, 1]; theirs are of images whose range has this width."""

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
        goal = _Goal(fmodel, images, criterion)
        found = self._all(goal, images, radii, seed)
        adversarial = [wrap(found[eps][0]) for eps in radii]
        if not several:
            return adversarial[0], adversarial[0], wrap(found[radii[0]][1])
        return adversarial, list(adversarial), wrap(torch.stack([found[eps][1] for eps in radii]))

    def _all(self, goal: "_Goal", images: Tensor, radii: list[float], seed: int) -> dict[float, tuple[Tensor, Tensor]]:
        """By radius, the images and which of them fool; each radius on what the smaller ones left."""
        adversarial, fooled = images.clone(), goal.met(images)
        found = {}
        for eps in sorted(set(radii)):
            rows = (~fooled).nonzero().squeeze(1)
            if eps > 0 and len(rows):
                attack, ball = self._at(eps / goal.width, goal.width)
                result = goal.run(attack, images, rows, ball.scaled(goal.width), seed)
                adversarial, fooled = adversarial.clone(), fooled.clone()
                adversarial[rows], fooled[rows] = result.adversarial, result.success
            found[eps] = adversarial, fooled
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in vars(self).items())})"


class _Goal:
    """A model with what counts as fooled."""

    def __init__(self, fmodel: Any, images: Tensor, criterion: Any) -> None:
        self._fmodel, self.bounds = fmodel, tuple(float(end) for end in fmodel.bounds)
        self.width = self.bounds[1] - self.bounds[0]
        self.criterion: Criterion = Untargeted()
        if hasattr(criterion, "target_classes"):
            target = opened(criterion.target_classes)[0]
            if getattr(target, "ndim", 0) and len(target) != len(images):
                raise ValueError(f"{len(target)} target classes for {len(images)} images: one an image")
            self.criterion = Targeted(target)
            with torch.no_grad():
                self.labels = self._logits(images).argmax(1)  # the true classes are not said
        else:
            self.labels = as_labels(opened(getattr(criterion, "labels", criterion))[0], images)

    def _logits(self, images: Tensor) -> Tensor:
        logits: Tensor = opened(self._fmodel(images))[0]
        return logits

    def met(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.criterion.met(self._logits(images), self.labels)

    def run(self, attack: attacks.Attack, images: Tensor, rows: Tensor, ball: Ball | None, seed: int) -> Any:
        access = GradientAccess(self._logits, bounds=self.bounds)  # type: ignore[arg-type]
        criterion = self.criterion.at(rows)
        return attack(
            access, images[rows], self.labels[rows], ball, criterion=criterion, seed=seed, indices=rows.tolist()
        )


class _Descent(Attack):
    """Steps of a size relative to the radius, unless an absolute one is given, in the units of the images."""

    _kind: type[Ball]

    def __init__(self, rel_stepsize: float, abs_stepsize: float | None, steps: int, random_start: bool) -> None:
        self.rel_stepsize, self.abs_stepsize, self.steps = rel_stepsize, abs_stepsize, steps
        self.random_start = random_start

    def _at(self, eps: float, width: float) -> tuple[attacks.Attack, Ball]:
        size = self.rel_stepsize * eps if self.abs_stepsize is None else self.abs_stepsize / width
        made: Any = self._kind
        return attacks.PGD(steps=self.steps, step_size=size, random_start=self.random_start), made(eps)


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


class L2CarliniWagnerAttack(Attack):
    """`groundglass.attacks.CarliniWagnerL2`: the nearest image that fools; then brought into each ball."""

    def __init__(
        self,
        binary_search_steps: int = 9,
        steps: int = 10_000,
        stepsize: float = 1e-2,
        confidence: float = 0,
        initial_const: float = 1e-3,
        abort_early: bool = True,
    ) -> None:
        self.attack = CarliniWagnerL2(
            steps=steps,
            searches=binary_search_steps,
            learning_rate=stepsize,
            confidence=confidence,
            initial_c=initial_const,
            abort_early=abort_early,
        )

    def _at(self, eps: float, width: float) -> tuple[attacks.Attack, Ball]:
        return self.attack, L2(eps)

    def __call__(
        self, fmodel: Any, inputs: Any, criterion: Any, *, epsilons: Any = None, seed: int = 0
    ) -> tuple[Any, Any, Any]:
        """As `Attack`; where `epsilons` is None, the nearest image alone."""
        images, wrap = opened(inputs)
        radii, several = ([], False) if epsilons is None else _radii(epsilons)
        goal = _Goal(fmodel, images, criterion)
        raw, met = images.clone(), goal.met(images)
        rows = (~met).nonzero().squeeze(1)
        if len(rows):
            result = goal.run(self.attack, images, rows, None, seed)
            raw[rows], met[rows] = result.adversarial, result.success
        if epsilons is None:
            return wrap(raw), wrap(raw), wrap(met)
        low = goal.bounds[0]
        clipped = []
        for eps in radii:
            ball = L2(eps / goal.width)
            inside = ball.project((raw - low) / goal.width, (images - low) / goal.width)
            clipped.append(inside * goal.width + low)
        success = torch.stack([goal.met(x) for x in clipped])
        if not several:
            return wrap(raw), wrap(clipped[0]), wrap(success[0])
        return [wrap(raw)] * len(clipped), [wrap(x) for x in clipped], wrap(success)


LinfPGD = PGD = LinfProjectedGradientDescentAttack
L2PGD = L2ProjectedGradientDescentAttack
FGSM, FGM = LinfFastGradientAttack, L2FastGradientAttack


def _radii(epsilons: Any) -> tuple[list[float], bool]:
    """Radii of a number, or of several in a list, an array or a tensor; and whether there were several."""
    several = isinstance(epsilons, Iterable) and getattr(epsilons, "ndim", 1) > 0
    radii = fit(tuple[NotNegative, ...], list(epsilons) if several else [epsilons], "epsilons")
    if not radii:
        raise ValueError("`epsilons` is empty: give one radius at least")
    return list(radii), several


__getattr__ = missing(__name__, "foolbox.attacks", __all__)
