"""LightOn's two maps."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from groundglass.compat.lightonml import OPU
from groundglass.compat.lightonml.projections.sklearn import OPUMap
from groundglass.compat.lightonml.projections.torch import OPUMap as TorchMap

BITS = np.random.default_rng(0).integers(0, 2, (6, 5, 8), dtype=np.uint8)


@pytest.mark.parametrize("kind", [OPUMap, TorchMap])
def test_arguments(kind: type) -> None:
    with pytest.raises(ValueError, match="max_n_features"):
        kind(8, simulated=True)
    with pytest.raises(ValueError, match="1 or 2"):
        kind(8, ndims=3)
    opu = OPU(4)
    mapped = kind(8, opu=opu)
    assert mapped.opu is opu
    assert opu.n_components == 8
    mapped.n_components = 3
    assert opu.n_components == 3
    with mapped:
        assert opu.device.active
    mapped.close()
    assert not opu.device.active


def test_packed_matrices_need_their_shape() -> None:
    opu = OPU(12)
    expected = np.array(opu.fit_transform2d(BITS))
    packed = np.packbits(BITS.reshape(6, -1), axis=1)
    assert np.array_equal(OPUMap(12, opu, ndims=2, packed=True, n_2d_features=(5, 8)).fit_transform(packed), expected)
    with pytest.raises(ValueError, match="must be provided"):
        OPUMap(12, opu, ndims=2, packed=True).fit(packed)


def test_a_clone_has_the_same_matrix_and_is_not_fitted() -> None:
    mapped = OPUMap(12, ndims=2).fit(BITS)
    other = clone(mapped)
    assert not other.fitted
    assert np.array_equal(other.fit_transform(BITS), mapped.transform(BITS))
    other.n_components = 5
    assert mapped.transform(BITS).shape == (6, 12)


def test_linear_and_online_modules() -> None:
    opu = OPU(12, max_n_features=40, simulated=True)
    flat = torch.from_numpy(BITS.reshape(6, 40))
    linear = TorchMap(12, opu, linear=True)
    out = linear(flat)
    torch.testing.assert_close(out[:1] + out[1:2], linear(flat[:1]) + linear(flat[1:2]))
    batch = TorchMap(12, opu)(flat)
    online = TorchMap(12, opu)
    online.fit(n_features=40, online=True)
    assert torch.equal(online(flat), batch)
    assert not batch.requires_grad
    assert "out_features=12" in repr(online)
    assert np.allclose(OPUMap(12, opu, linear=True).fit_transform(flat), out)
