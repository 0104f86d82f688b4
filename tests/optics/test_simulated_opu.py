"""The simulated device as a whole: what it computes, what it is known by, what changes when it is redrawn."""

import numpy as np
import pytest
import torch

from groundglass.optics import Camera, SimulatedOPU, true_matrix
from tests.optics.draws import draw


@pytest.mark.parametrize("kind", ["complex", "real"])
def test_it_computes_equation_1_with_the_true_matrix(kind: str) -> None:
    device = SimulatedOPU.create(90, 130, seed=1, camera=Camera(bits=None), matrix=kind)
    matrix = true_matrix(device)
    bits = draw(50, 90)
    assert matrix.shape == (130, 90)
    assert matrix.dtype == torch.complex64
    torch.testing.assert_close(
        device.measure(bits), (bits.to(torch.complex64) @ matrix.T).abs() ** 2, rtol=1e-4, atol=1e-3
    )
    assert bool(matrix.imag.any()) == (kind == "complex")
    # Control: another device's matrix does not fit.
    other = true_matrix(device.redraw(seed=2))
    error = ((bits.to(torch.complex64) @ other.T).abs() ** 2 - device.measure(bits)).abs().mean()
    assert error > 0.5 * device.mean_reading


def test_golden_device() -> None:
    """The same on every machine: a change here loses every device file, and the model that was trained with it."""
    device = SimulatedOPU.create(100, 70, seed=2024)
    assert device.fingerprint == "be641e5decf1965dfe185616dc005dc2"
    assert device.exposure.gain == 0.0005420094601415401
    assert device.mean_reading == 54.13037109375
    readings = device.measure(torch.ones(1, 100, dtype=torch.uint8))[0, :12]
    assert readings.tolist() == [255, 53, 21, 255, 8, 98, 35, 86, 167, 121, 37, 107]
    noisy = SimulatedOPU.create(100, 70, seed=2024, camera=Camera(read_noise=2.0, shot_noise=1000.0))
    assert noisy.fingerprint != device.fingerprint
    assert noisy.exposure == device.exposure


def test_the_fingerprint_names_the_device() -> None:
    create = SimulatedOPU.create
    first = create(40, 30, seed=1)
    assert len(first.fingerprint) == 32
    assert int(first.fingerprint, 16) >= 0
    assert create(40, 30, seed=1).fingerprint == first.fingerprint
    assert create(40, 30, seed=1, camera=Camera(saturation=0.01, read_noise=0)).fingerprint == first.fingerprint
    others = [
        create(40, 30, seed=2),
        create(40, 31, seed=1),
        create(41, 30, seed=1),
        create(40, 30, seed=1, matrix="real"),
        create(40, 30, seed=1, camera=Camera(bits=7)),
        create(40, 30, seed=1, camera=Camera(bits=None)),
        create(40, 30, seed=1, camera=Camera(saturation=0.02)),
        create(40, 30, seed=1, camera=Camera(read_noise=1)),
        create(40, 30, seed=1, camera=Camera(shot_noise=1)),
    ]
    assert len({device.fingerprint for device in [first, *others]}) == len(others) + 1
    # Noise is no part of it, also after some frames.
    others[-1].measure(draw(9, 40))
    assert create(40, 30, seed=1, camera=others[-1].camera).fingerprint == others[-1].fingerprint


def test_redraw_is_another_device_of_the_same_make() -> None:
    camera = Camera(bits=6, saturation=0.03)
    device = SimulatedOPU.create(64, 200, seed=1, camera=camera, matrix="real", noise_seed=4)
    other = device.redraw(seed=2)
    assert (other.in_features, other.out_features, other.camera, other.matrix, other.noise_seed) == (
        (64, 200, camera, "real", 4)
    )
    assert other.fingerprint == SimulatedOPU.create(64, 200, seed=2, camera=camera, matrix="real").fingerprint
    bits = draw(200, 64)
    first, second = device.measure(bits).double().ravel(), other.measure(bits).double().ravel()
    assert np.corrcoef(first, second)[0, 1] < 0.1
    assert first.mean().item() == pytest.approx(second.mean().item(), rel=0.1)


def test_without_a_seed_every_device_is_another() -> None:
    device = SimulatedOPU.create(16, 8)
    prints = {device.fingerprint, SimulatedOPU.create(16, 8).fingerprint, device.redraw().fingerprint}
    assert len(prints) == 3
    assert device._medium.seed._value.bit_length() > 90


@pytest.mark.parametrize(
    ("sizes", "seed", "error"),
    [((0, 3), 0, ValueError), ((3, 0), 0, ValueError), ((3, 3), -1, ValueError), ((3, 3), 1.5, TypeError)],
)
def test_impossible_devices_are_refused(sizes: tuple[int, int], seed: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        SimulatedOPU.create(*sizes, seed=seed)


def test_the_smallest_device_works() -> None:
    device = SimulatedOPU.create(1, 1, seed=0)
    # The exposure is one division away from full scale.
    assert device.measure(torch.tensor([[0], [1]], dtype=torch.uint8)).tolist() in ([[0], [254]], [[0], [255]])
