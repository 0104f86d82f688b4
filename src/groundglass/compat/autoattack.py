"""AutoAttack's calls on our attacks: `from groundglass.compat.autoattack import AutoAttack`.

    adversary = AutoAttack(model, norm="Linf", eps=8 / 255, version="standard")
    x_adv = adversary.run_standard_evaluation(images, labels, bs=128)

What differs: draws come from `seed` (0 where it is None); of the targets there are at most as many as other classes;
`adversary.result` has the `AttackResult` of the last evaluation. `groundglass.audit` asks more of a robust accuracy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from groundglass.attacks import APGD, FAB, L1, AttackResult, Square
from groundglass.compat.calls import Recipe, Subject, accuracy, ball, logits, placed, refuse
from groundglass.compat.missing import missing
from groundglass.core import lookup

__all__ = ["AutoAttack"]


@dataclass(slots=True)
class ApgdSettings:
    """Of APGD, on both losses.

    Attributes:
        eot_iter: gradients that are averaged, of a model that draws.
        thr_decr: the share of steps that must climb.
    """

    n_iter: int = 100
    n_restarts: int = 1
    eot_iter: int = 1
    thr_decr: float = 0.75


@dataclass(slots=True)
class TargetedApgdSettings(ApgdSettings):
    """Of APGD towards other classes."""

    n_target_classes: int = 9


@dataclass(slots=True)
class FabSettings:
    """Of FAB, towards the nearest boundary and towards other classes."""

    n_iter: int = 100
    n_restarts: int = 1
    n_target_classes: int = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9


@dataclass(slots=True)
class SquareSettings:
    """Of Square."""

    n_queries: int = 5000
    p_init: float = 0.8


class AutoAttack:
    """Croce and Hein's ensemble, each attack on the images that those before it left.

    Args:
        model: images in [0, 1] -> logits.
        norm, eps: of the ball: "Linf", "L2" or "L1", in pixel units.
        version: "standard", "plus" (more attacks and restarts), "rand" (of a model that draws), or "custom".
        verbose: print the robust accuracy after each attack.
        device: of no consequence: the images go where the model's weights are.

    Attributes:
        attacks_to_run: of "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t" and "square".
        apgd, apgd_targeted, fab, square: settings that may be changed before a run.
        result: of the last evaluation.

    Raises:
        ValueError: a version, norm or setting that is not here; says what to do.
    """

    def __init__(
        self,
        model: Any,
        norm: str = "Linf",
        eps: float = 0.3,
        seed: int | None = None,
        verbose: bool = True,
        attacks_to_run: Iterable[str] = (),
        version: str = "standard",
        is_tf_model: bool = False,
        device: Any = None,
        log_path: Any = None,
    ) -> None:
        refuse(
            "AutoAttack",
            is_tf_model=(is_tf_model, False, "groundglass.attacks.numpy_model takes any framework, for Square"),
            log_path=(log_path, None, "what is printed can be sent to a file; `result` has it all"),
        )
        self.model, self.norm, self.epsilon, self.seed, self.verbose = model, norm, eps, seed, verbose
        self.apgd, self.apgd_targeted = ApgdSettings(), TargetedApgdSettings()
        self.fab, self.square = FabSettings(), SquareSettings()
        self.attacks_to_run = list(attacks_to_run)
        if self.attacks_to_run and version != "custom":
            raise ValueError(f"version={version!r} has attacks of its own: with attacks_to_run give version='custom'")
        self.result: AttackResult | None = None
        self._ball = ball(norm, eps)
        self.set_version(version)

    def set_version(self, version: str = "standard") -> None:
        """The attacks and restarts of "standard", "plus" or "rand"; "custom" is what `attacks_to_run` says."""
        few, more = (
            ["apgd-ce", "apgd-t", "fab-t", "square"],
            ["apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"],
        )
        versions = {"standard": few, "plus": more, "rand": ["apgd-ce", "apgd-dlr"], "custom": self.attacks_to_run}
        self.attacks_to_run = list(lookup("version of AutoAttack", version, versions))
        if version == "plus":
            self.apgd.n_restarts = self.fab.n_restarts = 5
        if version == "rand":
            self.apgd.eot_iter = 20
        if version == "standard" and self._ball.kind is L1:
            self.apgd.n_restarts, self.apgd_targeted.n_target_classes = 5, 5

    def recipes(self, classes: int) -> dict[str, Recipe]:
        """Our attacks, in their order.

        Raises:
            ValueError: an unknown attack or none, Square in L1, which is not here, or a loss that needs more classes.
        """
        others = classes - 1
        apgd, aimed, fab, square = self.apgd, self.apgd_targeted, self.fab, self.square

        def climb(settings: ApgdSettings, **more: Any) -> Recipe:
            attack = APGD(steps=settings.n_iter, restarts=settings.n_restarts, rho=settings.thr_decr, **more)
            return Recipe(attack, self._ball, passes=settings.eot_iter)

        def project(targets: int) -> Recipe:
            shape = {"bias": fab.alpha_max, "overshoot": round(fab.eta - 1, 12), "backward": fab.beta}
            return Recipe(FAB(steps=fab.n_iter, restarts=fab.n_restarts, targets=targets, **shape), self._ball)  # type: ignore[arg-type]

        every = {
            "apgd-ce": lambda: climb(apgd, loss="ce"),
            "apgd-dlr": lambda: climb(apgd, loss="dlr"),
            "apgd-t": lambda: climb(aimed, loss="dlr", targets=min(aimed.n_target_classes, others)),
            "fab": lambda: project(0),
            "fab-t": lambda: project(min(fab.n_target_classes, others)),
            "square": lambda: Recipe(Square(p_init=square.p_init), self._ball, budget=square.n_queries),
        }
        if not self.attacks_to_run:
            raise ValueError(f"`attacks_to_run` is empty: give some of {', '.join(every)}")
        least = {"apgd-dlr": 3, "apgd-t": 4}
        made = {}
        for name in self.attacks_to_run:
            made[name] = lookup("attack of AutoAttack", name, every)()
            few = classes < least.get(name, 2)
            if few or self._ball.kind not in made[name].attack.kinds:
                raise ValueError(
                    (f"{name} needs {least[name]} classes" if few else f"{name} is not for {self.norm} here")
                    + f": give version='custom' and attacks_to_run={[one for one in self.attacks_to_run if one != name]}"
                )
        return made

    def run_standard_evaluation(
        self, x_orig: Any, y_orig: Any, bs: int = 250, return_labels: bool = False, state_path: Any = None
    ) -> Any:
        """Adversarial images; with `return_labels` also the classes that the model then says.

        Args:
            bs: images in a pass.

        Raises:
            ValueError, TypeError: as our attacks do, and `recipes`.
        """
        refuse("AutoAttack", state_path=(state_path, None, "attacks of groundglass have checkpoint= for long work"))
        subject, recipes = self._prepared(x_orig, y_orig, bs)
        self._say(f"initial accuracy: {accuracy(subject.model, subject.images, subject.labels):.2%}")
        for name, self.result in zip(recipes, subject.in_turn(recipes.values()), strict=True):
            self._say(f"robust accuracy after {name.upper()}: {self.result.robust_accuracy:.2%}")
        assert self.result is not None
        found = self.result.adversarial
        self._say(f"max {self.norm} perturbation: {float(self.result.norm.amax() if len(found) else 0):.5f}")
        return (found, logits(subject.model, found).argmax(1)) if return_labels else found

    def run_standard_evaluation_individual(
        self, x_orig: Any, y_orig: Any, bs: int = 250, return_labels: bool = False
    ) -> dict[str, Any]:
        """The same of each attack alone, on all images."""
        subject, recipes = self._prepared(x_orig, y_orig, bs)
        found: dict[str, Any] = {}
        for name, recipe in recipes.items():
            self.result = subject.attacked(recipe)
            self._say(f"robust accuracy by {name.upper()}: {self.result.robust_accuracy:.2%}")
            x = self.result.adversarial
            found[name] = (x, logits(subject.model, x).argmax(1)) if return_labels else x
        return found

    def clean_accuracy(self, x_orig: Any, y_orig: Any, bs: int = 250) -> float:
        """The share of images that the model puts into their class."""
        return accuracy(self.model, placed(self.model, x_orig), placed(self.model, y_orig))

    def _prepared(self, x: Any, y: Any, bs: int) -> tuple[Subject, dict[str, Recipe]]:
        images, labels = placed(self.model, x), placed(self.model, y)
        recipes = self.recipes(logits(self.model, images[:1]).shape[1])
        return Subject.of(self.model, images, labels, seed=self.seed or 0, batch_size=bs), recipes

    def _say(self, line: str) -> None:
        if self.verbose:
            print(line)


__getattr__ = missing(__name__, "autoattack", __all__)
