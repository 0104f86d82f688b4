"""PGD-20 beside torchattacks, foolbox and ART: the same network, images and settings, in turns, in one run.

    python benchmarks/pgd_peers.py --data cifar10 --data-dir DIR      # trains a quarter-width VGG-16 first
    python benchmarks/pgd_peers.py --data shapes --train-images 5000  # no download
    python benchmarks/pgd_peers.py --model RUN/models/vgg-16.safetensors   # a VGG-16 that a study has trained

L-inf, eps 8/255, 20 steps of 2/255, from the image itself, on images that the network gets right (so that everyone has
the same work to do). Robust accuracy is always judged by the network itself, in a fresh forward pass on what the attack
returned. In the peers' favour, they get a network in eval mode whose parameters are frozen: foolbox and ART, which
call `backward()`, would otherwise compute gradients of the weights as well.

- "all steps": every image runs all its steps, in ours too (`stop_when_fooled=False`, the last iterate is returned);
- "stopping": an image is done when it is fooled, which is all that robust accuracy asks for;
- "on our copy": torchattacks, given `frozen_for_attack(network)`: how much of the difference is the copy.

Every turn runs everyone once; ratios are of neighbouring times, and their median is what counts. CPU seconds (of all
threads) are given beside wall seconds: where other work takes the processor away, trust those. Setting up, compiling
included, is shown apart.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from groundglass.attacks import PGD, AttackResult, GradientAccess, Linf, frozen_for_attack
from groundglass.core.platform import machine, versions
from groundglass.data import Dataset, batches, load
from groundglass.models import load_model, vgg16

Run = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Arguments:
    data: str = "cifar10"
    data_dir: Path | None = None
    model: Path | None = None
    """File of an undefended network; without one it is trained first."""
    width: float = 0.25
    train_images: int = 20_000
    epochs: int = 3
    images: int = 512
    """Attacked; all of them classified right."""
    batch_size: int = 128
    """Of every attack."""
    steps: int = 20
    eps: float = 8 / 255
    step_size: float = 2 / 255
    turns: int = 3
    threads: int = 0
    """Of torch; 0 leaves its default."""
    seed: int = 0


def train(dataset: Dataset, a: Arguments) -> nn.Module:
    """A plain VGG-16, trained enough to be worth attacking."""
    network = vgg16(a.width, classes=dataset.num_classes, mean=dataset.mean, std=dataset.std, dropout=0.0, seed=a.seed)
    images = dataset.train.head(a.train_images)
    optimiser = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    per_epoch = -(-len(images) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.05, total_steps=a.epochs * per_epoch + 1)
    network.train()
    for epoch in range(a.epochs):
        for batch in batches(images, batch_size=128, seed=a.seed, epoch=epoch):
            optimiser.zero_grad()
            F.cross_entropy(network(batch.images), batch.labels).backward()
            optimiser.step()
            schedule.step()
    return network.eval().requires_grad_(False)


def peers(
    network: nn.Module, images: Tensor, labels: Tensor, a: Arguments, *, only: str | None = None
) -> tuple[dict[str, Run], dict[str, str]]:
    """How to run each peer (or `only` one), tried on a few images, and why those that cannot be run cannot."""
    found: dict[str, Run] = {}
    missing: dict[str, str] = {}

    def in_batches(attack: Run) -> Run:
        def run(x: Tensor, y: Tensor) -> Tensor:
            parts = zip(x.split(a.batch_size), y.split(a.batch_size), strict=True)
            return torch.cat([attack(*part) for part in parts])

        return run

    def with_torchattacks() -> Run:
        import torchattacks

        attack = torchattacks.PGD(network, eps=a.eps, alpha=a.step_size, steps=a.steps, random_start=False)
        return in_batches(attack)

    def with_foolbox() -> Run:
        import foolbox

        model = foolbox.PyTorchModel(network, bounds=(0, 1))
        attack = foolbox.attacks.LinfPGD(steps=a.steps, abs_stepsize=a.step_size, random_start=False)
        return in_batches(lambda x, y: attack(model, x, y, epsilons=a.eps)[1])

    def with_art() -> Run:
        from art.attacks.evasion import ProjectedGradientDescent
        from art.estimators.classification import PyTorchClassifier

        classes = network(images[:1]).shape[1]
        model = PyTorchClassifier(
            network, nn.CrossEntropyLoss(), images.shape[1:], classes, clip_values=(0.0, 1.0), device_type="cpu"
        )
        attack = ProjectedGradientDescent(
            model, norm=np.inf, eps=a.eps, eps_step=a.step_size, max_iter=a.steps, num_random_init=0,
            batch_size=a.batch_size, verbose=False,
        )  # fmt: skip
        return lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    makers = {"torchattacks": with_torchattacks, "foolbox": with_foolbox, "ART": with_art}
    for name, make in makers.items():
        if only not in (None, name):
            continue
        # Whatever is wrong with somebody else's installation is for the reader to see, and no reason to stop.
        try:
            run = make()
            run(images[:8], labels[:8])
        except Exception as error:
            missing[name] = f"{type(error).__name__}: {error}"
        else:
            found[name] = run
    return found, missing


def main(a: Arguments) -> None:
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    print(f"{machine()}, {torch.get_num_threads()} threads, {versions()}")
    dataset = load(a.data, data_dir=a.data_dir)
    network = load_model(a.model).eval().requires_grad_(False) if a.model else train(dataset, a)
    test = dataset.test.head(4 * a.images)
    with torch.no_grad():
        right = torch.cat([network(x).argmax(1) for x in test.floats().split(500)]) == test.labels
    chosen = right.nonzero().squeeze(1)[: a.images]
    images, labels = test.floats(chosen), test.labels[chosen]
    print(
        f"{a.data}: accuracy {right.float().mean():.1%} on {len(test)} test images; {len(images)} that are right are attacked"
    )

    start = time.perf_counter()
    frozen = frozen_for_attack(network)
    frozen(images[:1].requires_grad_()).sum().backward()
    images.requires_grad_(False)
    print(f"frozen_for_attack, first use and compilation included: {time.perf_counter() - start:.1f} s")
    _compare(network, frozen, images, labels)

    ball = Linf(a.eps)
    full = PGD(steps=a.steps, step_size=a.step_size, stop_when_fooled=False, keep="last")
    stopping = PGD(steps=a.steps, step_size=a.step_size)
    results: dict[str, AttackResult] = {}

    def ours(name: str, attack: PGD, model: nn.Module) -> Run:
        def run(x: Tensor, y: Tensor) -> Tensor:
            result = attack(GradientAccess(model), x, y, ball, seed=a.seed, batch_size=a.batch_size)
            results[name] = result
            return result.adversarial

        return run

    rivals, missing = peers(network, images, labels, a)
    runs = dict(rivals)
    for name, attack, model in (
        ("groundglass, plain network, all steps", full, network),
        ("groundglass, all steps", full, frozen),
        ("groundglass, stopping", stopping, frozen),
    ):
        runs[name] = ours(name, attack, model)
    on_copy, _ = peers(frozen, images, labels, a, only="torchattacks")
    runs |= {f"{name}, on our copy": run for name, run in on_copy.items()}

    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    left: dict[str, float] = {}
    for turn in range(a.turns):
        for name, run in runs.items():
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            adversarial = run(images, labels)
            wall[name].append(time.perf_counter() - wall_start)
            cpu[name].append(time.process_time() - cpu_start)
            left[name] = _robust(network, images, adversarial, labels, a.eps)
        seconds = ", ".join(f"{name} {wall[name][-1]:.2f}" for name in runs)
        print(f"turn {turn + 1} of {a.turns}, wall s: {seconds}", flush=True)
    _report(rivals, missing, wall, cpu, left, results)


def _robust(network: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor, eps: float) -> float:
    assert float((adversarial - images).abs().max()) <= eps + 1e-5, "out of the ball"
    assert 0 <= float(adversarial.min()) <= float(adversarial.max()) <= 1, "out of range"
    with torch.no_grad():
        predicted = torch.cat([network(x).argmax(1) for x in adversarial.split(500)])
    return float((predicted == labels).float().mean())


def _compare(network: nn.Module, frozen: nn.Module, images: Tensor, labels: Tensor) -> None:
    """How far the copy is from the network: logits, and gradients of the loss."""
    found = []
    for model in (network, frozen):
        x = images[:128].clone().requires_grad_()
        logits = model(x)
        (grad,) = torch.autograd.grad(F.cross_entropy(logits, labels[:128], reduction="sum"), x)
        found.append((logits.detach(), grad.flatten(1)))
    (logits, grad), (other_logits, other_grad) = found
    apart = (other_grad - grad).norm(dim=1) / grad.norm(dim=1).clamp_min(1e-30)
    print(
        f"the copy's logits differ by {float((other_logits - logits).abs().max() / logits.abs().max()):.1e} of the largest, "
        f"its gradients by {float(apart.median()):.1e} (median), {float((other_grad.sign() != grad.sign()).float().mean()):.1e} "
        "of their signs"
    )


def _report(
    rivals: dict[str, Run],
    missing: dict[str, str],
    wall: dict[str, list[float]],
    cpu: dict[str, list[float]],
    left: dict[str, float],
    results: dict[str, AttackResult],
) -> None:
    print(f"\n{'':42}{'robust':>8}{'wall s: min':>13}{'median':>8}{'CPU s: min':>12}{'median':>8}{'gradients':>11}")
    for name in wall:
        gradients = f"{int(results[name].gradients.sum())}" if name in results else ""
        of_wall = f"{min(wall[name]):13.2f}{statistics.median(wall[name]):8.2f}"
        of_cpu = f"{min(cpu[name]):12.2f}{statistics.median(cpu[name]):8.2f}"
        print(f"{name:42}{left[name]:8.1%}{of_wall}{of_cpu}{gradients:>11}")
    for name, why in missing.items():
        print(f"{name:42}cannot be run here: {why}")
    if not rivals:
        print("no peer could be run: nothing to compare with")
        return
    fastest = min(rivals, key=lambda name: statistics.median(wall[name]))
    print(f"\nthe fastest peer is {fastest}; its time over ours, median of turns:")
    for name in results:
        by_wall = statistics.median(p / o for p, o in zip(wall[fastest], wall[name], strict=True))
        by_cpu = statistics.median(p / o for p, o in zip(cpu[fastest], cpu[name], strict=True))
        gap = abs(left[name] - left[fastest])
        print(f"  {name:40}{by_wall:6.2f} x wall{by_cpu:8.2f} x CPU   robust accuracy apart by {100 * gap:.2f} points")
    unconfirmed = {n: round((left[n] - r.robust_accuracy) * len(r)) for n, r in results.items()}
    print(f"successes that the fresh forward pass through the network did not confirm: {unconfirmed}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
