"""Where numba is not installed a device has the same bits, and its matrix is found all the same."""

import numpy as np
import pytest
import torch

from groundglass.core.sealed import Seed
from groundglass.kernels import jit, kernel_choice, streams
from groundglass.kernels.products import FloatGemm, Int8Gemm
from groundglass.optics import SimulatedOPU, true_matrix
from groundglass.optics.access import DeviceAccess
from groundglass.optics.dense import DenseMedium
from groundglass.optics.procedural import ProceduralMedium
from groundglass.optics.retrieval import FixedExposure, retrieve, row_errors
from groundglass.optics.structured import StructuredMedium
from tests.optics.draws import draw


@pytest.fixture
def plain(monkeypatch):
    """Forbids all compiled code."""

    def start():
        monkeypatch.setattr(jit, "available", lambda: False)
        for kernel in ("hadamard", "lookup", "philox", "structured", "winograd"):
            monkeypatch.setattr(jit, kernel, None, raising=False)

    return start


@pytest.mark.parametrize("matrix", ["complex", "real"])
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [(DenseMedium, (70, 130)), (ProceduralMedium, (2100, 130)), (StructuredMedium, (70, 1100))],
)
def test_the_light_of_a_device_has_the_same_bits(kind, sizes, matrix, plain):
    bits, places = draw(9, sizes[0]), np.array([5, 3, 40, sizes[1] - 1])

    def seen():
        medium = kind(Seed(3), *sizes, matrix)
        part = medium.region(places)
        readings = [one.readings(bits, gain=0.0123, top=255) for one in (medium, part)]
        return [*readings, medium.intensities(bits), medium.intensities(bits[:0]), torch.from_numpy(medium.dense())]

    compiled = seen()
    plain()
    assert all(torch.equal(a, b) for a, b in zip(compiled, seen(), strict=True))


def test_the_draws_of_attacks_have_the_same_bits(plain):
    rows = torch.tensor([5, 7]), torch.tensor([3, 2**40])
    kinds = (streams.normals, streams.integers)
    compiled = [kind((1, 2), *rows, 9) for kind in kinds]
    plain()
    assert all(torch.equal(a, kind((1, 2), *rows, 9)) for a, kind in zip(compiled, kinds, strict=True))


def test_large_products_race_without_tables(plain, monkeypatch):
    plain()
    kernel_choice._race.cache_clear()
    monkeypatch.setattr(kernel_choice, "_SMALL", 0)
    medium = DenseMedium(Seed(3), 70, 130, "complex")
    assert isinstance(kernel_choice.fastest_kernel(20, medium), FloatGemm | Int8Gemm)
    kernel_choice._race.cache_clear()


def test_a_matrix_is_retrieved(plain):
    device = SimulatedOPU.create(16, 24, seed=4)
    plain()
    found = retrieve(DeviceAccess(device), FixedExposure(), frames=12 * 16 + 300, seed=1)
    assert not found.told_wrong.any()
    assert row_errors(found.matrix, true_matrix(device)).max() < 0.1
