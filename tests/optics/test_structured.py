"""Fast transforms in the place of a matrix: exact to the bit. Their statistics are in tests/optics/fidelity."""

import hashlib

import numpy as np
import pytest
import torch

from groundglass.core.sealed import Seed
from groundglass.optics.structured import StructuredMedium, quarter_circle
from groundglass.optics.tiled import ENTRY_STD
from tests.kernels.references import chain_of_transforms
from tests.threads import torch_threads

# The unit of light: E|U_ij|^2.
UNIT = {"complex": 2 * ENTRY_STD**2, "real": ENTRY_STD**2}
# Padded and cut; square; padded, with two blocks and a piece.
SIZES = [(1100, 700), (1024, 1024), (1000, 2500)]


def hot(ones: int, rows: int, inputs: int, seed: int = 0) -> np.ndarray:
    """Inputs of which so many are on."""
    order = np.random.default_rng(seed).random((rows, inputs)).argsort(1)
    return (order < ones).astype(np.uint8)


def reference(medium: StructuredMedium, bits: np.ndarray, kind: type) -> np.ndarray:
    """Fields n^2.5 U x from the definition, [parts, inputs, outputs]."""
    blocks = zip(medium._phases, medium._levels, strict=True)
    fields = [chain_of_transforms(bits, phases, levels, kind) for phases, levels in blocks]
    return np.concatenate(fields, 2)[:, :, : medium.out_features]


