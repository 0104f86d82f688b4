import numpy as np
import pytest
import torch

from groundglass.kernels import jit
from groundglass.kernels.tensor.hadamard import transform


@pytest.mark.parametrize("size", [8, 64, 4096])
def test_it_is_the_compiled_one_bit_for_bit(size: int) -> None:
    """Of numbers whose sums are rounded: another order would show."""
    values = np.random.default_rng(0).standard_normal((3, size)).astype(np.float32)
    right = values.copy()
    for row in right:
        jit.structured.transform(row)
    assert np.array_equal(transform(torch.from_numpy(values)).numpy().view(np.int32), right.view(np.int32))


def test_it_is_its_own_inverse_but_for_the_size() -> None:
    values = torch.randint(-100, 100, (2, 5, 32), generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(transform(transform(values)), 32 * values)
    assert torch.equal(transform(values[..., :1]), values[..., :1])
