"""Exact products of bits with a matrix of small integers on a card: several ways, one result, and the race between them."""

import threading
from abc import ABC, abstractmethod
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from groundglass.core.accelerator import seconds_of

# Turns of a race, and the lanes and entries of its matrix: enough work for the start of a kernel not to decide.
_TURNS = 4
_LANES, _ENTRIES = 8192, 2**27
# Lanes and bits that are compared with the CPU's.
_CHECKED, _BITS = 256, 2**24
_lock = threading.Lock()


class InexactError(RuntimeError):
    """No way to add up integers on a card gives the CPU's sums there."""


class Product(ABC):
    """A way to add up the rows of an integer matrix that bits name.

    Attributes:
        inputs: so many or fewer have sums that it holds exactly, whatever the bits.
    """

    name: str
    inputs: int

    @abstractmethod
    def sums(self, bits: Tensor, lanes: Tensor) -> Tensor:
        """uint8 bits [batch, n], int8 lanes [lanes, n] -> exact integers [batch, lanes], float32 or int32."""


class FloatProduct(Product):
    """float32: every partial sum, in whatever order, is an integer below 2^24, so exact.

    With TF32 too: 7 bits and a sign fit its operands, and its sums are float32.
    """

    name = "float32"
    inputs = 2**24 // 127

    def sums(self, bits: Tensor, lanes: Tensor) -> Tensor:
        return bits.float() @ lanes.float().t()


class HalfProduct(Product):
    """Operands of 16 bits, which hold 7 bits and a sign, and float32 sums: the tensor cores at their speed.

    Where torch gives the result another dtype than the operands have (`out_dtype`: CUDA, from 2.8 on); elsewhere it raises.
    """

    inputs = FloatProduct.inputs

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype, self.name = dtype, str(dtype).removeprefix("torch.")

    def sums(self, bits: Tensor, lanes: Tensor) -> Tensor:
        return torch.mm(bits.to(self.dtype), lanes.to(self.dtype).t(), out_dtype=torch.float32)


class IntProduct(Product):
    """`torch._int_mm`: int8 operands, int32 sums. It takes more than 16 rows, and multiples of 16 inputs: zeros are added."""

    name = "int8"
    inputs = 2**31 // 127

    def sums(self, bits: Tensor, lanes: Tensor) -> Tensor:
        rows, short = len(bits), -bits.shape[1] % 16
        bits = F.pad(bits.view(torch.int8), (0, short, 0, max(32, rows + -rows % 8) - rows))
        lanes = F.pad(lanes, (0, short)) if short or not lanes.is_contiguous() else lanes
        return torch._int_mm(bits, lanes.t())[:rows]


PRODUCTS: tuple[Product, ...] = (
    FloatProduct(),
    HalfProduct(torch.bfloat16),
    HalfProduct(torch.float16),
    IntProduct(),
)


def fastest_product(rows: int, inputs: int, device: torch.device) -> Product:
    """The fastest exact one on this card for such a batch, found once for each class of sizes.

    Timing makes the choice, and only the choice, differ from run to run: all that are chosen among give the same integers.

    Raises:
        InexactError: none is exact.
    """
    with _lock:
        return _race(max(1, min(rows, 4096)).bit_length(), min(inputs, FloatProduct.inputs).bit_length(), device)


@cache
def _race(rows_log2: int, inputs_log2: int, device: torch.device) -> Product:
    rows, inputs = 3 * 2**rows_log2 // 4 + 1, min(2**inputs_log2, FloatProduct.inputs)
    checked = min(rows, max(32, _BITS // inputs))
    exact = [product for product in PRODUCTS if is_exact(product, checked, inputs, device)]
    if not exact:
        raise InexactError(
            f"torch adds up small integers wrongly on {device}: measure on the CPU, with bits that are there"
        )
    if device.type == "cpu" or len(exact) < 2:  # the way of a card on the CPU is for tests: all of it, and no clock
        return exact[0]
    bits = torch.ones(rows, inputs, dtype=torch.uint8, device=device)
    lanes = torch.ones(min(_LANES, _ENTRIES // inputs), inputs, dtype=torch.int8, device=device)
    # In turns: another process that comes by slows all of them, not one.
    best = dict.fromkeys(exact, float("inf"))
    for _ in range(_TURNS):
        for product in exact:
            best[product] = min(best[product], seconds_of(partial(product.sums, bits, lanes), device))
    return min(exact, key=best.__getitem__)


def is_exact(product: Product, rows: int, inputs: int, device: torch.device) -> bool:
    """Whether it gives there what float64 gives on the CPU: on random bits and entries, and on the largest sums that can be.

    False too where torch has no such operation for that device.
    """
    random = np.random.default_rng(0)
    bits = torch.from_numpy(random.integers(0, 2, (rows, inputs), dtype=np.uint8))
    lanes = torch.from_numpy(random.integers(-127, 128, (_CHECKED, inputs), dtype=np.int8))
    bits[0], lanes[0], lanes[1] = 1, 127, -127
    lanes[2, ::2], lanes[2, 1::2] = 127, -127  # large sums of either sign, and a small one at the end
    right = torch.mm(bits.to(torch.float64), lanes.to(torch.float64).t())
    try:
        found = product.sums(bits.to(device), lanes.to(device))
    except (RuntimeError, TypeError, AttributeError):  # not there: `out_dtype`, `_int_mm`, or a dtype
        return False
    return torch.equal(found.cpu().to(torch.float64), right)
