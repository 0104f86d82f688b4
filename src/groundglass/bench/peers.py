"""The same attacks by torchattacks, foolbox and ART, where they are installed. Each is imported when its peer is made."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from groundglass.bench.job import Part
from groundglass.bench.subjects import Subject

#: What their installation is called.
PACKAGES = {"torchattacks": "torchattacks", "foolbox": "foolbox", "ART": "adversarial-robustness-toolbox"}

Peer = Callable[[], Part]


def pgd(subject: Subject, *, eps: float, step: float, steps: int, batch: int) -> dict[str, Peer]:
    """PGD in L-inf from the image itself; all of them make every step."""

    def by_torchattacks() -> Part:
        library = _imported("torchattacks", "torchattacks")
        attack = library.PGD(subject.network, eps=eps, alpha=step, steps=steps, random_start=False)
        return _in_batches(attack, subject, batch)

    def by_foolbox() -> Part:
        library = _imported("foolbox", "foolbox")
        model = library.PyTorchModel(subject.network, bounds=(0, 1), device="cpu")
        attack = library.attacks.LinfPGD(steps=steps, abs_stepsize=step, random_start=False)
        return _in_batches(lambda x, y: attack(model, x, y, epsilons=eps), subject, batch)

    def by_art() -> Part:
        library = _imported("art.attacks.evasion", "ART")
        settings: dict[str, Any] = {"eps": eps, "eps_step": step, "max_iter": steps, "batch_size": batch}
        attack = library.ProjectedGradientDescent(_for_art(subject), **settings, num_random_init=0, verbose=False)
        return _whole(attack, subject)

    return {"torchattacks": by_torchattacks, "foolbox": by_foolbox, "ART": by_art}


def square(subject: Subject, *, eps: float, queries: int, batch: int, times: float) -> dict[str, Peer]:
    """Square in L-inf. Each asks as many queries as it may, as nothing is fooled."""

    def by_torchattacks() -> Part:
        library = _imported("torchattacks", "torchattacks")
        # The start is a query of its own.
        attack = library.Square(subject.network, eps=eps, n_queries=queries - 1, seed=0, loss="margin")
        return _in_batches(attack, subject, batch, times)

    def by_art() -> Part:
        library = _imported("art.attacks.evasion", "ART")
        settings: dict[str, Any] = {"eps": eps, "max_iter": queries - 1, "batch_size": batch}
        attack = library.SquareAttack(_for_art(subject), **settings, nb_restarts=1, verbose=False)
        return _whole(attack, subject, times)

    return {"torchattacks": by_torchattacks, "ART": by_art}


def _imported(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"it is not installed: pip install {PACKAGES[name]}") from error


def _for_art(subject: Subject) -> Any:
    classification = _imported("art.estimators.classification", "ART")
    classes = int(subject.network(subject.images[:1]).shape[1])
    return classification.PyTorchClassifier(
        subject.network,
        nn.CrossEntropyLoss(),
        tuple(subject.images.shape[1:]),
        classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def _in_batches(attack: Callable[[Tensor, Tensor], Any], subject: Subject, batch: int, times: float = 1.0) -> Part:
    parts = list(zip(subject.images.split(batch), subject.labels.split(batch), strict=True))

    def run() -> None:
        for x, y in parts:
            attack(x, y)

    return Part(run, times)


def _whole(attack: Any, subject: Subject, times: float = 1.0) -> Part:
    x, y = subject.images.numpy(), subject.labels.numpy()
    return Part(lambda: torch.from_numpy(attack.generate(x, y)), times)