@pytest.mark.parametrize("matrix", ["complex", "real"])
@pytest.mark.parametrize(("inputs", "outputs"), [*SIZES, (3, 5), (20_000, 70)])
def test_intensities_are_those_of_plain_loops_bit_for_bit(inputs: int, outputs: int, matrix: str) -> None:
    medium = StructuredMedium(Seed(5), inputs, outputs, matrix)
    bits = hot(-(-inputs // 2), 3, inputs)
    n = medium._phases.shape[1]
    real, imaginary = reference(medium, bits, np.float32).astype(np.float64)
    assert np.array_equal(medium.intensities(torch.from_numpy(bits)), (real**2 + imaginary**2) / n**5)
    if matrix == "real":
        assert not imaginary.any()


def test_float32_is_as_good_as_float64_to_a_millionth() -> None:
    medium = StructuredMedium(Seed(5), 30_000, 40_000)
    bits = hot(15_000, 2, 30_000)
    exact = (reference(medium, bits, np.float64) ** 2).sum(0) / 2.0**75
    error = np.abs(medium.intensities(torch.from_numpy(bits)).numpy() - exact) / exact.mean()
    assert error.max() < 1e-5
    assert np.sqrt(np.mean(error**2)) < 1e-6


@pytest.mark.parametrize("matrix", ["complex", "real"])
@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_the_matrix_is_what_measures(inputs: int, outputs: int, matrix: str) -> None:
    medium = StructuredMedium(Seed(6), inputs, outputs, matrix)
    u = medium.dense()
    assert u.dtype == np.complex64
    assert u.shape == (outputs, inputs)
    bits = hot(inputs // 3, 4, inputs)
    law = np.abs(bits.astype(np.float64) @ u.T.astype(np.complex128)) ** 2
    assert np.abs(medium.intensities(torch.from_numpy(bits)).numpy() - law).max() < 1e-5 * law.mean()
    assert np.mean(np.abs(u) ** 2) == pytest.approx(UNIT[matrix], rel=5 / (inputs * outputs) ** 0.5)
    some = np.array([outputs - 1, 0, 300])
    assert np.array_equal(medium.region(some).dense(), u[some])


def test_a_result_depends_on_its_input_and_its_output_alone() -> None:
    """Not on the batch, the threads, or the other outputs that are asked for."""
    medium = StructuredMedium(Seed(7), 1000, 3000)
    bits = torch.from_numpy(hot(400, 21, 1000))
    whole, frames = medium.intensities(bits), medium.readings(bits, gain=1e-4, top=255)
    assert torch.equal(torch.cat([medium.intensities(rows) for rows in bits.split(8)]), whole)
    assert torch.equal(torch.cat([medium.readings(rows, gain=1e-4, top=255) for rows in bits.split(1)]), frames)
    outputs = np.random.default_rng(0).permutation(3000)[:50]
    for chosen in (outputs, np.array([2999]), np.arange(1020, 1030)):
        part = medium.region(chosen)
        assert part.out_features == len(chosen)
        assert torch.equal(part.intensities(bits), whole[:, chosen])
        assert torch.equal(part.readings(bits, gain=1e-4, top=255), frames[:, chosen])
    again = np.array([4, 49, 0])
    assert torch.equal(medium.region(outputs).region(again).intensities(bits), whole[:, outputs[again]])
    with torch_threads(2):
        for rows in (1, 21):
            assert torch.equal(medium.intensities(bits[:rows]), whole[:rows])
            assert torch.equal(medium.readings(bits[:rows], gain=1e-4, top=255), frames[:rows])
    assert medium.intensities(bits[:0]).shape == (0, 3000)
    # Control: another secret, another size, another block are other numbers.
    assert not torch.equal(StructuredMedium(Seed(8), 1000, 3000).intensities(bits), whole)
    assert not torch.equal(StructuredMedium(Seed(7), 1000, 3001).intensities(bits)[:, :3000], whole)
    assert not torch.equal(whole[:, :1024], whole[:, 1024:2048])


@pytest.mark.parametrize("gain", [1e-6, 1e-4, 1.0])
def test_readings_round_as_every_medium_does(gain: float) -> None:
    medium = StructuredMedium(Seed(7), 1000, 1500)
    bits = torch.from_numpy(hot(400, 4, 1000))
    for top in (1, 255):
        found = medium.readings(bits, gain=gain, top=top)
        assert found.dtype == torch.uint8
        assert torch.equal(found, (medium.intensities(bits) * gain + 0.5).floor().clamp(0, top).to(torch.uint8))


def test_a_region_shares_what_is_held() -> None:
    medium = StructuredMedium(Seed(7), 5000, 9000)
    assert medium.nbytes == 3 * 2 * 8192
    part = medium.region(np.arange(3))
    assert part._phases is medium._phases
    assert part._levels is medium._levels
    assert part.kind == "structured"


def test_golden_values() -> None:
    """A change here changes every structured device that is in a file."""
    drawn = [StructuredMedium(Seed(2**127 + 1), 1500, 5000, matrix) for matrix in ("complex", "real")]
    digests = [hashlib.sha256(m._phases.tobytes() + m._levels.tobytes()).hexdigest()[:16] for m in drawn]
    assert digests == ["fadc554aa62cdd6b", "6af32b7febc3c71c"]
    light = StructuredMedium(Seed(3), 4, 3).intensities(torch.tensor([[1, 1, 0, 1]], dtype=torch.uint8))
    assert light.tolist() == [[6528.267812859864, 11527.297715834575, 12841.42134992121]]


def test_magnitudes_follow_the_quarter_circle() -> None:
    """Even moments 1, 2, 5, 14 (Catalan's numbers) in units of the mean square: those of a Gaussian matrix."""
    for count in (1024, 2**17):
        values = quarter_circle(count, 32 * 2**0.5) / (32 * 2**0.5)
        assert len(values) == count
        assert [np.mean(values ** (2 * k)) for k in (1, 2, 3, 4)] == pytest.approx([1, 2, 5, 14], rel=2e-3)
    medium = StructuredMedium(Seed(1), 1024, 2048)
    assert np.array_equal(np.sort(medium._levels[0]), np.sort(medium._levels[1]))
    assert not np.array_equal(medium._levels[0], medium._levels[1])
    assert np.abs(np.corrcoef(medium._levels)[0, 1]) < 5 / 32
    # All four turns are there, in each of the six stages.
    for stage in range(6):
        assert np.bincount(medium._phases[0] >> (2 * stage) & 3) == pytest.approx(256, abs=5 * 14)
