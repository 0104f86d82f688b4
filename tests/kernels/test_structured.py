"""The Walsh-Hadamard transform, to the bit. What is made of it is tested with the structured medium."""

import numpy as np
import pytest

from groundglass.kernels import jit
from tests.kernels.references import walsh_hadamard


@pytest.mark.parametrize("bits", [3, 4, 10, 12, 13, 15, 16, 17, 18])
def test_the_transform_adds_in_the_order_of_its_levels(bits: int) -> None:
    values = np.random.default_rng(bits).normal(size=2**bits).astype(np.float32)
    found = values.copy()
    jit.structured.transform(found)
    assert np.array_equal(found, walsh_hadamard(values))
    if bits > 4:
        # Control: the same sums in another order, from the far levels to the near ones, are not the same numbers.
        turned = walsh_hadamard(values.reshape(-1, 4).T.copy()).T.copy()
        assert np.allclose(walsh_hadamard(turned).ravel(), found, atol=1e-3)
        assert not np.array_equal(walsh_hadamard(turned).ravel(), found)


def test_integers_are_transformed_exactly() -> None:
    """All sums below 2^24: what integers give, twice over n times the values themselves."""
    values = np.random.default_rng(0).integers(-3, 4, 2048)
    found = values.astype(np.float32)
    jit.structured.transform(found)
    assert np.array_equal(found, walsh_hadamard(values))
    jit.structured.transform(found)
    assert np.array_equal(found, 2048 * values)
