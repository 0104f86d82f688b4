"""The attacks, with the settings and defaults of torchattacks."""

from torch import nn

from groundglass import attacks
from groundglass.attacks import L2, CarliniWagnerL2, GaussianKernel, InputDiversity, Linf, TransferPGD
from groundglass.compat.autoattack import AutoAttack as _AutoAttack
from groundglass.compat.calls import Recipe, ball
from groundglass.compat.torchattacks.bound import Attack
from groundglass.core import lookup


class FGSM(Attack):
    """`groundglass.attacks.FGSM` in an L-inf ball."""

    def __init__(self, model: nn.Module, eps: float = 8 / 255) -> None:
        super().__init__(model, Recipe(attacks.FGSM(), Linf(eps)))


class BIM(Attack):
    """PGD from the image itself. `steps` 0 is the number of the paper of Kurakin et al., as in torchattacks."""

    def __init__(self, model: nn.Module, eps: float = 8 / 255, alpha: float = 2 / 255, steps: int = 10) -> None:
        number = steps or int(min(eps * 255 + 4, 1.25 * eps * 255))
        super().__init__(model, Recipe(attacks.PGD(steps=number, step_size=alpha), Linf(eps)))


class PGD(Attack):
    """`groundglass.attacks.PGD` in an L-inf ball."""

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        alpha: float = 2 / 255,
        steps: int = 10,
        random_start: bool = True,
    ) -> None:
        attack = attacks.PGD(steps=steps, step_size=alpha, random_start=random_start)
        super().__init__(model, Recipe(attack, Linf(eps)))


class PGDL2(Attack):
    """`groundglass.attacks.PGD` in an L2 ball."""

    def __init__(
        self, model: nn.Module, eps: float = 1.0, alpha: float = 0.2, steps: int = 10, random_start: bool = True
    ) -> None:
        attack = attacks.PGD(steps=steps, step_size=alpha, random_start=random_start)
        super().__init__(model, Recipe(attack, L2(eps)))


class EOTPGD(Attack):
    """PGD on the mean of `eot_iter` gradients, for models that draw."""

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        alpha: float = 2 / 255,
        steps: int = 10,
        eot_iter: int = 2,
        random_start: bool = True,
    ) -> None:
        attack = attacks.PGD(steps=steps, step_size=alpha, random_start=random_start)
        super().__init__(model, Recipe(attack, Linf(eps), passes=eot_iter))


class MIFGSM(Attack):
    """`groundglass.attacks.TransferPGD` with momentum."""

    def __init__(
        self, model: nn.Module, eps: float = 8 / 255, alpha: float = 2 / 255, steps: int = 10, decay: float = 1.0
    ) -> None:
        super().__init__(model, Recipe(TransferPGD(steps=steps, step_size=alpha, momentum=decay), Linf(eps)))


class DIFGSM(Attack):
    """`groundglass.attacks.TransferPGD` at random views of the image."""

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        alpha: float = 2 / 255,
        steps: int = 10,
        decay: float = 0.0,
        resize_rate: float = 0.9,
        diversity_prob: float = 0.5,
        random_start: bool = False,
    ) -> None:
        views = InputDiversity(probability=diversity_prob, smallest=resize_rate)
        attack = TransferPGD(steps=steps, step_size=alpha, momentum=decay, diversity=views, random_start=random_start)
        super().__init__(model, Recipe(attack, Linf(eps)))


class TIFGSM(Attack):
    """`groundglass.attacks.TransferPGD` with gradients smoothed by a Gaussian kernel, at random views."""

    def __init__(
        self,
        model: nn.Module,
        eps: float = 8 / 255,
        alpha: float = 2 / 255,
        steps: int = 10,
        decay: float = 0.0,
        kernel_name: str = "gaussian",
        len_kernel: int = 15,
        nsig: float = 3,
        resize_rate: float = 0.9,
        diversity_prob: float = 0.5,
        random_start: bool = False,
    ) -> None:
        lookup("kernel", kernel_name, {"gaussian": None})
        attack = TransferPGD(
            steps=steps,
            step_size=alpha,
            momentum=decay,
            diversity=InputDiversity(probability=diversity_prob, smallest=resize_rate),
            # Their kernel reaches `nsig` standard deviations at its border.
            smoothing=GaussianKernel(size=len_kernel, sigma=(len_kernel - 1) / 2 / nsig),
            random_start=random_start,
        )
        super().__init__(model, Recipe(attack, Linf(eps)))


