"""Attacks of other libraries under one signature, each called as its own documentation does.

The model is handed over as it is: nothing here wraps, patches or copies it. A library that is not installed makes a
test skip, and the summary says how to install it; `make test` installs them all.
"""

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from groundglass.attacks import L2, Linf

EPS, STEPS, SIZE = 8 / 255, 6, 2 / 255
FAB_STEPS = 5  # each takes a backward pass a class
QUERIES = 300

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]
PGD = Callable[[nn.Module, Tensor, Tensor, Linf | L2, int, float], Tensor]


def need(name: str) -> Any:
    """The module called `name`, or a loud skip. One that is there and does not import is an error."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != name.split(".")[0]:
            raise
        pytest.skip(f"{name} is not installed: pip install -c constraints.txt -e '.[interop]'")


# torchattacks


def torchattacks_pgd(
    model: nn.Module, images: Tensor, labels: Tensor, ball: Linf | L2, steps: int, size: float
) -> Tensor:
    torchattacks = need("torchattacks")
    kind = torchattacks.PGD if isinstance(ball, Linf) else torchattacks.PGDL2
    return kind(model, eps=ball.radius, alpha=size, steps=steps, random_start=False)(images, labels)


def torchattacks_fgsm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return need("torchattacks").FGSM(model, eps=EPS)(images, labels)


def torchattacks_apgd_ce(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return need("torchattacks").APGD(model, eps=EPS, steps=STEPS, loss="ce")(images, labels)


def torchattacks_apgd_dlr(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return need("torchattacks").APGD(model, eps=EPS, steps=STEPS, loss="dlr")(images, labels)


def torchattacks_fab(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return need("torchattacks").FAB(model, eps=EPS, steps=FAB_STEPS, n_classes=10)(images, labels)


def torchattacks_square(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return need("torchattacks").Square(model, eps=EPS, n_queries=QUERIES)(images, labels)


# foolbox


def foolbox_pgd(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf | L2, steps: int, size: float) -> Tensor:
    foolbox = need("foolbox")
    kind = foolbox.attacks.LinfPGD if isinstance(ball, Linf) else foolbox.attacks.L2PGD
    attack = kind(steps=steps, abs_stepsize=size, random_start=False)
    return attack(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), images, labels, epsilons=ball.radius)[1]


def foolbox_fgsm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    foolbox = need("foolbox")
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return foolbox.attacks.LinfFastGradientAttack()(wrapped, images, labels, epsilons=EPS)[1]


# ART


def art_classifier(model: nn.Module) -> Any:
    return need("art.estimators.classification").PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (3, 32, 32), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )


def art_attack(name: str, model: nn.Module, images: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    """The attack of ART called `name`."""
    make = getattr(need("art.attacks.evasion"), name)
    return torch.from_numpy(make(art_classifier(model), **settings).generate(images.numpy(), labels.numpy()))


def art_pgd(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf | L2, steps: int, size: float) -> Tensor:
    norm = np.inf if isinstance(ball, Linf) else 2
    return art_attack(
        "ProjectedGradientDescent", model, images, labels,
        norm=norm, eps=ball.radius, eps_step=size, max_iter=steps, num_random_init=0, verbose=False,
    )  # fmt: skip


def art_fgsm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return art_attack("FastGradientMethod", model, images, labels, eps=EPS)


def art_apgd_ce(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return art_attack(
        "AutoProjectedGradientDescent", model, images, labels,
        eps=EPS, eps_step=SIZE, max_iter=STEPS, nb_random_init=1, loss_type="cross_entropy", verbose=False,
    )  # fmt: skip


# AutoAttack, from its authors


def autoattack_apgd(loss: str, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    make = need("pyautoattack.autopgd_base").APGDAttack
    return make(model, n_iter=STEPS, norm="Linf", eps=EPS, seed=0, loss=loss, device="cpu").perturb(images, labels)


def autoattack_fab(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    make = need("pyautoattack.fab_pt").FABAttack_PT
    return make(model, n_iter=FAB_STEPS, norm="Linf", eps=EPS, seed=0, device="cpu").perturb(images, labels)


def autoattack_square(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    make = need("pyautoattack.square").SquareAttack
    return make(model, n_queries=QUERIES, norm="Linf", eps=EPS, seed=0, device="cpu").perturb(images, labels)


PEERS: dict[str, PGD] = {"torchattacks": torchattacks_pgd, "foolbox": foolbox_pgd, "ART": art_pgd}
ONE_STEP: dict[str, Attack] = {"torchattacks": torchattacks_fgsm, "foolbox": foolbox_fgsm, "ART": art_fgsm}


def _pgd(run: PGD) -> Attack:
    return lambda model, images, labels: run(model, images, labels, Linf(EPS), STEPS, SIZE)


#: Those that climb a gradient.
WHITE_BOX: dict[str, Attack] = {
    **{f"{name}-PGD": _pgd(run) for name, run in PEERS.items()},
    **{f"{name}-FGSM": run for name, run in ONE_STEP.items()},
    "AutoAttack-APGD-CE": lambda model, images, labels: autoattack_apgd("ce", model, images, labels),
    "AutoAttack-APGD-DLR": lambda model, images, labels: autoattack_apgd("dlr", model, images, labels),
    "AutoAttack-FAB": autoattack_fab,
    "torchattacks-APGD-CE": torchattacks_apgd_ce,
    "torchattacks-APGD-DLR": torchattacks_apgd_dlr,
    "torchattacks-FAB": torchattacks_fab,
    "ART-APGD-CE": art_apgd_ce,
}

#: Those that see logits alone, whatever rule the model is seen through.
BY_QUERIES: dict[str, Attack] = {"AutoAttack-Square": autoattack_square, "torchattacks-Square": torchattacks_square}
