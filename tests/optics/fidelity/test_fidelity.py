"""The table of laws: an i.i.d. matrix keeps all of them, and every naive stand-in breaks those that it is known for."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from torch import Tensor

from groundglass.optics import Camera, SimulatedOPU, true_matrix
from groundglass.optics.fidelity import HOLDS_WITHIN, STANDINS, Law, Maker, device_light, fidelity
from groundglass.optics.fidelity.laws import (
    deviate,
    kolmogorov_smirnov,
    largest,
    spectrum_law,
    spread,
    walsh_hadamard,
    xor_correlations,
)

FLOAT = Camera(bits=None)


def complex_matrix(inputs: int, outputs: int, seed: int) -> Callable[[Tensor], Tensor]:
    """An i.i.d. complex Gaussian U: the law itself."""
    rng = np.random.default_rng(seed)
    u = (rng.standard_normal((inputs, outputs)) + 1j * rng.standard_normal((inputs, outputs))) / 2**0.5
    return lambda bits: torch.from_numpy(np.abs(bits.numpy().astype(np.float64) @ u) ** 2)


def named(laws: tuple[Law, ...]) -> dict[str, Law]:
    return {law.name: law for law in laws}


def table_of(make: Maker, inputs: int, outputs: int, seed: int = 0, redraws: int = 40) -> dict[str, Law]:
    light, first = make(inputs, outputs, seed), 10**6 * (seed + 1)
    redraw = lambda k: make(inputs, outputs, first + k)  # noqa: E731
    return named(fidelity(light, inputs, outputs, redraw=redraw, redraws=redraws, seed=seed))


def table_of_device(device: SimulatedOPU, redraws: int = 8) -> dict[str, Law]:
    redraw, sizes = lambda k: device_light(device.redraw(seed=10**6 + k)), (device.in_features, device.out_features)
    return named(fidelity(device_light(device), *sizes, redraw=redraw, redraws=redraws, matrix=true_matrix(device)))


def failures(table: dict[str, Law]) -> dict[str, float]:
    return {name: law.score for name, law in table.items() if not law.holds}


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    ("seed", "inputs", "outputs"), [(1, 256, 4096), (2, 256, 4096), (3, 200, 1000), (4, 256, 1024), (5, 64, 256)]
)
def test_a_dense_device_keeps_all_laws(seed: int, inputs: int, outputs: int) -> None:
    """No false alarm; the sizes need not be powers of two."""
    table = table_of_device(SimulatedOPU.create(inputs, outputs, seed=seed, camera=FLOAT))
    assert not failures(table)
    assert len(table) == 42


def test_standard_errors_are_those_of_iid_matrices() -> None:
    """Scores of 60 matrices, at the least size, where theory is worst: standard Gaussian, every law by itself."""
    tables = [table_of(complex_matrix, 64, 256, seed, redraws=8) for seed in range(60)]
    scores = np.array([[law.score for law in table.values()] for table in tables])
    assert np.abs(scores).max() < HOLDS_WITHIN
    assert scores.std() == pytest.approx(1, abs=0.08)
    # The std of 60 is known to 9%, the mean to .13.
    assert (scores.std(0) > 0.6).all()
    assert (scores.std(0) < 1.5).all()
    assert np.abs(scores.mean(0)).max() < 0.65
    # What is said to be measured, expected and its error give that score, but for the laws that are not Gaussian.
    for law in tables[0].values():
        assert law.score == pytest.approx((law.measured - law.expected) / law.standard_error, abs=1.2)


@pytest.mark.parametrize(
    ("name", "law", "side"),
    [
        ("real matrix", "contrast, half of the inputs", 1),
        ("real matrix", "intensity is exponential, one input", 1),
        ("real matrix", "kernel, two inputs, 50% in common", 1),
        ("low rank", "total over redraws, half of the inputs", 1),
        ("low rank", "neighbouring outputs, one input", 1),
        ("low rank", "neighbouring inputs", 1),
        ("H D", "contrast, one input", -1),
        ("H D", "intensity is exponential, one input", 1),
        ("H D", "outputs any fixed step apart, two inputs", 1),
        ("H D H D", "total over redraws, half of the inputs", -1),
        ("H D H D", "total over inputs, sqrt(N) inputs", -1),
        ("H D H D", "inputs and outputs any fixed xor apart", 1),
        ("H G H D", "outputs any fixed step apart, two inputs", 1),
        ("H G H D", "total over inputs, one input", -1),
        ("H G H D H D", "scatter of the correlation over xors of outputs", 1),
        ("H G H D H D", "total over inputs, one input", 1),
        ("H D H G H D H D", "inputs and outputs the same xor apart", 1),
    ],
)
def test_a_stand_in_breaks_the_law_it_is_known_for(
    name: str, law: str, side: int, of_standins: Callable[[str], dict[str, Law]]
) -> None:
    assert of_standins(name)[law].score * side > HOLDS_WITHIN


def test_stand_ins_that_pass_for_speckle_in_one_thing_do() -> None:
    """A law is about one thing: not every stand-in fails all of them."""
    table = table_of(STANDINS["H D H D"], 256, 256, redraws=8)
    for kept in ("intensity is exponential, half of the inputs", "kernel, half of the inputs, 50% in common"):
        assert table[kept].holds
    table = table_of(STANDINS["real matrix"], 256, 256, redraws=8)
    for kept in ("neighbouring outputs, half of the inputs", "kernel, half of the inputs, 0% in common"):
        assert table[kept].holds
    assert table["kernel, half of the inputs, 100% in common"].measured == pytest.approx(3, abs=0.9)


@pytest.fixture(scope="module")
def of_standins() -> Callable[[str], dict[str, Law]]:
    tables: dict[str, dict[str, Law]] = {}

    def table(name: str) -> dict[str, Law]:
        if name not in tables:
            tables[name] = table_of(STANDINS[name], 256, 512, redraws=12)
        return tables[name]

    return table


@pytest.mark.parametrize("name", STANDINS)
def test_stand_ins_have_the_light_of_a_medium(name: str) -> None:
    """In units of E|U_ij|^2: on average as much as there are ones; and the seed alone decides."""
    bits = torch.from_numpy(np.tri(16, 64, 32, dtype=np.uint8))
    light = torch.stack([STANDINS[name](64, 300, seed)(bits) for seed in range(40)])
    assert light.mean((0, 2)) == pytest.approx(bits.sum(1).numpy(), rel=0.2)
    assert torch.equal(light[3], STANDINS[name](64, 300, 3)(bits))
    assert not torch.equal(light[3], light[4]) or name == "H D"


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("inputs", "outputs"), [(1024, 1024), (1100, 700), (1000, 2500)])
def test_a_structured_device_differs_only_where_it_says_so(inputs: int, outputs: int) -> None:
    """A square one has the same singular values in every draw: the sum of all |U_ij|^2 does not vary."""
    device = SimulatedOPU.create(inputs, outputs, seed=1, camera=FLOAT, kind="structured")
    table = table_of_device(device, redraws=12)
    differs = table["total of all inputs one by one, over redraws"]
    assert differs.expected_to_differ
    assert set(failures(table)) == ({differs.name} if inputs == outputs else set())
    assert differs.measured == pytest.approx(0, abs=0.01) or inputs != outputs


def test_a_real_device_is_told_from_a_complex_one() -> None:
    table = table_of_device(SimulatedOPU.create(64, 512, seed=1, camera=FLOAT, matrix="real"))
    assert table["contrast, one input"].measured == pytest.approx(2**0.5, abs=0.03)
    assert not table["contrast, one input"].holds


def test_light_is_in_units_of_the_entries() -> None:
    for matrix in ("complex", "real"):
        device = SimulatedOPU.create(64, 8000, seed=1, camera=FLOAT, matrix=matrix)
        light = device_light(device)(torch.ones(1, 64, dtype=torch.uint8))
        assert light.dtype == torch.float64
        assert float(light.mean()) == pytest.approx(64, rel=0.1)


@pytest.mark.parametrize("camera", [Camera(), Camera(bits=None, read_noise=1.0)])
def test_a_camera_that_changes_the_light_is_refused(camera: Camera) -> None:
    with pytest.raises(ValueError, match=r"Camera\(bits=None\)"):
        device_light(SimulatedOPU.create(64, 256, seed=1, camera=camera))


def dark(bits: Tensor) -> Tensor:
    raise AssertionError("nothing is measured when the request is wrong")


@pytest.mark.parametrize(
    ("sizes", "options", "says"),
    [
        ((63, 256), {}, "too few"),
        ((64, 255), {}, "too few"),
        ((64, 256), {"redraws": 7}, "too few"),
        ((64, 256), {"matrix": torch.zeros(64, 256, dtype=torch.complex64)}, "outputs by inputs"),
    ],
)
def test_what_cannot_be_told_is_refused(sizes: tuple[int, int], options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fidelity(dark, *sizes, redraw=lambda k: dark, **options)  # type: ignore[arg-type]


def test_third_moment_of_the_spectrum() -> None:
    """By scipy's eigenvalues; at any scale; wide and tall."""
    rng = np.random.default_rng(0)
    for shape in ((60, 40), (40, 60)):
        u = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
        values = linalg.eigvalsh(u.conj().T @ u)
        law = spectrum_law(torch.from_numpy(7 * u))
        assert law.measured == pytest.approx((values**3).mean() / values.mean() ** 3, rel=1e-4)
        assert law.holds
    # Control: a unitary matrix has 1, not 5.
    assert not spectrum_law(torch.eye(64, dtype=torch.complex64)).holds


