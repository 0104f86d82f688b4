"""The kernel is what the readings tend to."""

from typing import Any

import numpy as np
import pytest
import torch

from groundglass.core import NonFiniteError
from groundglass.features import OPUMap, Threshold, optical_kernel
from groundglass.optics import Camera, SimulatedOPU


def bits(rows: int = 12, n: int = 40) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 2, (rows, n))


def test_the_kernel_is_the_mean_over_gaussian_rows() -> None:
    """A Monte Carlo of the definition, at six standard errors."""
    draws, x = 200_000, bits(3, 10)
    parts = np.random.default_rng(0).normal(scale=0.5**0.5, size=(2, 10, draws))
    light = (x @ parts[0]) ** 2 + (x @ parts[1]) ** 2
    products = light[:, None] * light[None]
    error = products.std(2) / draws**0.5
    assert (abs(products.mean(2) / 25 - optical_kernel(x, x)) < 6 * error / 25).all()
    real = (x @ parts[0] * 2**0.5) ** 2
    products = real[:, None] * real[None]
    error = products.std(2) / draws**0.5
    assert (abs(products.mean(2) / 25 - optical_kernel(x, x, matrix="real")) < 6 * error / 25).all()


def test_a_calibration_input_has_the_kernel_2_with_itself() -> None:
    half = np.tile([0, 1], 8)[None]
    assert optical_kernel(half, half).item() == pytest.approx(2)
    assert optical_kernel(half, 1 - half).item() == pytest.approx(1)
    of_tensors = optical_kernel(torch.from_numpy(half), torch.from_numpy(half))
    assert isinstance(of_tensors, torch.Tensor)
    assert of_tensors.item() == pytest.approx(2)
    with pytest.raises(ValueError, match="N"):
        optical_kernel(half, half[:, 1:])


@pytest.mark.parametrize(
    ("camera", "slack"), [(Camera(bits=None, saturation=0.0), 0.0), (Camera(), 0.03)], ids=["no camera", "8 bits"]
)
def test_features_tend_to_the_kernel(camera: Camera, slack: float) -> None:
    x = bits()
    exact = optical_kernel(x, x)
    errors = []
    for outputs in (200, 20_000):
        device = SimulatedOPU.create(40, outputs, seed=1, camera=camera)
        features = OPUMap(encoder=Threshold(0.5), device=device).fit_transform(x)
        errors.append(np.linalg.norm(features @ features.T - exact) / np.linalg.norm(exact))
    assert errors[0] > 0.05
    assert errors[1] < 0.02 + slack  # ten times smaller, but for what the camera bends


def test_kernel_arguments_are_checked() -> None:
    wrong: Any = bits()[0]
    with pytest.raises(ValueError, match=r"\[a, N\]"):
        optical_kernel(wrong, wrong)
    for density in (2, 0):
        with pytest.raises(ValueError, match="density"):
            optical_kernel(bits(), bits(), density=density)
    with pytest.raises(ValueError, match="matrix"):
        optical_kernel(bits(), bits(), matrix="quaternion")  # type: ignore[arg-type]
    for left, right in ((bits().tolist(), bits().tolist()), (bits(), torch.from_numpy(bits()))):
        with pytest.raises(TypeError, match="two"):
            optical_kernel(left, right)
    with pytest.raises(NonFiniteError):
        optical_kernel(bits() * np.nan, bits())
