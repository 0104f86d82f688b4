"""Small models and images for the tests of attacks."""

from collections import defaultdict
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.attacks import AttackResult, GradientAccess, LabelAccess, LabelAttack, ScoreAccess
from groundglass.attacks.result import COLUMNS

CLASSES = 3


class RowModel(nn.Module):
    """A small smooth network computed row by row, so that its logits are the same, bit for bit, in any batch."""

    def __init__(self, seed: int = 0, size: int = 3 * 4 * 4, hidden: int = 16, classes: int = CLASSES) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(hidden, size, generator=generator) / size**0.5)
        self.second = nn.Parameter(3 * torch.randn(classes, hidden, generator=generator) / hidden**0.5)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(4 * ((x.flatten(1)[:, None] - 0.5) * self.first).sum(-1))
        return (hidden[:, None] * self.second).sum(-1)


class Linear(nn.Module):
    """Two classes; the second wins where w (x - 1/2) + offset > 0."""

    def __init__(self, weight: Tensor, offset: float) -> None:
        super().__init__()
        self.weight, self.offset = weight, offset

    def forward(self, x: Tensor) -> Tensor:
        score = ((x - 0.5) * self.weight).flatten(1).sum(1) + self.offset
        return torch.stack([torch.zeros_like(score), score], dim=1)


class Counting(nn.Module):
    """Passes images on, and counts them. Nobody may ask it about nothing, as no service answers that."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.rows, self.calls = model, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        assert len(x), "asked about no images"
        self.rows += len(x)
        self.calls += 1
        return self.model(x)


def blobs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images [count, 3, 8, 8] of three classes: a faint pattern of the class under noise."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    noise = torch.randn(count, 3, 8, 8, generator=generator)
    return (0.5 + 0.05 * patterns[labels] + 0.1 * noise).clamp(0, 1), labels


@cache
def trained() -> nn.Module:
    """A small convolutional network that tells the blobs apart; in eval mode. Do not change it."""
    images, labels = blobs(512, seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, CLASSES)
        )  # fmt: skip
        optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(8):
            for rows in torch.randperm(len(images)).split(128):
                optimiser.zero_grad()
                F.cross_entropy(model((images[rows] - 0.5) * 4), labels[rows]).backward()
                optimiser.step()
    return nn.Sequential(Scaled(), *model).eval()


class Scaled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) * 4


class ScaledInPlace(nn.Module):
    """What `Scaled` does, by writing to its input."""

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5
        return x.mul_(4)


class Recorded(nn.Module):
    """Keeps all that the model is asked about, a batch at a time."""

    def __init__(self, model) -> None:
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, x: Tensor) -> Tensor:
        self.asked.append(x.detach().clone())
        return self.model(x)

    @property
    def rows(self) -> list[Tensor]:
        """The images that were asked about after the first, which is the check of the image itself."""
        return [x for batch in self.asked for x in batch][1:]


class Constant(nn.Module):
    """Two classes; the first always wins."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([[2.0, -1.0]]).repeat(len(x), 1)


class _Recorded:
    """An access that keeps each row it is asked about, by the image's number: the row, the purpose, the answer."""

    def _ask(self, images, purpose, owners):
        logits = super()._ask(images, purpose, owners)
        for x, owner, answer in zip(images.clone(), owners, logits.argmax(1).tolist(), strict=True):
            self.__dict__.setdefault("asked_rows", defaultdict(list))[owner].append((x, purpose, answer))
        return logits

    def kept(self, owner: int, purpose: str) -> Tensor:
        return torch.stack([x for x, why, _ in self.asked_rows[owner] if why == purpose])


class RecordedScores(_Recorded, ScoreAccess):
    pass


class RecordedLabels(_Recorded, LabelAccess):
    pass


class Failing(nn.Module):
    """Answers so many rows; then a batch that would go beyond them is an error."""

    def __init__(self, model: nn.Module, rows: int, error: type[BaseException] = ConnectionError) -> None:
        super().__init__()
        self.model, self.left, self.error = model, rows, error

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.left:
            self.left = 0
            raise self.error("gone")
        self.left -= len(x)
        return self.model(x)


def problem(count: int = 37, *, side: int = 4, classes: int = CLASSES) -> tuple[RowModel, Tensor, Tensor]:
    """A model and images; every seventh label is wrong."""
    model = RowModel(seed=3, size=3 * side * side, classes=classes)
    images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(2))
    labels = model(images).argmax(1)
    labels[::7] = (labels[::7] + 1) % classes
    return model, images, labels


def assert_same(first: AttackResult, second: AttackResult, what: str = "") -> None:
    """Bit for bit; a loss that was never asked for is NaN on both sides."""
    for name in COLUMNS:
        a, b = getattr(first, name), getattr(second, name)
        assert torch.equal(a.nan_to_num(-99.0), b.nan_to_num(-99.0)), (what, name)


def assert_batches_do_not_matter(run, images: Tensor, labels: Tensor) -> AttackResult:
    """`run(images, labels, **options)` gives each image the same in any batches, order and parts; some alone in theirs.

    Returns:
        That of all images at once.
    """
    count, whole = len(images), run(images, labels)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    halves = [run(images[at], labels[at], indices=at) for at in torch.arange(count).split(-(-count // 2))]
    shuffled = run(images[order], labels[order], indices=order, batch_size=4)
    assert_same(whole, shuffled.subset(order.argsort()), "shuffled")
    assert_same(whole, AttackResult.concat(halves), "in parts")
    assert_same(whole, run(images, labels, batch_size=5), "batches of 5")
    some = torch.arange(0, count, 3)
    assert_same(whole.subset(some), run(images[some], labels[some], indices=some, batch_size=1), "alone")
    return whole


def attacked(model, images, labels, attack, ball, *, seed=5, **options) -> tuple[AttackResult, GradientAccess]:
    """What an attack by gradients leaves, and its access."""
    access = GradientAccess(model)
    return attack(access, images, labels, ball, seed=seed, **options), access


def queried(model, images, labels, attack, ball, budget, *, seed=5, **options) -> AttackResult:
    """What an attack by queries leaves."""
    kind = LabelAccess if isinstance(attack, LabelAttack) else ScoreAccess
    return attack(kind(model, per_image=budget), images, labels, ball, seed=seed, **options)