def test_kolmogorov_smirnov_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    for scale in (1.0, 1.0, 1.0, 1.05, 1.2):
        values = rng.exponential(scale, 3000)
        distance, score = kolmogorov_smirnov(values)
        expected = stats.kstest(values, stats.expon.cdf)
        assert distance == pytest.approx(expected.statistic, abs=1e-12)
        assert score == pytest.approx(stats.norm.isf(expected.pvalue), abs=0.03)
    assert kolmogorov_smirnov(np.full(3000, 1.0))[1] > 30
    # Too good to be chance.
    assert kolmogorov_smirnov(stats.expon.ppf((np.arange(3000) + 0.5) / 3000))[1] < -HOLDS_WITHIN


def test_deviates_agree_with_scipy() -> None:
    for z in (-6.0, -1.0, 0.5, 9.0):
        assert deviate(stats.norm.sf(z), stats.norm.cdf(z)) == pytest.approx(z, abs=1e-6)
    for freedom in (7, 40, 1000):
        for p in (1e-5, 0.1, 0.5, 0.9, 1 - 1e-5):
            score, error = spread(stats.chi2.ppf(p, freedom) / freedom, freedom)
            # In the tails, with few degrees of freedom, the cube root is rough: -3.9 for -4.3.
            assert score == pytest.approx(stats.norm.ppf(p), abs=0.06 if 0.01 < p < 0.99 else 1.2 / freedom**0.5)
        assert error == pytest.approx(stats.chi(freedom).std() / freedom**0.5, rel=0.05)
    score, median, deviation = largest(4.0, 1000)
    assert score == pytest.approx(stats.norm.isf(1 - (1 - 2 * stats.norm.sf(4.0)) ** 1000), abs=1e-6)
    assert largest(median, 1000)[0] == pytest.approx(0, abs=1e-6)
    draws = np.abs(np.random.default_rng(0).standard_normal((2000, 1000))).max(1)
    assert deviation == pytest.approx(draws.std(), rel=0.15)


def test_transform_and_correlations_are_what_their_definitions_say() -> None:
    values = np.random.default_rng(0).standard_normal((8, 16))
    assert walsh_hadamard(values, 1) == pytest.approx(values @ linalg.hadamard(16), abs=1e-12)
    assert walsh_hadamard(values, 0) == pytest.approx(linalg.hadamard(8) @ values, abs=1e-12)
    rows, columns = np.arange(8), np.arange(16)
    correlations = xor_correlations(values)
    for s, t in ((0, 0), (3, 0), (0, 5), (6, 11)):
        moved = values[np.ix_(rows ^ s, columns ^ t)]
        assert correlations[s, t] == pytest.approx((values * moved).mean(), abs=1e-12)
