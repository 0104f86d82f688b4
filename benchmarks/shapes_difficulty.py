"""How hard is the `shapes` data set? Clean accuracy of a small network, and under PGD-20.

    python benchmarks/shapes_difficulty.py            # four convolutions
    python benchmarks/shapes_difficulty.py --vgg      # VGG-16 at an eighth of its width

It must print a clean accuracy of 80 to 97%, and less than 10% under PGD-20 at L-infinity 8/255. The networks and the
attack are written out here, on purpose: this measures the data, not the package. Two to nine minutes on one core.
"""

import argparse
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from groundglass.data import Dataset, batches, load_shapes

EPOCHS = 6
ATTACKED = 500  # test images
STEPS = 20
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: max-pool


def convolutions(widths: tuple[int, ...], features: int) -> nn.Sequential:
    """3x3 convolutions with batch norm and ReLU, then one linear layer. Images in [0, 1] in, logits out."""
    layers: list[nn.Module] = []
    channels = 3
    for width in widths:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 10))


def train(network: nn.Module, data: Dataset, *, epochs: int, seed: int) -> None:
    """SGD with momentum under a one-cycle schedule."""
    steps = epochs * -(-len(data.train) // 128)
    sgd = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(sgd, 0.1, total_steps=steps)
    start = time.perf_counter()
    for epoch in range(epochs):
        network.train()
        total = 0.0
        for batch in batches(data.train, batch_size=128, seed=seed, epoch=epoch):
            loss = functional.cross_entropy(network(batch.images * 2 - 1), batch.labels)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        network.eval()
        correct = sum(
            int((network(b.images * 2 - 1).argmax(1) == b.labels).sum())
            for b in batches(data.test, batch_size=500, seed=0, epoch=0, shuffle=False)
        )
        clean, seconds = correct / len(data.test), time.perf_counter() - start
        print(f"epoch {epoch + 1}: loss {total / len(data.train):.3f}, test {clean:.1%}, {seconds:.0f} s", flush=True)


def under_pgd(network: nn.Module, images: Tensor, labels: Tensor, eps: float) -> float:
    """Accuracy at the end of PGD-20 with steps of eps / 8."""
    moved = images.clone()
    for _ in range(STEPS):
        moved.requires_grad_()
        (grad,) = torch.autograd.grad(functional.cross_entropy(network(moved * 2 - 1), labels), moved)
        moved = moved.detach() + eps / 8 * grad.sign()
        moved = moved.clamp(images - eps, images + eps).clamp(0, 1)
    with torch.no_grad():
        return float((network(moved * 2 - 1).argmax(1) == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vgg", action="store_true")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    data = load_shapes()
    made = time.perf_counter() - start
    print(f"{len(data.train):,} + {len(data.test):,} images made in {made:.1f} s, {torch.get_num_threads()} threads")
    torch.manual_seed(args.seed)
    vgg = tuple(width // 8 for width in VGG16)
    network = convolutions(vgg, 64) if args.vgg else convolutions((32, 0, 32, 0, 64, 0, 64, 0), 256)
    train(network, data, epochs=args.epochs, seed=args.seed)
    network.requires_grad_(False)
    attacked = data.test.head(ATTACKED)
    for levels in (1, 2, 4, 8):
        accuracy = under_pgd(network, attacked.floats(), attacked.labels, levels / 255)
        print(f"PGD-{STEPS} at L-inf {levels}/255: accuracy {accuracy:.1%} over {ATTACKED} images")


if __name__ == "__main__":
    main()
