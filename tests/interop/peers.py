"""Attacks of other libraries under one signature, each called as its own documentation does.

The model is handed over as it is: nothing here wraps, patches or copies it. A library that is not installed makes a
test skip, and the summary says how to install it; `make test` installs them all.
"""

import importlib
from collections.abc import Callable
from functools import partial
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
        pytest.skip(f"{name} is not installed: pip install -c constraints-dev.txt -e '.[interop]'")


def torchattacks_pgd(
    model: nn.Module, images: Tensor, labels: Tensor, ball: Linf | L2, steps: int, size: float
) -> Tensor:
    torchattacks = need("torchattacks")
    kind = torchattacks.PGD if isinstance(ball, Linf) else torchattacks.PGDL2
    return kind(model, eps=ball.radius, alpha=size, steps=steps, random_start=False)(images, labels)


def torchattacks_attack(name: str, model: nn.Module, images: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    """The attack of torchattacks called `name`."""
    return getattr(need("torchattacks"), name)(model, eps=EPS, **settings)(images, labels)


def foolbox_pgd(model: nn.Module, images: Tensor, labels: Tensor, ball: Linf | L2, steps: int, size: float) -> Tensor:
    foolbox = need("foolbox")
    kind = foolbox.attacks.LinfPGD if isinstance(ball, Linf) else foolbox.attacks.L2PGD
    attack = kind(steps=steps, abs_stepsize=size, random_start=False)
    return attack(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), images, labels, epsilons=ball.radius)[1]


def foolbox_fgsm(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    foolbox = need("foolbox")
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return foolbox.attacks.LinfFastGradientAttack()(wrapped, images, labels, epsilons=EPS)[1]


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


def autoattack_attack(where: str, model: nn.Module, images: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    """The attack at `where`, a module and a class of pyautoattack."""
    module, name = where.split(".")
    make = getattr(need(f"pyautoattack.{module}"), name)
    return make(model, norm="Linf", eps=EPS, seed=0, device="cpu", **settings).perturb(images, labels)


autoattack_fab = partial(autoattack_attack, "fab_pt.FABAttack_PT", n_iter=FAB_STEPS)
PEERS: dict[str, PGD] = {"torchattacks": torchattacks_pgd, "foolbox": foolbox_pgd, "ART": art_pgd}
ONE_STEP: dict[str, Attack] = {
    "torchattacks": partial(torchattacks_attack, "FGSM"),
    "foolbox": foolbox_fgsm,
    "ART": partial(art_attack, "FastGradientMethod", eps=EPS),
}

#: Those that climb a gradient.
WHITE_BOX: dict[str, Attack] = {
    **{f"{name}-PGD": partial(run, ball=Linf(EPS), steps=STEPS, size=SIZE) for name, run in PEERS.items()},
    **{f"{name}-FGSM": run for name, run in ONE_STEP.items()},
    "AutoAttack-APGD-CE": partial(autoattack_attack, "autopgd_base.APGDAttack", n_iter=STEPS, loss="ce"),
    "AutoAttack-APGD-DLR": partial(autoattack_attack, "autopgd_base.APGDAttack", n_iter=STEPS, loss="dlr"),
    "AutoAttack-FAB": autoattack_fab,
    "torchattacks-APGD-CE": partial(torchattacks_attack, "APGD", steps=STEPS, loss="ce"),
    "torchattacks-APGD-DLR": partial(torchattacks_attack, "APGD", steps=STEPS, loss="dlr"),
    "torchattacks-FAB": partial(torchattacks_attack, "FAB", steps=FAB_STEPS, n_classes=10),
    "ART-APGD-CE": partial(
        art_attack,
        "AutoProjectedGradientDescent",
        eps=EPS,
        eps_step=SIZE,
        max_iter=STEPS,
        nb_random_init=1,
        loss_type="cross_entropy",
        verbose=False,
    ),
}

#: Those that see logits alone, whatever rule the model is seen through.
BY_QUERIES: dict[str, Attack] = {
    "AutoAttack-Square": partial(autoattack_attack, "square.SquareAttack", n_queries=QUERIES),
    "torchattacks-Square": partial(torchattacks_attack, "Square", n_queries=QUERIES),
}
