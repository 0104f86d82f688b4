"""Robust accuracy from our attacks and from torchattacks', foolbox's, ART's and AutoAttack's, the same settings, one run.

    python benchmarks/interop.py --model RUN/models/vgg-16.safetensors --images 500
    python benchmarks/interop.py --model RUN/models/vgg-16.safetensors --defended RUN/models/vgg-opu.safetensors

Everyone is handed the same module: the plain network, and the defended one seen through each of `--rules`. The devices
are looked for in `RUN/devices`.

- PGD runs all its steps from the image itself and is judged where it ends, ours too (`keep="last"`);
- FGSM is one step of the whole radius;
- Square has the same share of pixels, schedule and queries in ours and in theirs, but other random draws, as has ours
  with another seed: that row tells what chance does. It asks for logits, so one rule is enough;
- APGD starts at random, in ours and in theirs, from other draws;
- FAB is theirs alone: beside it stands our PGD of `--steps` steps, for the eye.

Every adversarial image, ours or theirs, is judged by the same forward pass, and must be in the ball. The gap is ours
minus theirs, in points of robust accuracy over the first `--images` test images, the wrong ones included.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from groundglass.adaptive import make_rule, observe
from groundglass.attacks import APGD, FGSM, L2, PGD, GradientAccess, Linf, ScoreAccess, Square
from groundglass.core.platform import machine, versions
from groundglass.data import Dataset, load
from groundglass.models import DefendedNetwork, load_model
from groundglass.optics import DeviceStore

Run = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Arguments:
    model: Path
    """File of an undefended network."""
    defended: Path | None = None
    """File of a defended one; its device file is in the folder `devices` beside `models`."""
    rules: tuple[str, ...] = ("dfa", "bpda-fit-linear", "exact")
    data: str = "cifar10"
    data_dir: Path | None = None
    images: int = 500
    fit_images: int = 5000
    """Training images that the fitted rules are fitted to."""
    batch_size: int = 100
    """Of every attack."""
    eps: float = 1.28 / 255
    """L-inf, of every attack but L2."""
    l2_eps: float = 0.1
    steps: int = 20
    """Of PGD, a quarter of the radius each; of APGD and FAB."""
    queries: int = 300
    """Of Square."""
    attacks: tuple[str, ...] = ("PGD", "PGD-L2", "FGSM", "Square", "APGD-CE", "APGD-DLR", "FAB")
    seed: int = 0


def ours(name: str, model: nn.Module, a: Arguments, *, seed: int) -> Run:
    """Our attack of that name; PGD where we have none."""
    pgd = PGD(steps=a.steps, step_size=_radius(name, a) / 4, stop_when_fooled=False, keep="last")

    def run(images: Tensor, labels: Tensor) -> Tensor:
        if name == "Square":
            # p_init and the schedule are the authors' in both.
            access = ScoreAccess(model, per_image=a.queries)
            return Square(p_init=0.8)(access, images, labels, Linf(a.eps), seed=seed).adversarial
        attack: Any = {
            "FGSM": FGSM(),
            "APGD-CE": APGD(steps=a.steps, loss="ce"),
            "APGD-DLR": APGD(steps=a.steps, loss="dlr"),
        }.get(name, pgd)
        ball = L2(a.l2_eps) if name == "PGD-L2" else Linf(a.eps)
        return attack(GradientAccess(model), images, labels, ball, seed=seed, batch_size=a.batch_size).adversarial

    return run


def torchattacks_(name: str, model: nn.Module, a: Arguments) -> Run | None:
    import torchattacks

    eps, size = _radius(name, a), _radius(name, a) / 4
    make = {
        "PGD": lambda: torchattacks.PGD(model, eps=eps, alpha=size, steps=a.steps, random_start=False),
        "PGD-L2": lambda: torchattacks.PGDL2(model, eps=eps, alpha=size, steps=a.steps, random_start=False),
        "FGSM": lambda: torchattacks.FGSM(model, eps=eps),
    }
    return make[name]() if name in make else None


def foolbox_(name: str, model: nn.Module, a: Arguments) -> Run | None:
    from foolbox import PyTorchModel
    from foolbox.attacks import L2PGD, LinfFastGradientAttack, LinfPGD

    eps, size = _radius(name, a), _radius(name, a) / 4
    make = {
        "PGD": lambda: LinfPGD(steps=a.steps, abs_stepsize=size, random_start=False),
        "PGD-L2": lambda: L2PGD(steps=a.steps, abs_stepsize=size, random_start=False),
        "FGSM": lambda: LinfFastGradientAttack(random_start=False),
    }
    if name not in make:
        return None
    attack, wrapped = make[name](), PyTorchModel(model, bounds=(0, 1), device="cpu")
    return lambda x, y: attack(wrapped, x, y, epsilons=eps)[1]


def art_(name: str, model: nn.Module, a: Arguments) -> Run | None:
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    classes = int(model(torch.zeros(1, 3, 32, 32)).shape[1])
    wrapped = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (3, 32, 32), classes, clip_values=(0.0, 1.0), device_type="cpu"
    )
    eps = _radius(name, a)
    many = {"eps": eps, "eps_step": eps / 4, "max_iter": a.steps, "num_random_init": 0, "verbose": False}
    make = {
        "PGD": lambda: ProjectedGradientDescent(wrapped, norm=np.inf, batch_size=a.batch_size, **many),
        "PGD-L2": lambda: ProjectedGradientDescent(wrapped, norm=2, batch_size=a.batch_size, **many),
        "FGSM": lambda: FastGradientMethod(wrapped, norm=np.inf, eps=eps, batch_size=a.batch_size),
    }
    if name not in make:
        return None
    attack = make[name]()
    return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def autoattack_(name: str, model: nn.Module, a: Arguments) -> Run | None:
    from pyautoattack.autopgd_base import APGDAttack
    from pyautoattack.fab_pt import FABAttack_PT
    from pyautoattack.square import SquareAttack

    same = {"norm": "Linf", "eps": a.eps, "seed": a.seed, "device": "cpu"}
    make = {
        "APGD-CE": lambda: APGDAttack(model, n_iter=a.steps, loss="ce", **same),
        "APGD-DLR": lambda: APGDAttack(model, n_iter=a.steps, loss="dlr", **same),
        "FAB": lambda: FABAttack_PT(model, n_iter=a.steps, **same),
        "Square": lambda: SquareAttack(model, n_queries=a.queries, p_init=0.8, resc_schedule=True, **same),
    }
    if name not in make:
        return None
    attack = make[name]()
    return lambda x, y: attack.perturb(x, y).detach()


LIBRARIES = {"torchattacks": torchattacks_, "foolbox": foolbox_, "ART": art_, "AutoAttack": autoattack_}


def models(a: Arguments, dataset: Dataset) -> Iterator[tuple[str, nn.Module]]:
    """What is attacked, by the name of its rule."""
    yield "bp", load_model(a.model).eval()
    if a.defended is None:
        return
    store = DeviceStore(a.defended.parent.parent / "devices")
    network = load_model(a.defended, find_device=store.find).eval()
    assert isinstance(network, DefendedNetwork), "--defended is the file of a network with an optical layer"
    for name in a.rules:
        rule = make_rule(name, network, seed=a.seed, pairs=lambda: observe(network, dataset.train.head(a.fit_images)))
        yield name, network.seen_through(rule)


def main(a: Arguments) -> None:
    torch.manual_seed(a.seed)
    print(f"{machine()}, {torch.get_num_threads()} threads, {versions()}")
    dataset = load(a.data, data_dir=a.data_dir)
    test = dataset.test.head(a.images)
    images, labels = test.floats(), test.labels
    print(
        f"{a.data}, first {len(images)} test images; L-inf {255 * a.eps:.2f}/255, L2 {a.l2_eps:g}; {a.steps} steps of "
        f"a quarter of the radius; Square: {a.queries} queries"
    )
    print(
        f"\n{'library':16}{'attack':10}{'rule':18}{'ours %':>8}{'theirs %':>10}{'gap':>8}{'s ours':>9}{'s theirs':>10}"
    )
    worst: dict[str, float] = {}
    for rule, model in models(a, dataset):
        model.requires_grad_(False)
        print(f"{'':16}{'untouched':10}{rule:18}{100 * _right(model, images, images, labels, None):8.1f}", flush=True)
        for name in a.attacks:
            if name == "Square" and rule not in ("bp", a.rules[0]):
                continue  # it sees logits, and those are the same through every rule
            ball = L2(a.l2_eps) if name == "PGD-L2" else Linf(a.eps)
            mine, seconds = _timed(ours(name, model, a, seed=a.seed), images, labels, len(images))
            left = _right(model, images, mine, labels, ball)
            if name == "Square":
                other, more = _timed(ours(name, model, a, seed=a.seed + 1), images, labels, len(images))
                again = _right(model, images, other, labels, ball)
                _row("ours, reseeded", name, rule, left, again, seconds, more, comparable=True)
            for library, make in LIBRARIES.items():
                run = make(name, model, a)
                if run is None:
                    continue
                theirs, took = _timed(run, images, labels, a.batch_size)
                found = _right(model, images, theirs, labels, ball)
                comparable = name != "FAB"
                _row(library, name, rule, left, found, seconds, took, comparable=comparable)
                if comparable:
                    worst[name] = max(worst.get(name, 0.0), abs(left - found))
    print("\nlargest gap: " + ", ".join(f"{name} {100 * gap:.2f} points" for name, gap in worst.items()))


def _row(
    library: str, attack: str, rule: str, mine: float, theirs: float, s: float, took: float, *, comparable: bool
) -> None:
    gap = f"{100 * (mine - theirs):+8.1f}" if comparable else f"{'':8}"
    shown = f"{100 * mine:8.1f}" if comparable else f"{f'({100 * mine:.1f})':>8}"
    print(f"{library:16}{attack:10}{rule:18}{shown}{100 * theirs:10.1f}{gap}{s:9.1f}{took:10.1f}", flush=True)


def _radius(name: str, a: Arguments) -> float:
    return a.l2_eps if name == "PGD-L2" else a.eps


def _timed(run: Run, images: Tensor, labels: Tensor, size: int) -> tuple[Tensor, float]:
    """What comes out, in the order of the images, and the wall seconds."""
    start = time.perf_counter()
    parts = zip(images.split(size), labels.split(size), strict=True)
    found = torch.cat([run(x.clone(), y.clone()) for x, y in parts])
    return found, time.perf_counter() - start


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor, ball: Linf | L2 | None) -> float:
    """Share that is right both before and after; every image must be where it may be."""
    if ball is not None:
        assert bool(ball.contains(adversarial, images, tolerance=1e-5).all()), "out of the ball"
    assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1, "out of range"
    before = torch.cat([model(x).argmax(1) for x in images.split(100)]) == labels
    after = torch.cat([model(x).argmax(1) for x in adversarial.split(100)]) == labels
    return float((before & after).float().mean())


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
