"""The audit's `standard` preset beside AutoAttack's "standard", on one adversarially trained network, in one run.

    python benchmarks/audit_autoattack.py --data cifar10 --data-dir DIR      # trains a small network adversarially first
    python benchmarks/audit_autoattack.py --model RUN/models/vgg-16-at.safetensors --images 200

AutoAttack is that of torchattacks (APGD-CE, APGD-T and FAB-T with nine targets, Square with 5,000 queries; Croce and Hein
2020), on the network in eval mode with frozen parameters. Robust accuracy is judged by the network itself, in a fresh
pass. Both are given the same images: those that the network gets right, so that everyone has the same work. The
audit's time has everything in it: its checks, its claim's measures, the copy it makes and compiles. CPU seconds are of all
threads.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn

from groundglass.attacks import Linf
from groundglass.audit import AuditConfig, audit
from groundglass.core.platform import machine, versions
from groundglass.data import Dataset, batches, load
from groundglass.models import load_model, vgg16


@dataclass(frozen=True)
class Arguments:
    data: str = "cifar10"
    data_dir: Path | None = None
    model: Path | None = None
    """File of an undefended network; without one a small one is trained adversarially first."""
    width: float = 0.125
    train_images: int = 10_000
    epochs: int = 3
    images: int = 100
    """Attacked; all of them classified right."""
    eps: float = 8 / 255
    preset: str = "standard"
    seed: int = 0


def train(dataset: Dataset, a: Arguments) -> nn.Module:
    """A VGG-16 by three-step PGD adversarial training."""
    network = vgg16(a.width, classes=dataset.num_classes, mean=dataset.mean, std=dataset.std, dropout=0.0, seed=a.seed)
    images = dataset.train.head(a.train_images)
    optimiser = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    per_epoch = -(-len(images) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.05, total_steps=a.epochs * per_epoch + 1)
    for epoch in range(a.epochs):
        network.train()
        for batch in batches(images, batch_size=128, seed=a.seed, epoch=epoch):
            adversarial = climbed(network, batch.images, batch.labels, a.eps)
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(adversarial), batch.labels).backward()
            optimiser.step()
            schedule.step()
    return network.eval().requires_grad_(False)


def climbed(network: nn.Module, x: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Images on which the loss is high, after three steps of half the radius."""
    found = x
    for _ in range(3):
        found = found.detach().requires_grad_()
        (grad,) = torch.autograd.grad(nn.functional.cross_entropy(network(found), labels), found)
        found = (found + eps / 2 * grad.sign()).clamp(x - eps, x + eps).clamp(0, 1)
    return found.detach()


def main(a: Arguments) -> None:
    import torchattacks

    torch.manual_seed(a.seed)
    print(f"{machine()}, {torch.get_num_threads()} threads, {versions()}")
    dataset = load(a.data, data_dir=a.data_dir)
    network = load_model(a.model).eval().requires_grad_(False) if a.model else train(dataset, a)
    test = dataset.test.head(20 * a.images)
    with torch.no_grad():
        right = torch.cat([network(x).argmax(1) for x in test.floats().split(500)]) == test.labels
    chosen = right.nonzero().squeeze(1)[: a.images]
    images, labels = test.floats(chosen), test.labels[chosen]
    print(
        f"{a.data}: accuracy {right.float().mean():.1%} on {len(test)} test images; {len(images)} that are right are attacked"
    )

    wall, cpu = time.perf_counter(), time.process_time()
    found = audit(network, images, labels, Linf(a.eps), config=AuditConfig.preset(a.preset), seed=a.seed)
    ours = (time.perf_counter() - wall, time.process_time() - cpu)
    print(found.sentence)
    for attempt in found.attempts:
        print(f"  {attempt.name}: broke {attempt.broke} of {attempt.tried}, {attempt.seconds:.1f} s")

    wall, cpu = time.perf_counter(), time.process_time()
    peer = torchattacks.AutoAttack(
        network, norm="Linf", eps=a.eps, version="standard", n_classes=dataset.num_classes, seed=a.seed
    )
    made = torch.cat([peer(*part) for part in zip(images.split(100), labels.split(100), strict=True)])
    theirs = (time.perf_counter() - wall, time.process_time() - cpu)
    with torch.no_grad():
        left = network(made).argmax(1) == labels
    both = left & found.robust
    print(
        f"\nrobust: audit {found.worst.share:.1%}, AutoAttack {left.float().mean():.1%}, both together {both.float().mean():.1%}"
    )
    print(
        f"images that only the audit breaks {int((left & ~found.robust).sum())}, that only AutoAttack breaks "
        f"{int((~left & found.robust).sum())}"
    )
    print(f"wall s: audit {ours[0]:.1f}, AutoAttack {theirs[0]:.1f}, ratio {theirs[0] / ours[0]:.2f}")
    print(f"CPU s: audit {ours[1]:.1f}, AutoAttack {theirs[1]:.1f}, ratio {theirs[1] / ours[1]:.2f}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
