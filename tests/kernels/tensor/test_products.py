import pytest
import torch

from groundglass.kernels.tensor import as_on_a_card, is_card, products
from groundglass.kernels.tensor.products import PRODUCTS, FloatProduct, HalfProduct, IntProduct, Product, is_exact

CPU = torch.device("cpu")


class Rounds(FloatProduct):
    """As a card whose sums have 11 bits."""

    def sums(self, bits: torch.Tensor, lanes: torch.Tensor) -> torch.Tensor:
        return super().sums(bits, lanes).to(torch.float16).to(torch.float32)


class Wraps(FloatProduct):
    """Right for random bits, and wrong once a sum is large."""

    def sums(self, bits: torch.Tensor, lanes: torch.Tensor) -> torch.Tensor:
        return super().sums(bits, lanes).to(torch.int32).add_(2**15).remainder_(2**16).sub_(2**15)


@pytest.mark.parametrize(
    ("rows", "inputs", "lanes"), [(1, 1, 64), (16, 8, 64), (17, 16, 64), (33, 70, 128), (64, 4096, 64)]
)
@pytest.mark.parametrize("product", [FloatProduct(), IntProduct()], ids=lambda product: product.name)
def test_sums_are_those_of_integers(product: Product, rows: int, inputs: int, lanes: int) -> None:
    random = torch.Generator().manual_seed(rows)
    bits = torch.randint(0, 2, (rows, inputs), generator=random, dtype=torch.uint8)
    matrix = torch.randint(-127, 128, (lanes, inputs), generator=random, dtype=torch.int8)
    wide = torch.cat((matrix, matrix), 1)[
        :, inputs // 2 : inputs // 2 + inputs
    ]  # inputs out of the middle: with strides
    for part in (matrix, wide):
        found = product.sums(bits, part)
        assert torch.equal(found.long(), bits.long() @ part.long().t())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_operands_of_16_bits_with_sums_of_32(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """What a card does with `out_dtype`: the operands as they are, and sums in float32."""
    asked = []

    def mm(one: torch.Tensor, other: torch.Tensor, *, out_dtype: torch.dtype) -> torch.Tensor:
        asked.append((one.dtype, other.dtype, out_dtype))
        return one.float() @ other.float()

    bits = torch.ones(3, 9, dtype=torch.uint8)
    lanes = torch.arange(-127, 128, 2, dtype=torch.int8).repeat(9, 1).t()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "mm", mm)
        found = HalfProduct(dtype).sums(bits, lanes)
    assert torch.equal(found.long(), bits.long() @ lanes.long().t())
    assert asked == [(dtype, dtype, torch.float32)]


def test_what_is_not_exact_there_or_is_not_there_takes_no_part() -> None:
    assert is_exact(FloatProduct(), 32, 300, CPU)
    assert is_exact(IntProduct(), 32, 300, CPU)
    assert not is_exact(Rounds(), 32, 300, CPU)
    assert not is_exact(Wraps(), 32, 300, CPU)

    class Missing(FloatProduct):
        def sums(self, bits: torch.Tensor, lanes: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError

    assert not is_exact(Missing(), 32, 300, CPU)


def test_no_sum_is_larger_than_what_is_exact() -> None:
    assert {product.name for product in PRODUCTS} == {"float32", "bfloat16", "float16", "int8"}
    for product in PRODUCTS:
        assert product.inputs * 127 <= (2**31 - 1 if product.name == "int8" else 2**24)


def test_the_race_takes_the_fastest_of_those_that_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a card that only says how long things take."""
    seconds = {"quick and wrong": 1.0, "slow": 3.0, "quick": 2.0}
    offered = []
    for name, kind in zip(seconds, (Rounds, FloatProduct, FloatProduct), strict=True):
        offered.append(kind())
        offered[-1].name = name
    monkeypatch.setattr(products, "PRODUCTS", tuple(offered))
    monkeypatch.setattr(
        products, "is_exact", lambda product, rows, inputs, device: is_exact(product, rows, inputs, CPU)
    )
    monkeypatch.setattr(products, "seconds_of", lambda work, device: seconds[work.func.__self__.name])
    assert products._race.__wrapped__(5, 6, torch.device("meta")).name == "quick"
    monkeypatch.setattr(products, "PRODUCTS", (Rounds(),))
    with pytest.raises(products.InexactError, match="measure on the CPU"):
        products._race.__wrapped__(5, 6, CPU)


def test_a_card_is_one_of_cuda_or_in_a_test_the_cpu() -> None:
    assert [is_card(torch.device(name)) for name in ("cpu", "cuda", "cuda:1", "mps")] == [False, True, True, False]
    with as_on_a_card():
        assert is_card(CPU)
        assert not is_card(torch.device("mps"))
    assert not is_card(CPU)
