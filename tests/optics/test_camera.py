"""The camera: exposure, rounding, clipping, noise."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from groundglass.optics import Camera, DeviceAccess, SimulatedOPU, true_matrix
from groundglass.optics.fidelity.table import device_light
from groundglass.optics.linear import LinearDevice
from groundglass.optics.retrieval import FixedExposure, retrieve
from groundglass.optics.tiled import ENTRY_STD
from tests.optics.draws import draw
from tests.threads import torch_threads


def frames_of_one_input(camera: Camera, count: int, **options: int) -> tuple[np.ndarray, np.ndarray]:
    """Many frames of one input, and the same without noise: [count, 400], [400]."""
    bits = draw(1, 64).expand(count, -1)
    noisy = SimulatedOPU.create(64, 400, seed=1, camera=camera, **options)
    quiet = SimulatedOPU.create(64, 400, seed=1, camera=Camera(bits=None))
    return noisy.measure(bits).double().numpy(), quiet.measure(bits[:1]).double().numpy()[0]


@pytest.mark.parametrize("saturation", [0.002, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("matrix", ["complex", "real"])
def test_the_saturated_share_is_the_one_that_was_asked_for(saturation: float, matrix: str) -> None:
    device = SimulatedOPU.create(256, 1000, seed=1, camera=Camera(saturation=saturation), matrix=matrix)
    bits = draw(1000, 256)
    share = (device.measure(bits) == 255).double().mean().item()
    # The inputs are not those of the calibration; 2^21 and 10^6 readings leave some 3% of the smallest share.
    assert share == pytest.approx(saturation, rel=0.06)
    # Control: twice the light is not what the exposure was set for.
    assert (device.measure(draw(1000, 256, density=1.0)) == 255).double().mean().item() > 1.25 * saturation


@pytest.mark.parametrize("density", [0.1, 0.9])
def test_the_exposure_is_set_for_the_density_that_is_given(density: float) -> None:
    device = SimulatedOPU.create(256, 1000, seed=1, camera=Camera(density=density))
    readings = device.measure(draw(1000, 256, density))
    assert (readings == 255).double().mean().item() == pytest.approx(0.01, rel=0.1)
    assert readings.double().mean().item() == pytest.approx(device.mean_reading, rel=0.02)


def test_the_saturated_share_follows_from_the_exponential_law() -> None:
    """P(reading = 255) = exp(-254.5 / mean), for any amount of light; the mean reading is that of a clipped exponential."""
    device = SimulatedOPU.create(128, 4000, seed=1)
    for ones in (32, 64, 128):
        bits = np.argsort(np.random.default_rng(0).random((50, 128)), 1) < ones
        readings = device.measure(torch.from_numpy(bits.astype(np.uint8)))
        law = np.exp(-254.5 / (device.exposure.gain * 2 * ENTRY_STD**2 * ones))
        # 200,000 readings, but with all bits on the 50 inputs are one.
        assert (readings == 255).double().mean().item() == pytest.approx(law, rel=0.15, abs=1e-4)
    # 55 steps at 1% saturation: 254.5 / ln 100, less what is cut off.
    mean = 254.5 / np.log(100)
    clipped = mean * (1 - np.exp(-255 / mean))
    assert SimulatedOPU.create(512, 1000, seed=1).mean_reading == pytest.approx(clipped, rel=0.02)


def test_the_exposure_is_frozen() -> None:
    device = SimulatedOPU.create(64, 100, seed=1)
    before, bits = device.exposure, draw(50, 64)
    first = device.measure(bits)
    device.measure(torch.ones(2000, 64, dtype=torch.uint8))
    device.measure(torch.zeros(2000, 64, dtype=torch.uint8))
    assert device.exposure == before
    assert torch.equal(device.measure(bits), first)


@pytest.mark.parametrize("depth", [1, 4, 8])
def test_depth(depth: int) -> None:
    device = SimulatedOPU.create(64, 500, seed=1, camera=Camera(bits=depth))
    assert device.measure(draw(500, 64)).unique().tolist() == list(range(2**depth))


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 3.0, 3.5, 4.0])
def test_a_reading_is_a_power_of_the_amplitude_and_full_scale_stays(power: float) -> None:
    bits = draw(400, 64)
    light = SimulatedOPU.create(64, 300, seed=1, camera=Camera(bits=None)).measure(bits).double()
    floats = SimulatedOPU.create(64, 300, seed=1, camera=Camera(bits=None, power=power))
    found = floats.measure(bits).double()
    ratio = (found / light ** (power / 2))[light > 1]
    assert ratio.max() / ratio.min() == pytest.approx(1, abs=1e-5)
    assert found.mean() == pytest.approx(floats.mean_reading, rel=0.05)
    coarse = SimulatedOPU.create(64, 300, seed=1, camera=Camera(bits=3, power=power)).measure(bits)
    assert (coarse == 7).double().mean().item() == pytest.approx(0.01, rel=0.3)
    assert ((found * 6.5 / 254.5).clamp(max=7) - coarse.double()).abs().max() <= 0.5 + 1e-4
    # U as it is scaled to such readings.
    assert torch.allclose(
        (true_matrix(floats) @ bits.t().to(torch.complex64)).abs().t() ** power, found.float(), rtol=1e-3, atol=1e-3
    )


def test_the_power_is_kept_and_one_of_2_is_the_camera_that_always_was(tmp_path: Path) -> None:
    plain = SimulatedOPU.create(40, 30, seed=1)
    assert SimulatedOPU.create(40, 30, seed=1, camera=Camera(power=2)).fingerprint == plain.fingerprint
    plain.save(tmp_path / "plain.device")
    assert "power" not in (tmp_path / "plain.device").read_text()
    fourth = SimulatedOPU.create(40, 30, seed=1, camera=Camera(power=4))
    fourth.save(tmp_path / "fourth.device")
    again = SimulatedOPU.load(tmp_path / "fourth.device")
    assert again.camera.power == 4
    assert torch.equal(again.measure(draw(9, 40)), fourth.measure(draw(9, 40)))
    # Twice the light is four times the reading.
    floats = SimulatedOPU.create(40, 30, seed=1, camera=Camera(power=4, bits=None))
    assert torch.allclose(floats.measure_at(draw(9, 40), 2.0), 4 * floats.measure(draw(9, 40)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"power": 0.5}, "power"), ({"power": 1.3}, "0.5"), ({"power": 4, "shot_noise": 1e4}, "power=2")],
)
def test_a_power_that_cannot_be_is_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Camera(**settings)  # type: ignore[arg-type]


def test_what_takes_readings_for_intensities_refuses_another_power() -> None:
    device = SimulatedOPU.create(16, 40, seed=1, camera=Camera(power=1, bits=None))
    with pytest.raises(ValueError, match=r"\|Ux\|\^1"):
        retrieve(DeviceAccess(device), FixedExposure(), frames=400, seed=0)
    with pytest.raises(ValueError, match=r"\|Ux\|\^1"):
        LinearDevice.fit(device, seed=0)
    with pytest.raises(ValueError, match=r"\|Ux\|\^1"):
        device_light(device)


def test_float_readings_are_the_8_bit_ones_before_rounding() -> None:
    bits = draw(300, 64)
    exact = SimulatedOPU.create(64, 200, seed=1, camera=Camera(bits=None)).measure(bits).double()
    rounded = SimulatedOPU.create(64, 200, seed=1).measure(bits).double()
    assert exact.max() > 300
    assert (exact.clamp(max=255) - rounded).abs().max() <= 0.5 + 1e-4
    assert torch.equal((exact > 254.5 + 1e-4), (rounded == 255) & (exact > 254.5 + 1e-4))


def test_read_noise_has_its_deviation_and_is_gaussian() -> None:
    noisy, quiet = frames_of_one_input(Camera(bits=None, read_noise=2.0), 500)
    error = (noisy - quiet).ravel()
    assert abs(error.mean()) < 5 * 2 / error.size**0.5
    assert error.std() == pytest.approx(2, rel=0.01)
    assert stats.kstest(error / 2, "norm").pvalue > 0.001
    # Pixels and frames are independent.
    assert np.corrcoef(error.reshape(500, -1)[:, :2].T)[0, 1] == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("photons", [20.0, 1e4])
def test_shot_noise_is_poisson_at_every_level_of_light(photons: float) -> None:
    """Counts have the variance of their mean, and at 20 photons the skewness and zeros that no Gaussian has."""
    noisy, quiet = frames_of_one_input(Camera(bits=None, shot_noise=photons), 1000)
    counts, mean = noisy * photons / 255, quiet * photons / 255
    assert np.abs(counts - np.round(counts)).max() < 1e-2
    assert counts.var(0).sum() == pytest.approx(mean.sum(), rel=0.03)
    assert np.abs(counts.mean(0) - mean).max() < 6 * (mean.max() / 1000) ** 0.5
    dim = (mean > 0.5) & (mean < 2)
    if photons == 20:
        assert dim.sum() > 10
        assert (counts[:, dim] == 0).mean() == pytest.approx(np.exp(-mean[dim]).mean(), rel=0.05)


def test_noise_is_of_the_frame_not_of_the_batch() -> None:
    """Splitting a batch in order gives the same readings; measuring again does not."""
    bits = draw(700, 64)
    camera = Camera(read_noise=3, shot_noise=500)
    whole = SimulatedOPU.create(64, 50, seed=1, camera=camera).measure(bits)
    device = SimulatedOPU.create(64, 50, seed=1, camera=camera)
    assert torch.equal(torch.cat([device.measure(rows) for rows in bits.split([1, 0, 299, 400])]), whole)
    assert not torch.equal(device.measure(bits), whole)


def test_noise_does_not_depend_on_threads() -> None:
    readings = []
    for threads in (1, 3):
        with torch_threads(threads):
            device = SimulatedOPU.create(64, 50, seed=1, camera=Camera(read_noise=3, shot_noise=500))
            readings.append(device.measure(draw(40, 64)))
    assert torch.equal(*readings)


def test_noise_streams() -> None:
    """Another noise seed is other noise of the same device; another device has other noise under the same seed."""
    camera = Camera(bits=None, read_noise=5)
    first, quiet = frames_of_one_input(camera, 5)
    again, _ = frames_of_one_input(camera, 5)
    other, _ = frames_of_one_input(camera, 5, noise_seed=1)
    assert (first == again).all()
    assert abs(np.corrcoef((first - quiet).ravel(), (other - quiet).ravel())[0, 1]) < 0.1
    assert abs(np.corrcoef((first - quiet)[0], (first - quiet)[1])[0, 1]) < 0.25
    same = [SimulatedOPU.create(64, 400, seed=1, camera=camera, noise_seed=k).fingerprint for k in (0, 1)]
    assert same[0] == same[1]
    dark = torch.zeros(1, 64, dtype=torch.uint8)
    twins = [SimulatedOPU.create(64, 400, seed=k, camera=camera).measure(dark)[0] for k in (1, 2)]
    assert abs(np.corrcoef(twins[0], twins[1])[0, 1]) < 0.25


def test_noisy_readings_are_clipped_not_wrapped() -> None:
    device = SimulatedOPU.create(64, 400, seed=1, camera=Camera(read_noise=30))
    dark = device.measure(torch.zeros(50, 64, dtype=torch.uint8))
    assert dark.max() < 255
    assert (dark == 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    bright = SimulatedOPU.create(64, 400, seed=1, camera=Camera(read_noise=30, saturation=0.5))
    assert (bright.measure(draw(50, 64)) == 255).double().mean() > 0.4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bits": 9}, "float readings"),
        ({"bits": 0}, "float readings"),
        ({"saturation": 1.0}, "share"),
        ({"saturation": -0.1}, "share"),
        ({"read_noise": -1.0}, "0 or more"),
        ({"read_noise": float("nan")}, "read_noise"),
        ({"shot_noise": float("inf")}, "shot_noise"),
        ({"shot_noise": -1.0}, "photons"),
        ({"density": 0.0}, "ones"),
        ({"density": 1.5}, "ones"),
    ],
)
def test_impossible_cameras_are_refused(options: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Camera(**options)  # type: ignore[arg-type]


def test_a_camera_that_sees_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="raise `density`"):
        SimulatedOPU.create(8, 8, seed=0, camera=Camera(density=0.001, saturation=0.5))


def test_noise_and_exposure_are_arguments_of_create_and_change_that_of_a_camera() -> None:
    camera = Camera(bits=6, read_noise=1.5, density=0.3)
    made = SimulatedOPU.create(40, 30, seed=1, camera=camera, read_noise=0, shot_noise=900, saturation=0.1)
    assert made.camera == Camera(bits=6, shot_noise=900, density=0.3, saturation=0.1)
    assert made.fingerprint == SimulatedOPU.create(40, 30, seed=1, camera=made.camera).fingerprint
    plain = SimulatedOPU.create(40, 30, seed=1)
    assert plain.camera == Camera()
    assert SimulatedOPU.create(40, 30, seed=1, camera=camera).camera == camera
    brighter = SimulatedOPU.create(40, 30, seed=1, saturation=0.2)
    assert brighter.exposure.gain > plain.exposure.gain
    assert brighter.redraw(2).camera.saturation == 0.2
    for name, wrong in (("read_noise", -1), ("shot_noise", -1.0), ("saturation", 1)):
        with pytest.raises(ValueError, match=name):
            SimulatedOPU.create(40, 30, seed=1, **{name: wrong})


def test_the_average_of_frames_has_less_noise_and_nothing_of_the_rounding() -> None:
    """What the page on the camera says: read noise dithers the steps, and falls with the root of the frames."""
    exact = SimulatedOPU.create(64, 200, seed=1, camera=Camera(bits=None))
    noisy = SimulatedOPU.create(64, 200, seed=1, read_noise=2.0)
    bits = np.random.default_rng(0).integers(0, 2, (1, 64)).astype(bool)
    light = exact.measure(bits)[0]
    middle = (light > 10) & (light < 240)
    one, many = (noisy.measure(np.repeat(bits, count, 0)).mean(0) - light for count in (1, 400))
    assert one[middle].std() == pytest.approx(2.0, rel=0.25)
    # A rounded frame has 1/12 of a step's square besides.
    assert many[middle].std() == pytest.approx((4 + 1 / 12) ** 0.5 / 20, rel=0.25)
    dark = light < 0.5
    assert many[dark].mean() > 0.5  # a reading is never below 0: the average of a dark pixel is too bright
