"""Classifiers of which it is known whether their robustness is real, on pictures where either kind can be had.

A picture of 16 x 16 has a corner that is bright for its class nine times in ten, which no small change hides, and
everywhere a faint pattern of the class, which always tells and which a change of `EPS` wipes out. Plain training goes by the
pattern, adversarial training by the corner.
"""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundglass.attacks import Linf
from groundglass.models import defend
from groundglass.optics import Encoding, SimulatedOPU

SIDE, CLASSES, EPS = 16, 4, 0.08
BALL = Linf(EPS)
_PATTERN, _NOISE, _CORNER, _TOLD = 0.04, 0.04, 0.3, 0.95


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """[n, 1, 16, 16] in [0, 1], and classes 0 to 3."""
    random = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (CLASSES, SIDE, SIDE), generator=torch.Generator().manual_seed(99)).float() * 2 - 1
    labels = torch.randint(0, CLASSES, (count,), generator=random)
    images = 0.5 + _PATTERN * signs[labels] + _NOISE * torch.randn(count, SIDE, SIDE, generator=random)
    other = torch.randint(0, CLASSES, (count,), generator=random)
    bright = torch.where(torch.rand(count, generator=random) < _TOLD, labels, other)
    for corner in range(CLASSES):
        rows = slice(0, 4) if corner < 2 else slice(12, 16)
        columns = slice(0, 4) if corner % 2 == 0 else slice(12, 16)
        images[bright == corner, rows, columns] += _CORNER
    return images.clamp(0, 1)[:, None], labels


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def fitted(
    make: Callable[[], nn.Module],
    adversarially: bool = False,
    rate: float = 2e-3,
    heat: float = 1.0,
    steps: int | None = None,
) -> nn.Module:
    """A network, trained plainly or by PGD; `heat`: the temperature of its softmax while it is trained."""
    steps = steps or (400 if adversarially else 200)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
        images, labels = pictures(4000, 1)
        optimiser = torch.optim.Adam(model.parameters(), rate)
        for step in range(steps):
            rows = torch.randint(0, len(images), (128,))
            x, y = images[rows], labels[rows]
            if adversarially:
                x = _climbed(model, x, y, min(1.0, 2 * step / steps))
            optimiser.zero_grad()
            F.cross_entropy(model(x) / heat, y).backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


@cache
def trained(adversarially: bool) -> nn.Module:
    """A small network, by plain training or by PGD adversarial training."""
    return fitted(network, adversarially)


def layered(device: SimulatedOPU | None, encoding: Encoding | None = None) -> nn.Module:
    """The same with the optical layer, or a linear head trained by DFA, in place of its last layer."""
    flatten, first, relu, last = network()
    plain = nn.Sequential(flatten, first, relu, nn.Sequential(last))
    return defend(plain, at="3", device=device, hidden=None if device else 32, encoding=encoding, seed=0).train()


class Winners(nn.Module):
    """k winners take all (Xiao, Zhong and Zheng 2020): a loss of many small cliffs."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x >= x.topk(8, dim=1).values[:, -1:], x, 0.0)


class Thermometer(nn.Module):
    """Each pixel as a row of bits, one for each level that it is above (Buckman et al. 2018): no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1)[:, :, None] > torch.linspace(0.05, 0.95, 19)).float().flatten(1)


def winners() -> nn.Module:
    return fitted(lambda: nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 256), Winners(), nn.Linear(256, CLASSES)))


def thermometer() -> nn.Module:
    return fitted(lambda: nn.Sequential(Thermometer(), nn.Linear(SIDE * SIDE * 19, CLASSES)))


def distilled() -> nn.Module:
    """Trained at a temperature of 50 and used at 1 (Papernot et al. 2016): the softmax is saturated."""
    return fitted(network, rate=1e-2, heat=50.0)


def jpeg(x: Tensor) -> Tensor:
    """The cosine transform of blocks of 8 x 8, rounded to steps of .1."""
    row = torch.arange(8.0)
    basis = torch.cos((2 * row[None] + 1) * row[:, None] * torch.pi / 16) / 2
    basis[0] /= 2**0.5
    blocks = x.unfold(2, 8, 8).unfold(3, 8, 8)
    kept = basis.T @ (((basis @ blocks @ basis.T) / 0.1).round() * 0.1) @ basis
    return kept.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)


def _climbed(model: nn.Module, x: Tensor, y: Tensor, share: float) -> Tensor:
    eps = EPS * 1.1 * share
    start = x + eps * (2 * torch.rand_like(x) - 1)
    for _ in range(5):
        start = start.detach().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(model(start), y), start)
        start = torch.minimum(torch.maximum(start + eps / 2 * grad.sign(), x - eps), x + eps).clamp(0, 1)
    return start.detach()


class Around(nn.Module):
    """A network with something done to its images first, and to its logits afterwards."""

    def __init__(self, model: nn.Module, before: Callable = torch.clone, after: Callable = torch.clone) -> None:
        super().__init__()
        self.model, self.before, self.after = model, before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.model(self.before(x)))


class Shattered(Around):
    """Inputs rounded to a few grey levels: the derivative of rounding is zero."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, before=lambda x: (x * 16).round() / 16)


def vanishing(model: nn.Module) -> nn.Module:
    """Logits so large that the softmax is 1 to the last bit: the cross-entropy has no gradient left."""
    return Around(model, after=lambda logits: 1000 * logits)


def batch_dependent(model: nn.Module) -> nn.Module:
    """Each pixel less its mean over the batch, as the published code's threshold is."""
    return Around(model, before=lambda x: x - x.mean(0) + 0.5)


class Randomised(nn.Module):
    """Noise on the input, drawn anew for every call."""

    def __init__(self, model: nn.Module, size: float = 0.5) -> None:
        super().__init__()
        self.model, self.size = model, size
        self._random = torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x + self.size * torch.randn(x.shape, generator=self._random))
