"""ART's attacks, with its settings and defaults: `Attack(estimator, ...).generate(x=x, y=y)`."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from groundglass import attacks
from groundglass.attacks import AttackResult
from groundglass.compat.autoattack import AutoAttack as _AutoAttack
from groundglass.compat.calls import Recipe, Subject, ball, placed, refuse
from groundglass.compat.missing import missing
from groundglass.core import lookup

__all__ = [
    "AutoAttack",
    "AutoProjectedGradientDescent",
    "BasicIterativeMethod",
    "CarliniL2Method",
    "DeepFool",
    "FastGradientMethod",
    "HopSkipJump",
    "ProjectedGradientDescent",
    "ProjectedGradientDescentPyTorch",
    "SquareAttack",
    "ZooAttack",
]


class EvasionAttack(ABC):
    """An attack on a classifier. Its settings are attributes; those that name lengths are in the units of the images.

    Attributes:
        seed: of all draws.
        result: of the last call.
    """

    seed = 0
    result: AttackResult | None = None
    batch_size: int

    @abstractmethod
    def _recipes(self, width: float) -> list[Recipe]:
        """Our attacks, for images whose range has this width."""

    @property
    def _classifier(self) -> Any:
        return next(iter(vars(self).values()))  # in all of them the first setting

    def set_params(self, **settings: Any) -> None:
        """Change settings."""
        for name, value in settings.items():
            lookup(f"setting of {type(self).__name__}", name, vars(self))
            setattr(self, name, value)

    def generate(self, x: Any, y: Any = None, **options: Any) -> NDArray[np.float32]:
        """Adversarial images, [n, c, h, w].

        Args:
            y: labels, or one-hot rows; of a targeted attack the targets. If not given, what the classifier says.

        Raises:
            ValueError, TypeError: as our attacks do; no clip_values; a targeted attack without targets; a mask.
        """
        classifier, targeted = self._classifier, getattr(self, "targeted", False)
        if options:
            raise ValueError(f"{', '.join(options)} of ART's generate has no counterpart here: leave it out")
        if classifier.clip_values is None:
            raise ValueError("attacks need the range of the images: PyTorchClassifier(..., clip_values=(0, 1))")
        if targeted and y is None:
            raise ValueError("a targeted attack needs y, the targets")
        low, high = classifier.clip_values
        images = classifier.given(x)
        given = None if y is None else placed(classifier.model, y)
        subject = Subject.of(
            classifier.network,
            images,
            None if targeted else given,
            given if targeted else None,
            bounds=(low, high),
            seed=self.seed,
            batch_size=self.batch_size,
        )
        self.result = subject.attacked(*self._recipes(high - low))
        found: Any = self.result.adversarial.cpu().numpy()
        return found


def _only_numbers(**settings: Any) -> None:
    for name, value in settings.items():
        if np.ndim(value):
            raise ValueError(
                f"`{name}` must be one number here: for a radius for each image, groundglass.Linf.each(radii)"
            )


@dataclass(eq=False)
class FastGradientMethod(EvasionAttack):
    """One step of the whole radius."""

    estimator: Any
    norm: Any = np.inf
    eps: float = 0.3
    eps_step: float = 0.1
    targeted: bool = False
    num_random_init: int = 0
    batch_size: int = 32
    minimal: bool = False
    summary_writer: Any = False

    def _recipes(self, width: float) -> list[Recipe]:
        refuse("ART", minimal=(self.minimal, False, "a sweep over radii or FAB finds how little is enough"))
        return [_descent(self, width, steps=1, size=self.eps)]


@dataclass(eq=False)
class ProjectedGradientDescent(EvasionAttack):
    """`groundglass.attacks.PGD`; with `decay` the momentum of `TransferPGD`."""

    estimator: Any
    norm: Any = np.inf
    eps: float = 0.3
    eps_step: float = 0.1
    decay: float | None = None
    max_iter: int = 100
    targeted: bool = False
    num_random_init: int = 0
    batch_size: int = 32
    random_eps: bool = False
    summary_writer: Any = False
    verbose: bool = True

    def _recipes(self, width: float) -> list[Recipe]:
        refuse("ART", random_eps=(self.random_eps, False, "give each image a radius: groundglass.Linf.each(radii)"))
        return [_descent(self, width, steps=self.max_iter, size=self.eps_step, momentum=self.decay)]


class ProjectedGradientDescentPyTorch(ProjectedGradientDescent):
    """The same."""


@dataclass(eq=False)
class BasicIterativeMethod(EvasionAttack):
    """PGD in L-inf from the image itself."""

    estimator: Any
    eps: float = 0.3
    eps_step: float = 0.1
    max_iter: int = 100
    targeted: bool = False
    batch_size: int = 32
    verbose: bool = True

    def _recipes(self, width: float) -> list[Recipe]:
        return [_descent(self, width, steps=self.max_iter, size=self.eps_step)]


def _descent(asked: Any, width: float, *, steps: int, size: float, momentum: float | None = None) -> Recipe:
    _only_numbers(eps=asked.eps, eps_step=size)
    runs = getattr(asked, "num_random_init", 0)
    shape: Any = {"steps": steps, "step_size": size / width, "random_start": runs > 0}
    attack: attacks.Attack
    if momentum is None:
        attack = attacks.PGD(restarts=max(1, runs), **shape)
    else:
        refuse("ART", num_random_init=(runs if runs > 1 else 0, 0, "with decay it is 0 or 1"))
        attack = attacks.TransferPGD(momentum=momentum, keep="highest", **shape)
    return Recipe(attack, ball(getattr(asked, "norm", "inf"), asked.eps))


@dataclass(eq=False)
class AutoProjectedGradientDescent(EvasionAttack):
    """`groundglass.attacks.APGD`; its step is its own, so that `eps_step` is of no consequence."""

    estimator: Any
    norm: Any = np.inf
    eps: float = 0.3
    eps_step: float = 0.1
    max_iter: int = 100
    targeted: bool = False
    nb_random_init: int = 5
    batch_size: int = 32
    loss_type: str | None = None
    verbose: bool = True

    def _recipes(self, width: float) -> list[Recipe]:
        known: dict[str, Any] = {"cross_entropy": "ce", "difference_logits_ratio": "dlr"}
        loss: Any = "ce" if self.loss_type is None else lookup("loss_type", self.loss_type, known)
        attack = attacks.APGD(steps=self.max_iter, restarts=self.nb_random_init, loss=loss)
        return [Recipe(attack, ball(self.norm, self.eps))]


@dataclass(eq=False)
class SquareAttack(EvasionAttack):
    """`groundglass.attacks.Square`, with `max_iter` queries for each image."""

    estimator: Any
    norm: Any = np.inf
    adv_criterion: Any = None
    loss: Any = None
    max_iter: int = 100
    eps: float = 0.3
    p_init: float = 0.8
    nb_restarts: int = 1
    batch_size: int = 128
    verbose: bool = True

    def _recipes(self, width: float) -> list[Recipe]:
        refuse(
            "ART",
            adv_criterion=(self.adv_criterion, None, "groundglass.Square takes criterion="),
            loss=(self.loss, None, "groundglass.Square has loss='margin' and 'ce'"),
            nb_restarts=(self.nb_restarts, 1, "more queries take an image further"),
        )
        return [Recipe(attacks.Square(p_init=self.p_init), ball(self.norm, self.eps), budget=self.max_iter)]


@dataclass(eq=False)
class CarliniL2Method(EvasionAttack):
    """`groundglass.attacks.CarliniWagnerL2`; `max_halving` and `max_doubling` are of no consequence, as Adam needs neither."""

    classifier: Any
    confidence: float = 0.0
    targeted: bool = False
    learning_rate: float = 0.01
    binary_search_steps: int = 10
    max_iter: int = 10
    initial_const: float = 0.01
    max_halving: int = 5
    max_doubling: int = 5
    batch_size: int = 1
    verbose: bool = True

    def _recipes(self, width: float) -> list[Recipe]:
        attack = attacks.CarliniWagnerL2(
            steps=self.max_iter,
            searches=self.binary_search_steps,
            learning_rate=self.learning_rate,
            confidence=self.confidence,
            initial_c=self.initial_const,
        )
        return [Recipe(attack)]


@dataclass(eq=False)
class DeepFool(EvasionAttack):
    """`groundglass.attacks.DeepFool` in L2."""

    classifier: Any
    max_iter: int = 100
    epsilon: float = 1e-6
    nb_grads: int = 10
    batch_size: int = 1
    verbose: bool = True

    def _recipes(self, width: float) -> list[Recipe]:
        attack = attacks.DeepFool(steps=self.max_iter, classes=self.nb_grads, overshoot=self.epsilon, norm="L2")
        return [Recipe(attack)]


@dataclass(eq=False)
class HopSkipJump(EvasionAttack):
    """`groundglass.attacks.HopSkipJump` with ART's longer probes, and as many queries as so many iterations have probes, and a
    quarter more for searches; `init_size` is of no consequence, as it looks for a first point as long as it may ask."""

    classifier: Any
    batch_size: int = 64
    targeted: bool = False
    norm: Any = 2
    max_iter: int = 50
    max_eval: int = 10_000
    init_eval: int = 100
    init_size: int = 100
    verbose: bool = True

    def _recipes(self, width: float) -> list[Recipe]:
        probes = sum(min(int(self.init_eval * (step + 1) ** 0.5), self.max_eval) for step in range(self.max_iter))
        norm: Any = ball(self.norm, 1).kind.__name__
        gamma = 0.01 * math.prod(self.classifier.input_shape)
        attack = attacks.HopSkipJump(norm=norm, probes=self.init_eval, most_probes=self.max_eval, gamma=gamma)
        return [Recipe(attack, budget=100 + probes + probes // 4)]


@dataclass(eq=False)
class ZooAttack(EvasionAttack):
    """`groundglass.attacks.ZOO`, with the queries of so many iterations and searches. A search ends early in any case."""

    classifier: Any
    confidence: float = 0.0
    targeted: bool = False
    learning_rate: float = 1e-2
    max_iter: int = 10
    binary_search_steps: int = 1
    initial_const: float = 1e-3
    abort_early: bool = True
    use_resize: bool = True
    use_importance: bool = True
    nb_parallel: int = 128
    batch_size: int = 1
    variable_h: float = 1e-4
    verbose: bool = True

    def _recipes(self, width: float) -> list[Recipe]:
        attack = attacks.ZOO(
            coordinates=self.nb_parallel,
            learning_rate=self.learning_rate,
            h=self.variable_h / width,
            steps=self.max_iter,
            initial_c=self.initial_const,
            confidence=self.confidence,
            # A grid of 32, of 64 after 2,000 steps and of 128 after 10,000.
            sides=(32, 64, 64, 64, 64, 128) if self.use_resize else (),
            enlarge_every=2000,
            importance=self.use_importance,
        )
        return [Recipe(attack, budget=1 + self.max_iter * self.binary_search_steps * attack.cost())]


@dataclass(eq=False)
class AutoAttack(EvasionAttack):
    """`groundglass.compat.autoattack.AutoAttack`: its standard attacks, in turn."""

    estimator: Any
    norm: Any = np.inf
    eps: float = 0.3
    eps_step: float = 0.1
    attacks: Any = None
    batch_size: int = 32
    estimator_orig: Any = None
    targeted: bool = False
    parallel_pool_size: int = 0

    def _recipes(self, width: float) -> list[Recipe]:
        refuse(
            "ART",
            attacks=(self.attacks, None, "groundglass.compat.autoattack has attacks_to_run"),
            estimator_orig=(self.estimator_orig, None, "`result.confirmed(model, labels)` asks another model"),
            targeted=(self.targeted, False, "use AutoProjectedGradientDescent"),
        )
        norm = ball(self.norm, self.eps).kind.__name__
        whole = _AutoAttack(self.estimator.network, norm=norm, eps=self.eps)
        return list(whole.recipes(self.estimator.nb_classes).values())


__getattr__ = missing(__name__, "art.attacks.evasion", __all__)
