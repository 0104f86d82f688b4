"""Ux from a camera that sees intensities: against the true matrix, against noise, and against devices that cheat."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from groundglass.core import BudgetExceededError
from groundglass.optics import Camera, DeviceAccess, DriftingDevice, LightOnOPU, MovingDevice, SimulatedOPU, true_matrix
from groundglass.optics.linear import LinearDevice
from groundglass.optics.retrieval import ExposureError, MatrixChangedError, row_errors
from tests.optics.retrieval.devices import Bench

N, M = 64, 80
RANDOM = torch.Generator().manual_seed(0)
BITS = torch.randint(0, 2, (30, N), dtype=torch.uint8, generator=RANDOM)


def opu(seed: int = 3, **camera: object) -> SimulatedOPU:
    return SimulatedOPU.create(N, M, seed=seed, camera=Camera(**camera))  # type: ignore[arg-type]


def errors(device: SimulatedOPU, linear: LinearDevice, x: Tensor) -> Tensor:
    """Relative error of each row over the inputs, up to one phase and one conjugation of the row for all of them."""
    truth = true_matrix(device)[:, : x.shape[1]].to(torch.complex128) @ x.T.to(torch.complex128)
    return row_errors(linear.linear(x).T.to(torch.complex128), truth)


@pytest.fixture(scope="module")
def plain() -> tuple[SimulatedOPU, LinearDevice]:
    device = opu()
    return device, LinearDevice.fit(device)


def test_without_a_camera_it_is_exact() -> None:
    device = opu(bits=None)
    linear = LinearDevice.fit(device)
    assert errors(device, linear, BITS).max() < 1e-3
    assert errors(device, linear, BITS).median() < 1e-5
    numbers = torch.randint(-1000, 1000, (20, N), generator=RANDOM)
    assert errors(device, linear, numbers).median() < 1e-5


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 1.0])
def test_eight_bits(plain: tuple[SimulatedOPU, LinearDevice], share: float) -> None:
    x = (torch.rand(30, N, generator=RANDOM) < share).to(torch.uint8)
    found = errors(*plain, x)
    assert found.median() < (0.03 if share == 0.05 else 0.008)
    assert (found > 0.1).sum() <= 2


def test_sums_of_results_are_results_of_sums(plain: tuple[SimulatedOPU, LinearDevice]) -> None:
    linear = plain[1]
    x, y = BITS[:10] * (torch.arange(N) % 2).to(torch.uint8), BITS[10:20] * ((torch.arange(N) + 1) % 2).to(torch.uint8)
    whole, apart = linear.linear(x + y), linear.linear(x) + linear.linear(y)
    assert (whole - apart).abs().square().mean() < 0.01**2 * whole.abs().square().mean()
    # Intensities alone would leave the phase of each input open: then the sum is off by as much as it is long.
    phases = torch.polar(torch.ones(10, M), 6.28 * torch.rand(10, M, generator=RANDOM))
    open_phase = linear.linear(x) * phases + linear.linear(y)
    assert (whole - open_phase).abs().square().mean() > 0.3 * whole.abs().square().mean()


def test_more_anchors_and_less_noise_make_it_better() -> None:
    device = opu()
    by_anchors = [errors(device, LinearDevice.fit(device, k), BITS).median() for k in (2, 4, 15)]
    assert all(few > 1.3 * many for few, many in pairwise(by_anchors))
    noisy = [opu(read_noise=noise) for noise in (4.0, 2.0, 1.0)]
    by_noise = [errors(one, LinearDevice.fit(one), BITS).median() for one in noisy]
    assert all(1.5 < more / less < 2.7 for more, less in pairwise(by_noise)), "in proportion to the noise"


def test_spare_inputs_halve_the_frames() -> None:
    device = opu()
    access = DeviceAccess(device)
    linear = LinearDevice.fit(access, inputs=32)
    assert (linear.in_features, linear.frames_per_input, access.frames) == (32, 16, linear.fit_frames)
    assert errors(device, linear, BITS[:, :32]).median() < 0.01
    assert access.frames == linear.fit_frames + 16 * len(BITS)


def test_frames_are_as_stated() -> None:
    access = DeviceAccess(opu(), budget=2000)
    linear = LinearDevice.fit(access, 5)
    assert linear.frames_per_input == 12
    before = access.frames
    linear.linear(torch.cat((BITS[:3], torch.zeros(2, N, dtype=torch.uint8), torch.ones(1, N, dtype=torch.uint8))))
    assert access.frames - before == 3 * 12, "what is all off or all on is known"
    linear.linear(4 * BITS[:2].int() + 3)
    assert access.frames - before == (3 + 2) * 12
    taken = access.frames
    with pytest.raises(BudgetExceededError, match="none was taken"):
        linear.linear(BITS.repeat(20, 1))  # more than are measured at once
    assert access.frames == taken
    linear.linear(BITS[: (2000 - taken) // 12])  # all that can be had
    with pytest.raises(BudgetExceededError, match="anchors take"):
        LinearDevice.fit(DeviceAccess(opu(), budget=500))


def test_floats_are_rounded_and_scaled(plain: tuple[SimulatedOPU, LinearDevice]) -> None:
    x = torch.randn(20, N, generator=RANDOM)
    assert errors(*plain, x).median() < 0.02
    coarse, fine = plain[1].linear(x, bits=3), plain[1].linear(x, bits=8)
    assert 0.05 < (coarse - fine).norm() / fine.norm() < 0.4
    assert torch.allclose(plain[1].linear(x * 1e-6), 1e-6 * fine, rtol=1e-4)


def test_a_real_matrix_gives_real_results() -> None:
    device = SimulatedOPU.create(N, M, seed=3, matrix="real")
    linear = LinearDevice.fit(device)
    assert linear.real
    found, truth = linear.linear(BITS), BITS.float() @ true_matrix(device).real.T
    assert found.dtype == torch.float32
    signs = (found * truth).sum(0).sign()
    assert (found * signs - truth).norm() < 0.01 * truth.norm()


def test_a_real_matrix_is_known_through_noise() -> None:
    device = SimulatedOPU.create(N, M, seed=3, matrix="real", read_noise=4.0)
    linear = LinearDevice.fit(device)
    assert linear.real
    assert errors(device, linear, BITS).median() < 0.12  # as a complex one it is 0.4


@pytest.mark.parametrize("n", [4, 7, 10])
def test_a_small_device_has_the_anchors_that_there_are(n: int) -> None:
    device = SimulatedOPU.create(n, 20, seed=1, camera=Camera(bits=None))
    assert errors(device, LinearDevice.fit(device), torch.eye(n, dtype=torch.uint8)).median() < 1e-4


def test_a_camera_that_shows_too_little_is_refused() -> None:
    with pytest.raises(ExposureError, match="of 80 rows"):
        LinearDevice.fit(opu(bits=2))


def test_real_parts_have_the_law_of_imaginary_ones() -> None:
    device = SimulatedOPU.create(N, 400, seed=3)
    linear = LinearDevice.fit(device)
    found = linear.linear(BITS, real=True)
    assert found.shape == (30, 800)
    x, y = found[:, :400], found[:, 400:]
    assert float(x.square().mean() / y.square().mean()) == pytest.approx(1, abs=0.15)
    assert torch.equal(torch.complex(x, y), linear.linear(BITS))


def test_a_batch_changes_nothing(plain: tuple[SimulatedOPU, LinearDevice]) -> None:
    linear = plain[1]
    x = torch.cat((BITS[:10].long(), torch.randint(-50, 50, (4, N), generator=RANDOM)))
    assert torch.equal(torch.cat([linear.linear(row[None]) for row in x]), linear.linear(x))
    assert linear.linear(x[:0]).shape == (0, M)
    assert not linear.linear(0 * x).any()


def test_noise_is_the_same_however_a_batch_is_split() -> None:
    whole, split = (LinearDevice.fit(opu(read_noise=2.0)) for _ in range(2))
    found = whole.linear(BITS)
    assert torch.equal(found, torch.cat([split.linear(part) for part in BITS.split(7)]))
    assert not torch.equal(found, whole.linear(BITS)), "fresh noise"


def test_numpy_wider_than_a_tensor_is_taken(plain: tuple[SimulatedOPU, LinearDevice]) -> None:
    x = np.linspace(-1, 1, N)[None]
    assert np.array_equal(plain[1].linear(x.astype(np.longdouble)), plain[1].linear(x))


def test_numpy_gives_numpy_and_a_seed_gives_the_same(plain: tuple[SimulatedOPU, LinearDevice]) -> None:
    device, linear = plain
    found = linear.linear(BITS.bool().numpy())
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.complex64
    assert np.array_equal(found, LinearDevice.fit(device).linear(BITS).numpy())
    other = LinearDevice.fit(device, seed=1).linear(BITS).numpy()
    assert np.abs(np.abs(found) - np.abs(other)).mean() < 0.05 * np.abs(found).mean()
    assert np.abs(found - other).mean() > 0.5 * np.abs(found).mean(), "another phase"


def test_any_device_will_do() -> None:
    inner = opu()

    class Apparatus:
        def transform(self, bits: np.ndarray) -> np.ndarray:
            return inner.measure(bits)

    real = LightOnOPU.calibrate(Apparatus(), N, M, fingerprint="lab-2")
    assert errors(inner, LinearDevice.fit(real), BITS).median() < 0.008


def test_a_device_that_was_redrawn_is_noticed() -> None:
    swapped = Bench(opu(), swaps=1000, after=opu(seed=4))
    linear = LinearDevice.fit(swapped)
    linear.linear(BITS[:4])
    with pytest.raises(MatrixChangedError, match="fit again"):
        linear.linear(BITS)
    devices = (Bench(opu(), swaps=400, after=opu(seed=4)), MovingDevice.create(N, M, count=2, seed=1))
    for device in devices:
        with pytest.raises(MatrixChangedError):
            LinearDevice.fit(device)


def test_drift_is_noticed_before_results_are_worthless() -> None:
    drifting = DriftingDevice(opu(), correlation=1e6)
    linear = LinearDevice.fit(drifting)
    linear.linear(BITS)
    drifting.wait(50_000)
    before = linear.access.frames
    with pytest.raises(MatrixChangedError, match="drifted"):
        linear.linear(BITS)
    assert linear.access.frames > before


def test_anchors_of_another_device_are_of_no_use() -> None:
    """The negative control of the whole: what is found comes from the anchors."""
    device, other = opu(), opu(seed=4)
    linear = LinearDevice.fit(device)
    linear.access = DeviceAccess(other)
    with pytest.raises(MatrixChangedError):
        linear.linear(BITS)


@pytest.mark.parametrize("noise", [16.0, 40.0])
def test_noise_is_not_taken_for_another_matrix(noise: float) -> None:
    linear = LinearDevice.fit(opu(read_noise=noise))
    assert linear.linear(BITS).isfinite().all()
    assert linear.noise > 8


@pytest.mark.parametrize(("light", "says"), [(1e-3, "raise the exposure"), (100.0, "lower the exposure")])
def test_an_exposure_that_shows_nothing_is_refused(light: float, says: str) -> None:
    with pytest.raises(ExposureError, match=says):
        LinearDevice.fit(Bench(opu(), light=light))
    mended = LinearDevice.fit(DeviceAccess(Bench(opu(), light=light), exposure_control=True), exposure=1 / light)
    assert errors(opu(), mended, BITS).median() < 0.008


def test_light_that_goes_out_is_said() -> None:
    bench = Bench(opu())
    linear = LinearDevice.fit(bench)
    bench.light = 1e-9
    with pytest.raises(ExposureError, match="dark"):
        linear.linear(BITS)


def test_refuses_what_makes_no_sense(plain: tuple[SimulatedOPU, LinearDevice]) -> None:
    device, linear = plain
    for wrong, says in (
        ({"anchors": 1}, "no point"),
        ({"seed": -1}, "seed"),
        ({"inputs": 65}, "at most 64"),
        ({"exposure": 0}, "exposure"),
    ):
        with pytest.raises(ValueError, match=says):
            LinearDevice.fit(device, **wrong)
    with pytest.raises(PermissionError, match="exposure_control"):
        LinearDevice.fit(device, exposure=2.0)
    with pytest.raises(ValueError, match="64 columns"):
        linear.linear(BITS[:, :60])
    with pytest.raises(ValueError, match="bits"):
        linear.linear(BITS.float(), bits=1)
    for unreal in (
        BITS.numpy().astype(str),
        BITS.numpy().astype(object),
        1j * BITS.numpy(),
        BITS.to_sparse(),
        [[0, 1]],
    ):
        with pytest.raises(TypeError, match="inputs must be"):
            linear.linear(unreal)
    for nothing in (3, SimulatedOPU, "lab.device"):
        with pytest.raises(TypeError, match="optical device"):
            LinearDevice.fit(nothing)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="None"):
        linear.linear(BITS[0])


def test_what_holds_a_device_is_not_pickled(plain: tuple[SimulatedOPU, LinearDevice]) -> None:
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(plain[1])
    assert len(repr(plain[1])) < 200