class CW(Attack):
    """`groundglass.attacks.CarliniWagnerL2` at one value of c, as theirs; no ball."""

    def __init__(self, model: nn.Module, c: float = 1.0, kappa: float = 0.0, steps: int = 50, lr: float = 0.01) -> None:
        attack = CarliniWagnerL2(steps=steps, searches=1, initial_c=c, confidence=kappa, learning_rate=lr)
        super().__init__(model, Recipe(attack))


class APGD(Attack):
    """`groundglass.attacks.APGD`."""

    def __init__(
        self,
        model: nn.Module,
        norm: str = "Linf",
        eps: float = 8 / 255,
        steps: int = 10,
        n_restarts: int = 1,
        seed: int = 0,
        loss: str = "ce",
        eot_iter: int = 1,
        rho: float = 0.75,
        verbose: bool = False,
    ) -> None:
        attack = attacks.APGD(steps=steps, restarts=n_restarts, loss=loss, rho=rho)  # type: ignore[arg-type]
        super().__init__(model, Recipe(attack, ball(norm, eps), passes=eot_iter))
        self.seed = seed


class APGDT(Attack):
    """`groundglass.attacks.APGD` towards each other class, on the targeted DLR loss."""

    def __init__(
        self,
        model: nn.Module,
        norm: str = "Linf",
        eps: float = 8 / 255,
        steps: int = 10,
        n_restarts: int = 1,
        seed: int = 0,
        eot_iter: int = 1,
        rho: float = 0.75,
        verbose: bool = False,
        n_classes: int = 10,
    ) -> None:
        attack = attacks.APGD(steps=steps, restarts=n_restarts, loss="dlr", rho=rho, targets=n_classes - 1)
        super().__init__(model, Recipe(attack, ball(norm, eps), passes=eot_iter))
        self.seed = seed


class Square(Attack):
    """`groundglass.attacks.Square`."""

    def __init__(
        self,
        model: nn.Module,
        norm: str = "Linf",
        eps: float = 8 / 255,
        n_queries: int = 5000,
        n_restarts: int = 1,
        p_init: float = 0.8,
        loss: str = "margin",
        resc_schedule: bool = True,
        seed: int = 0,
        verbose: bool = False,
    ) -> None:
        if n_restarts != 1:
            raise ValueError(f"`n_restarts` (={n_restarts}) must be 1: more queries take an image further")
        attack = attacks.Square(p_init=p_init, loss=loss)  # type: ignore[arg-type]
        super().__init__(model, Recipe(attack, ball(norm, eps), budget=n_queries))
        self.seed = seed


class FAB(Attack):
    """`groundglass.attacks.FAB`; with `multi_targeted` towards each other class."""

    def __init__(
        self,
        model: nn.Module,
        norm: str = "Linf",
        eps: float = 8 / 255,
        steps: int = 10,
        n_restarts: int = 1,
        alpha_max: float = 0.1,
        eta: float = 1.05,
        beta: float = 0.9,
        verbose: bool = False,
        seed: int = 0,
        multi_targeted: bool = False,
        n_classes: int = 10,
    ) -> None:
        attack = attacks.FAB(
            steps=steps,
            restarts=n_restarts,
            bias=alpha_max,
            overshoot=round(eta - 1, 12),  # 1.05 - 1 is no 0.05
            backward=beta,
            targets=n_classes - 1 if multi_targeted else 0,
        )
        super().__init__(model, Recipe(attack, ball(norm, eps)))
        self.seed = seed


class DeepFool(Attack):
    """`groundglass.attacks.DeepFool` in L2, without a ball; of all classes."""

    def __init__(self, model: nn.Module, steps: int = 50, overshoot: float = 0.02) -> None:
        super().__init__(model, Recipe(attacks.DeepFool(steps=steps, overshoot=overshoot, classes=10_000, norm="L2")))


class AutoAttack(Attack):
    """`groundglass.compat.autoattack.AutoAttack`: all its attacks, in turn."""

    def __init__(
        self,
        model: nn.Module,
        norm: str = "Linf",
        eps: float = 8 / 255,
        version: str = "standard",
        n_classes: int = 10,
        seed: int | None = None,
        verbose: bool = False,
    ) -> None:
        whole = _AutoAttack(model, norm=norm, eps=eps, version=version)
        super().__init__(model, *whole.recipes(n_classes).values())
        self.seed = seed or 0
