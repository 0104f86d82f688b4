"""Tensors of drawn and of counted numbers, the same whatever torch's default dtype and device are.

Numbers are drawn on the CPU, in one dtype; who needs them elsewhere moves them: CUDA's streams differ. A house test
refuses torch's own factories without a dtype and a device.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from groundglass.core.settings import Count, fit


def normal(*shape: int, generator: Generator) -> Tensor:
    """Standard normal numbers, float32."""
    return torch.randn(*shape, generator=generator, dtype=torch.float32, device="cpu")


def uniform(*shape: int, generator: Generator) -> Tensor:
    """Numbers in [0, 1), float32."""
    return torch.rand(*shape, generator=generator, dtype=torch.float32, device="cpu")


def integers(below: int, shape: Sequence[int], *, generator: Generator) -> Tensor:
    """Integers in [0, below), int64."""
    return torch.randint(below, tuple(shape), generator=generator, dtype=torch.int64, device="cpu")


def permutation(count: int, *, generator: Generator) -> Tensor:
    """0 to count - 1 in random order, int64."""
    return torch.randperm(count, generator=generator, dtype=torch.int64, device="cpu")


def counting(count: int, device: torch.device | str = "cpu") -> Tensor:
    """0 to count - 1, int64."""
    return torch.arange(count, dtype=torch.int64, device=device)


def whole(values: int | Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Given integers, int64."""
    return torch.tensor(values, dtype=torch.int64, device=device)


def pieces(rows: Tensor, size: int) -> tuple[Tensor, ...]:
    """`rows.split(size)`, but without the empty piece that torch makes of no rows: a model would be asked about nothing."""
    return rows.split(fit(Count, size, "batch_size")) if len(rows) else ()


def fused(a: Tensor, b: Tensor | float, c: Tensor | float) -> Tensor:
    """a b + c in float32, rounded once, as a processor's fused multiply-add: the same bits on any device with IEEE's float64.

    A product of two float32 is exact in float64, and the sum there is rounded to odd, so that rounding it to float32 is the only
    rounding that counts (Boldo and Melquiond 2008).
    """
    product = a.double() * b
    addend = c.double() if isinstance(c, Tensor) else c
    total = product + addend
    back = total - product
    lost = (product - (total - back)) + (addend - back)
    even = (total.view(torch.int64) & 1) == 0
    beside = torch.nextafter(total, torch.copysign(torch.full_like(total, torch.inf), lost))
    return torch.where((lost != 0) & even, beside, total).float()


_WHOLE_MODELS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


def input_dtype(model: object) -> torch.dtype:
    """The dtype of a model's inputs: float64, float16 or bfloat16 if all its weights are of that, else float32."""
    kinds = {w.dtype for w in model.parameters() if w.is_floating_point()} if isinstance(model, nn.Module) else set()
    return kinds.pop() if len(kinds) == 1 and kinds < _WHOLE_MODELS else torch.float32
