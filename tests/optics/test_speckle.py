"""The light is speckle: the laws of a complex Gaussian medium, each with a control that breaks it.

Controls are the classic wrong stand-ins: a real matrix, which the paper's published simulation has, and a
structured unitary one.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from groundglass.optics import Camera, SimulatedOPU
from groundglass.optics.entries import ENTRY_STD

FLOAT = Camera(bits=None)


def intensities(device: SimulatedOPU, bits: np.ndarray) -> np.ndarray:
    """|ux|^2 in units of the variance E|u|^2 of an entry: [inputs, outputs]."""
    readings = device.measure(torch.from_numpy(bits.astype(np.uint8))).double().numpy()
    variance = ENTRY_STD**2 * (2 if device.matrix == "complex" else 1)
    return readings / device.exposure.gain / variance


@pytest.fixture(scope="module")
def media() -> dict[str, SimulatedOPU]:
    return {kind: SimulatedOPU.create(128, 16_000, seed=1, camera=FLOAT, matrix=kind) for kind in ("complex", "real")}


def random_bits(rows: int, inputs: int = 128, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (rows, inputs))


def hadamard(size: int) -> np.ndarray:
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def test_intensity_is_exponential(media: dict[str, SimulatedOPU]) -> None:
    """Kolmogorov-Smirnov over outputs, with the mean that |x|^2 gives, not one that is fitted."""
    for bits in random_bits(5):
        law = stats.expon(scale=bits.sum())
        assert stats.kstest(intensities(media["complex"], bits[None])[0], law.cdf).pvalue > 0.001
        # Control: a real medium's intensity is chi-square of one degree of freedom.
        real = intensities(media["real"], bits[None])[0]
        assert stats.kstest(real, law.cdf).pvalue < 1e-50
        assert stats.kstest(real / bits.sum(), stats.chi2(1).cdf).pvalue > 0.001


def test_contrast_is_one(media: dict[str, SimulatedOPU]) -> None:
    for kind, expected in (("complex", 1.0), ("real", 2**0.5)):
        light = intensities(media[kind], random_bits(20))
        contrast = light.std(1) / light.mean(1)
        # Its standard error is 1 / sqrt(M) for speckle and some three times that for the control.
        assert contrast.mean() == pytest.approx(expected, abs=0.01 if kind == "complex" else 0.03)
        assert contrast == pytest.approx(expected, abs=0.05 if kind == "complex" else 0.12)


def kernel_law_error(device: SimulatedOPU, pairs: list[tuple[np.ndarray, np.ndarray]], factor: float) -> np.ndarray:
    """Relative error of E[|Ux|^2 |Uy|^2] = |x|^2 |y|^2 + factor <x, y>^2, one a pair."""
    x, y = (np.stack(side) for side in zip(*pairs, strict=True))
    measured = (intensities(device, x) * intensities(device, y)).mean(1)
    law = x.sum(1) * y.sum(1) + factor * (x * y).sum(1) ** 2
    return measured / law - 1


def overlapping_pairs(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """From disjoint to equal."""
    rng = np.random.default_rng(3)
    pairs = []
    for k in range(count):
        x = (np.arange(128) < 48).astype(int)
        y = np.roll(x, round(48 * (1 - k / (count - 1))))
        order = rng.permutation(128)
        pairs.append((x[order], y[order]))
    return pairs


def test_kernel_law(media: dict[str, SimulatedOPU]) -> None:
    """E[|Ux|^2 |Uy|^2] = |x|^2 |y|^2 + <x, y>^2; with a real matrix the last term is there twice."""
    pairs = overlapping_pairs(9)
    # For x = y: the fourth moment of an exponential. std of I^2 / E[I^2] is sqrt(5), of 16,000: 0.018.
    assert np.abs(kernel_law_error(media["complex"], pairs, 1)).max() < 5 * 0.018
    errors = kernel_law_error(media["real"], pairs, 1)
    assert np.abs(errors[0]) < 0.1  # disjoint inputs cannot tell
    assert errors[-1] == pytest.approx(0.5, abs=0.15)  # (1 + 2) / (1 + 1) - 1
    assert np.abs(kernel_law_error(media["real"], pairs, 2)).max() < 0.2


def test_the_error_of_the_kernel_falls_with_the_root_of_the_outputs() -> None:
    """16 times the outputs, a quarter of the error."""
    rng = np.random.default_rng(4)
    pairs = [(rng.integers(0, 2, 64), rng.integers(0, 2, 64)) for _ in range(40)]
    spread = []
    for outputs in (250, 4000):
        errors = [
            kernel_law_error(SimulatedOPU.create(64, outputs, seed=seed, camera=FLOAT), pairs, 1) for seed in range(12)
        ]
        spread.append(np.sqrt(np.mean(np.square(errors))))
    assert spread[0] / spread[1] == pytest.approx(4, rel=0.25)


def spread_of_total(totals: np.ndarray, outputs: int) -> float:
    """std of the total light over mean, in units of 1 / sqrt(outputs): 1 for independent rows."""
    return float(totals.std() / totals.mean() * outputs**0.5)


def test_the_total_light_varies_as_independent_outputs_do() -> None:
    """Over redraws, 1 / sqrt(M). An energy-preserving structure gives 0: its outputs are not independent."""
    bits, outputs = random_bits(1, 64), 64
    device = SimulatedOPU.create(64, outputs, seed=0, camera=FLOAT)
    totals = np.array([intensities(device.redraw(seed=seed), bits).sum() for seed in range(1, 251)])
    assert totals.mean() == pytest.approx(bits.sum() * outputs, rel=5 / (250 * outputs) ** 0.5)
    # 250 redraws: the deviation is known to 4.5%.
    assert spread_of_total(totals, outputs) == pytest.approx(1, abs=0.2)
    # Control: Hadamard, random signs, Hadamard, with random phases.
    rng = np.random.default_rng(0)
    block = hadamard(64) / 8
    structured = []
    for _ in range(50):
        signs, phases = rng.choice([-1, 1], 64), np.exp(2j * np.pi * rng.random(64))
        structured.append((np.abs(block @ (phases * (block @ (signs * bits[0])))) ** 2).sum())
    assert spread_of_total(np.array(structured), outputs) < 1e-6


def test_one_input_alone_makes_speckle(media: dict[str, SimulatedOPU]) -> None:
    """One-hot inputs: contrast 1 over outputs and over inputs. Through one Hadamard block they give a constant."""
    light = intensities(media["complex"], np.eye(128))
    assert (light.std(1) / light.mean(1)).mean() == pytest.approx(1, abs=0.02)
    assert (light.std(0) / light.mean(0)).mean() == pytest.approx(1, abs=0.03)
    assert light.mean() == pytest.approx(1, abs=0.01)
    structured = np.abs(hadamard(128) @ np.eye(128)) ** 2
    assert structured.std() == 0


def test_outputs_are_uncorrelated() -> None:
    """Over inputs, two outputs of a complex Gaussian medium share no more light than chance gives them.

    The part that all inputs have in common (half of the bits are on) correlates them at random, 1/2 in the field.
    """
    light = intensities(SimulatedOPU.create(128, 300, seed=1, camera=FLOAT), random_bits(2000))
    correlations = np.corrcoef(light.T)[np.triu_indices(300, 1)]
    assert abs(correlations.mean()) < 0.01
    # Control: neighbouring pixels that see the same grain.
    blurred = light[:, :-1] + light[:, 1:]
    assert np.corrcoef(blurred.T).diagonal(1).mean() > 0.3


def test_the_saturated_share_follows_from_the_exponential_law() -> None:
    """P(reading = 255) = exp(-254.5 / mean), for any amount of light."""
    device = SimulatedOPU.create(128, 4000, seed=1)
    for ones in (32, 64, 128):
        bits = np.argsort(np.random.default_rng(0).random((50, 128)), 1) < ones
        readings = device.measure(torch.from_numpy(bits.astype(np.uint8)))
        mean = device.exposure.gain * 2 * ENTRY_STD**2 * ones
        share, law = (readings == 255).double().mean().item(), np.exp(-254.5 / mean)
        # 200,000 readings, but with all bits on the 50 inputs are one.
        assert share == pytest.approx(law, rel=0.15, abs=1e-4)


def test_mean_reading_is_the_mean_of_a_clipped_exponential() -> None:
    """55 steps at 1% saturation: 254.5 / ln 100, less what is cut off."""
    mean = 254.5 / np.log(100)
    clipped = mean * (1 - np.exp(-255 / mean))
    assert SimulatedOPU.create(512, 1000, seed=1).mean_reading == pytest.approx(clipped, rel=0.02)
