"""`bpda-fit`: a stand-in for the device and all above it, fitted to what a white-box attacker sees anyway.

The attacker holds the deployed network with its device, runs natural images through it, and records the bits that
enter the device and the logits that come out. No input of the device is chosen, and its readings are not needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from groundglass.core import counting, generator, normal, permutation
from groundglass.core.settings import Count, Positive, fit

# Every tenth pair is held out: images may come in an order, and this is a fair share of any.
_HELD_OUT = 10
#: The fewest pairs that a fit and its test need.
FEWEST_PAIRS = 2 * _HELD_OUT


@dataclass(frozen=True)
class _Pairs:
    """Bits and logits, less their means: those to fit to, and those that are held out."""

    bits: Tensor
    logits: Tensor
    test_bits: Tensor
    test_logits: Tensor
    bits_mean: Tensor

    @classmethod
    def split(cls, bits: Tensor, logits: Tensor) -> "_Pairs":
        if bits.ndim != 2 or logits.ndim != 2 or len(bits) != len(logits):
            raise ValueError(
                f"pairs must be bits [k, n] and logits [k, classes], not {tuple(bits.shape)}, {tuple(logits.shape)}"
            )
        if len(bits) < FEWEST_PAIRS:
            raise ValueError(f"{len(bits)} pairs are too few to fit and to test: give at least {FEWEST_PAIRS}")
        # In one layout: sums round in the order of memory.
        bits, logits = bits.detach().float().contiguous(), logits.detach().float().contiguous()
        for name, values in (("bits", bits), ("logits", logits)):
            if not bool(torch.isfinite(values).all()):
                raise ValueError(f"{name} contain NaN or infinity: check the model that gave them")
        held = counting(len(bits), bits.device) % _HELD_OUT == _HELD_OUT - 1
        bits_mean, logits_mean = bits[~held].mean(0), logits[~held].mean(0)
        bits, logits = bits - bits_mean, logits - logits_mean
        return cls(bits[~held], logits[~held], bits[held], logits[held], bits_mean)

    def r2(self, predicted: Tensor) -> float:
        """Share of the held-out logits' variance that a prediction explains, over all classes."""
        residual = (self.test_logits - predicted).square().sum()
        spread = (self.test_logits - self.test_logits.mean(0)).square().sum().clamp_min(1e-30)
        return float(1 - residual / spread)


class FittedRule:
    """A rule from the bits to the logits, fitted to pairs of them.

    Attributes:
        n_images: pairs it was given, held-out ones included.
        held_out_r2: share of the logits' variance that it explains on the tenth of the pairs that were held out.
    """

    site: Literal["readings", "logits"] = "logits"
    name: str

    def __init__(self, *, n_images: int, held_out_r2: float, **sizes: int) -> None:
        self.n_images, self.held_out_r2, self._sizes = n_images, held_out_r2, sizes

    def __repr__(self) -> str:
        sizes = ", ".join(f"{key}={size}" for key, size in self._sizes.items())
        return f"{type(self).__name__}({sizes}, n_images={self.n_images}, held_out_r2={self.held_out_r2:.3f})"


