"""The audit's `standard` preset beside AutoAttack's "standard", on adversarially trained networks, in turns, in one run.

    python benchmarks/audit_autoattack.py --data-dir DIR --kept nets        # trains both networks, and keeps them in nets/
    python benchmarks/audit_autoattack.py --data-dir DIR --model RUN/models/vgg-16-at.safetensors --eps 8/255

AutoAttack is `pyautoattack`, its authors' own (APGD-CE, APGD-T and FAB-T at nine classes, Square with 5,000 queries; Croce and
Hein 2020), on the network in eval mode with frozen parameters. Its four attacks are called one by one, each on what the last
ones left, as it does itself: so each image has the attack that broke it.

Both are given the same images, those that the network gets right, in rounds; who begins changes from round to round. Robust
accuracy is judged by the network itself, in a fresh pass. Both are counted by the same counter, in the network: images that
pass through it with a gradient wanted, and without. The audit's time and passes have everything in them: its checks, its
claim's measures, the copy it makes and compiles. CPU seconds are of all threads.

The networks are small, and trained by FGSM steps from random starts (Wong, Rice and Kolter 2020): `strided` within 4/255, and
`pooled`, a short VGG, within 8/255.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from groundglass.attacks import Linf
from groundglass.audit import Audit, AuditConfig, audit
from groundglass.core import begin_state, generator, load_state, save_state, uniform
from groundglass.core.platform import machine, versions
from groundglass.core.statistics import Proportion
from groundglass.data import Augment, Dataset, batches, load
from groundglass.models import Classifier, load_model


@dataclass(frozen=True)
class Training:
    eps: float
    images: int = 30_000
    epochs: int = 3
    rate: float = 0.1
    batch_size: int = 128


NETWORKS = {"strided": Training(4 / 255, epochs=4), "pooled": Training(8 / 255)}
#: Channels of each convolution, and whether it halves the image.
_LAYERS = {
    "strided": ((16, False), (16, True), (32, False), (32, True), (64, False), (64, True)),
    "pooled": ((16, True), (32, False), (32, True), (64, False), (64, True)),
}


@dataclass(frozen=True)
class Arguments:
    data: str = "cifar10"
    data_dir: Path | None = None
    networks: tuple[str, ...] = tuple(NETWORKS)
    """Trained adversarially first, or taken from `--kept`."""
    kept: Path | None = None
    """A folder for the trained networks: the comparison can then be repeated."""
    model: Path | None = None
    """The file of an undefended network instead, with `--eps`."""
    eps: str = "8/255"
    train_images: int | None = None
    epochs: int | None = None
    images: int = 100
    """Attacked, of each network; all of them classified right."""
    rounds: int = 2
    preset: str = "standard"
    threads: int = 1
    seed: int = 0


class Tally:
    """Images that passed through a network. Copies of the network count in the same tally."""

    def __init__(self) -> None:
        self.gradients = self.forwards = 0

    def __deepcopy__(self, memo: object) -> "Tally":
        return self


class Counted(nn.Module):
    def __init__(self, model: nn.Module, tally: Tally) -> None:
        super().__init__()
        self.model, self.tally = model, tally

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad and torch.is_grad_enabled():
            self.tally.gradients += len(images)
        else:
            self.tally.forwards += len(images)
        logits: Tensor = self.model(images)
        return logits


@dataclass(frozen=True)
class Cost:
    wall: float = 0.0
    cpu: float = 0.0
    gradients: int = 0
    forwards: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))


def untrained(name: str, dataset: Dataset, seed: int) -> nn.Module:
    """3 x 3 convolutions with BatchNorm and ReLU, in halvings of the image by strides or by max-pooling; a linear head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        incoming = 3
        for channels, halve in _LAYERS[name]:
            stride = 2 if halve and name == "strided" else 1
            layers += [nn.Conv2d(incoming, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
            if halve and name == "pooled":
                layers.append(nn.MaxPool2d(2))
            incoming = channels
        head = nn.Linear(16 * incoming, dataset.num_classes)
        return Classifier(nn.Sequential(*layers, nn.Flatten()), head, mean=dataset.mean, std=dataset.std)


def trained(name: str, dataset: Dataset, a: Arguments) -> tuple[nn.Module, float]:
    """The network in eval mode, and its radius. From its file, if there is one; it must be of the same training."""
    how = NETWORKS[name]
    how = replace(how, images=a.train_images or how.images, epochs=a.epochs or how.epochs)
    network = untrained(name, dataset, a.seed)
    place = None if a.kept is None else a.kept / f"{name}.safetensors"
    if place is not None:
        place, identity = begin_state(place, {"network": name, "data": a.data, "seed": a.seed, **asdict(how)})
        if place.exists():
            network.load_state_dict(load_state(place, identity)[0])
            return network.eval().requires_grad_(False), how.eps
    started = time.process_time()
    train(network, dataset, how, a.seed)
    print(f"{name}: trained in {time.process_time() - started:.0f} s of CPU, {how}", flush=True)
    if place is not None:
        save_state(place, network.state_dict(), {}, identity)
    return network.eval().requires_grad_(False), how.eps


def train(network: nn.Module, dataset: Dataset, how: Training, seed: int) -> None:
    """One step of 1.25 eps from a random start, and one of the weights. The rate rises to its peak and falls to zero, and
    the radius rises over the first epoch."""
    images = dataset.train.head(how.images)
    optimiser = torch.optim.SGD(network.parameters(), how.rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    per_epoch = math.ceil(len(images) / how.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.rate, total_steps=how.epochs * per_epoch + 1)
    augment = Augment(crop=2, rotation=0)
    network.train()
    for epoch in range(how.epochs):
        parts = batches(images, batch_size=how.batch_size, seed=seed, epoch=epoch, augment=augment)
        for number, batch in enumerate(parts):
            eps = how.eps * min(1.0, (epoch * per_epoch + number + 1) / per_epoch)
            x, labels = batch.images, batch.labels
            start = eps * (2 * uniform(*x.shape, generator=generator(seed, "start", epoch, number)) - 1)
            moved = (x + start).clamp(0, 1).requires_grad_()
            (grad,) = torch.autograd.grad(nn.functional.cross_entropy(network(moved), labels), moved)
            moved = (moved.detach() + 1.25 * eps * grad.sign()).clamp(x - eps, x + eps).clamp(0, 1)
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(network(moved), labels)
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"  epoch {epoch + 1}: loss {loss.item():.2f}", flush=True)


def timed(network: nn.Module, work: Callable[[nn.Module], Any]) -> tuple[Any, Cost]:
    tally = Tally()
    wall, cpu = time.perf_counter(), time.process_time()
    made = work(Counted(network, tally).eval())
    return made, Cost(time.perf_counter() - wall, time.process_time() - cpu, tally.gradients, tally.forwards)


def by_audit(network: nn.Module, images: Tensor, labels: Tensor, eps: float, a: Arguments) -> Audit:
    found = audit(network, images, labels, Linf(eps), config=AuditConfig.preset(a.preset), seed=a.seed)
    for attempt in found.attempts:
        passes = f"{attempt.gradients} gradients, {attempt.forwards} forwards"
        print(f"    audit {attempt.name}: broke {attempt.broke} of {attempt.tried}, {attempt.seconds:.1f} s, {passes}")
    return found


def by_autoattack(
    network: nn.Module, images: Tensor, labels: Tensor, eps: float, seed: int
) -> tuple[list[str], Tensor]:
    """For each image the attack that broke it, or ""; and what it was given that is adversarial."""
    from pyautoattack import AutoAttack

    peer = AutoAttack(network, norm="Linf", eps=eps, version="standard", seed=seed, device="cpu")
    peer.verbose = False
    broken, adversarial = [""] * len(labels), images.clone()
    for attack in list(peer.attacks_to_run):
        rows = torch.tensor([row for row, name in enumerate(broken) if not name])
        if not len(rows):
            break
        peer.attacks_to_run = [attack]
        started = time.process_time()
        found, _ = peer.run_standard_evaluation(images[rows], labels[rows], batch_size=128)
        adversarial[rows] = found
        with torch.no_grad():
            fooled = rows[network(found).argmax(1) != labels[rows]].tolist()
        for row in fooled:
            broken[row] = attack
        print(f"    AutoAttack {attack}: broke {len(fooled)} of {len(rows)}, {time.process_time() - started:.1f} s CPU")
    return broken, adversarial


def compare(name: str, network: nn.Module, eps: float, dataset: Dataset, a: Arguments) -> None:
    test = dataset.test
    with torch.no_grad():
        right = (
            torch.cat([network(test.floats(rows)).argmax(1) for rows in torch.arange(len(test)).split(500)])
            == test.labels
        )
    chosen = right.nonzero().squeeze(1)[: a.images]
    print(
        f"\n{name}, L-inf {255 * eps:.3g}/255: {right.float().mean():.1%} of {len(test)} test images are right; the first "
        f"{len(chosen)} of these are attacked, in {a.rounds} rounds",
        flush=True,
    )
    ours, theirs = Cost(), Cost()
    by_us: list[str] = []
    by_them: list[str] = []
    for number, rows in enumerate(chosen.tensor_split(a.rounds)):
        images, labels = test.floats(rows), test.labels[rows]

        the_audit = partial(by_audit, images=images, labels=labels, eps=eps, a=a)
        the_peer = partial(by_autoattack, images=images, labels=labels, eps=eps, seed=a.seed)
        if number % 2:
            (broken, made), cost_theirs = timed(network, the_peer)
            found, cost_ours = timed(network, the_audit)
        else:
            found, cost_ours = timed(network, the_audit)
            (broken, made), cost_theirs = timed(network, the_peer)
        check(network, found.adversarial, images, labels, eps, left=found.robust)
        check(network, made, images, labels, eps, left=torch.tensor([not by for by in broken]))
        by_us += [found.attempts[at].name if at >= 0 else "" for at in found.broken_by.tolist()]
        by_them += broken
        ours, theirs = ours + cost_ours, theirs + cost_theirs
        print(f"  round {number + 1}: CPU s {cost_ours.cpu:.1f} and {cost_theirs.cpu:.1f}", flush=True)
    summary(by_us, by_them, ours, theirs)


def check(network: nn.Module, made: Tensor, images: Tensor, labels: Tensor, eps: float, *, left: Tensor) -> None:
    """What is said to be broken is inside the ball, and wrong in a fresh pass."""
    broken = (~left).nonzero().squeeze(1)
    assert bool(Linf(eps).contains(made[broken], images[broken], tolerance=1e-6).all())
    with torch.no_grad():
        assert bool((network(made[broken]).argmax(1) != labels[broken]).all())


def summary(by_us: list[str], by_them: list[str], ours: Cost, theirs: Cost) -> None:
    count = len(by_us)
    both = [bool(us or them) for us, them in zip(by_us, by_them, strict=True)]
    for who, broken in (
        ("audit", [bool(by) for by in by_us]),
        ("AutoAttack", [bool(by) for by in by_them]),
        ("both", both),
    ):
        kept = Proportion(count - sum(broken), count)
        low, high = kept.interval
        print(f"  worst case, {who}: {kept.share:.1%} ({low:.1%} to {high:.1%})")
    for who, mine, other in (("the audit", by_us, by_them), ("AutoAttack", by_them, by_us)):
        alone = [by for by, also in zip(mine, other, strict=True) if by and not also]
        print(f"  broken by {who} alone: {len(alone)} {sorted(set(alone))}")
    for what in ("cpu", "wall", "gradients", "forwards"):
        a, b = getattr(ours, what), getattr(theirs, what)
        print(f"  {what}: audit {a:,.0f}, AutoAttack {b:,.0f}, AutoAttack / audit {b / max(a, 1e-9):.2f}")


def main(a: Arguments) -> None:
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    print(f"{machine()}, {a.threads} threads, {versions()}, seed {a.seed}", flush=True)
    dataset = load(a.data, data_dir=a.data_dir)
    if a.model is not None:
        over, _, under = a.eps.partition("/")
        network = load_model(a.model).eval().requires_grad_(False)
        compare(a.model.stem, network, float(over) / float(under or 1), dataset, a)
        return
    for name in a.networks:
        compare(name, *trained(name, dataset, a), dataset, a)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