class FittedLinear(FittedRule):
    """`bpda-fit-linear`: logits ~ bits A, by ridge regression. Made by `fit`; the held-out pairs choose the ridge."""

    name = "bpda-fit-linear"

    def __init__(self, weights: Float[Tensor, "n classes"], *, n_images: int, held_out_r2: float) -> None:
        n, classes = weights.shape
        super().__init__(n_images=n_images, held_out_r2=held_out_r2, n=n, classes=classes)
        self._transposed = weights.t().contiguous()

    @property
    def weights(self) -> Float[Tensor, "n classes"]:
        """A."""
        return self._transposed.t()

    @classmethod
    def fit(
        cls,
        bits: Float[Tensor, "k n"],
        logits: Float[Tensor, "k classes"],
        *,
        ridge: Sequence[float] = (1e-3, 1e-2, 0.1, 1.0, 10.0),
        seed: int = 0,
    ) -> "FittedLinear":
        """Closed form. Nothing is random: `seed` is of no consequence.

        Args:
            ridge: penalties to choose from, in units of the mean variance of a bit times the number of pairs.
        """
        ridge = fit(tuple[Positive, ...], list(ridge), "ridge")
        if not ridge:
            raise ValueError("`ridge` must hold at least one number")
        pairs = _Pairs.split(bits, logits)
        gram = (pairs.bits.t() @ pairs.bits).double()
        target = (pairs.bits.t() @ pairs.logits).double()
        unit = gram.diagonal().mean().clamp_min(1e-12)
        best: FittedLinear | None = None
        for penalty in ridge:
            shifted = gram + penalty * unit * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
            weights = torch.cholesky_solve(target, torch.linalg.cholesky(shifted)).float()
            found = cls(weights, n_images=len(bits), held_out_r2=pairs.r2(pairs.test_bits @ weights))
            if best is None or found.held_out_r2 > best.held_out_r2:
                best = found
        assert best is not None
        return best

    def vjp(self, bits: Float[Tensor, "batch n"], grad: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch n"]:
        return grad @ self._transposed.to(grad.device)


class FittedNetwork(FittedRule):
    """`bpda-fit-network`: logits ~ a network of one hidden layer, and its own derivative. Made by `fit`.

    The held-out pairs choose the epoch.
    """

    name = "bpda-fit-network"

    def __init__(self, weights: Sequence[Tensor], bits_mean: Tensor, *, n_images: int, held_out_r2: float) -> None:
        (hidden, n), classes = weights[0].shape, len(weights[3])
        super().__init__(n_images=n_images, held_out_r2=held_out_r2, n=n, hidden=hidden, classes=classes)
        self._weights = [w.detach() for w in weights]
        self._bits_mean = bits_mean

    @classmethod
    def fit(
        cls,
        bits: Float[Tensor, "k n"],
        logits: Float[Tensor, "k classes"],
        *,
        seed: int,
        hidden: int = 256,
        epochs: int = 20,
        batch_size: int = 128,
        learning_rate: float = 2e-3,
    ) -> "FittedNetwork":
        """Adam on the squared error, one-cycle; the epoch that does best on the held-out pairs is kept."""
        hidden, epochs = fit(Count, hidden, "hidden"), fit(Count, epochs, "epochs")
        batch_size, learning_rate = fit(Count, batch_size, "batch_size"), fit(Positive, learning_rate, "learning_rate")
        pairs = _Pairs.split(bits, logits)
        count, n = pairs.bits.shape
        classes = pairs.logits.shape[1]
        random = generator(seed, "fitted network")
        scale = pairs.logits.std().clamp_min(1e-12)
        shapes = [((hidden, n), (4 / n) ** 0.5), ((hidden,), 0.0), ((classes, hidden), hidden**-0.5), ((classes,), 0.0)]
        weights = [
            (normal(*shape, generator=random) * size).to(pairs.bits.device).requires_grad_() for shape, size in shapes
        ]
        total = epochs * -(-count // batch_size)
        optimiser = torch.optim.Adam(weights, lr=learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=total + 1)
        best: FittedNetwork | None = None
        with torch.enable_grad():
            for _ in range(epochs):
                for rows in permutation(count, generator=random).to(pairs.bits.device).split(batch_size):
                    error = _forward(weights, pairs.bits[rows]) - pairs.logits[rows] / scale
                    optimiser.zero_grad()
                    error.square().mean().backward()
                    optimiser.step()
                    schedule.step()
                with torch.no_grad():
                    r2 = pairs.r2(_forward(weights, pairs.test_bits) * scale)
                if best is None or r2 > best.held_out_r2:
                    kept = [w.detach().clone() for w in weights[:2]] + [w.detach() * scale for w in weights[2:]]
                    best = cls(kept, pairs.bits_mean, n_images=len(bits), held_out_r2=r2)
        assert best is not None
        return best

    def vjp(self, bits: Float[Tensor, "batch n"], grad: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch n"]:
        weights = [w.to(grad.device) for w in self._weights]
        with torch.enable_grad():
            x = (bits.detach() - self._bits_mean.to(grad.device)).requires_grad_()
            (out,) = torch.autograd.grad(_forward(weights, x), x, grad)
        return out


def _forward(weights: Sequence[Tensor], x: Tensor) -> Tensor:
    """Smooth in the middle: a ReLU would make the derivative jump where an attack needs a direction."""
    first, bias, second, offset = weights
    return F.linear(F.gelu(F.linear(x, first, bias)), second, offset)
