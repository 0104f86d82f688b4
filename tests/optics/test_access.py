"""An attacker's access to a device: what is counted, what is refused, and the exposure."""

import pytest
import torch
from torch import Tensor

from groundglass.core import BudgetExceededError
from groundglass.optics import Camera, LightOnOPU, SimulatedOPU, true_matrix
from groundglass.optics.access import DeviceAccess, half_density
from tests.optics.retrieval.devices import Bench
from tests.optics.test_lighton import Lab

N, M = 40, 30
SECRET = 98765432123456789


def opu(camera: Camera | None = None) -> SimulatedOPU:
    return SimulatedOPU.create(N, M, seed=1, camera=camera)


def inputs(rows: int) -> Tensor:
    return half_density(rows, N, torch.Generator().manual_seed(0))


def counts(access: DeviceAccess) -> tuple[int, int | None]:
    return access.frames, access.remaining


def test_frames_are_counted_and_timed() -> None:
    device = Bench(opu())
    access = DeviceAccess(device, frame_rate=50.0)
    assert (access.frames, access.seconds, access.remaining) == (0, 0.0, None)
    assert torch.equal(access.measure(inputs(7)), device.inner.measure(inputs(7)))
    access.measure(inputs(3))
    access.measure(inputs(0))
    assert access.frames == device.taken == 10
    assert access.seconds == 0.2
    assert DeviceAccess(opu()).frame_rate == 2000


@pytest.mark.parametrize("exposure", [1.0, 3.0])
def test_a_budget_is_kept_to_the_frame_and_a_refusal_takes_nothing(exposure: float) -> None:
    """At any exposure; frames of an earlier session count as well."""
    access = DeviceAccess(opu(), budget=12, exposure_control=True, frame_rate=4.0)
    access.charge(2)
    assert (*counts(access), access.seconds) == (2, 10, 0.5)
    access.measure(inputs(7), exposure=exposure)
    assert counts(access) == (9, 3)
    with pytest.raises(BudgetExceededError, match=r"4 more frames .* budget of 12 \(9 are used\)"):
        access.measure(inputs(4), exposure=exposure)
    assert counts(access) == (9, 3)
    access.measure(inputs(3), exposure=exposure)
    assert counts(access) == (12, 0)
    with pytest.raises(BudgetExceededError):
        access.measure(inputs(1), exposure=exposure)


def test_frames_of_a_device_that_failed_are_counted_and_those_of_a_refusal_are_not_taken() -> None:
    device = Bench(opu(), stops=0)
    access = DeviceAccess(device, budget=10)
    with pytest.raises(OSError, match="laser"):
        access.measure(inputs(6))
    assert access.frames == 6
    with pytest.raises(BudgetExceededError):
        access.measure(inputs(5))
    assert access.frames == 6


def test_without_control_the_exposure_is_the_devices_own() -> None:
    access = DeviceAccess(opu())
    assert not access.exposure_control
    with pytest.raises(PermissionError, match="exposure_control=True"):
        access.measure(inputs(5), exposure=2.0)
    assert access.frames == 0
    assert torch.equal(access.measure(inputs(5), exposure=1.0), opu().measure(inputs(5)))


def test_with_control_readings_get_brighter_and_darker() -> None:
    access = DeviceAccess(opu(), exposure_control=True)
    usual, bright, dark = (access.measure(inputs(20), exposure=e).double() for e in (1.0, 2.0, 0.25))
    assert torch.equal(usual, opu().measure(inputs(20)).double())
    below = usual < 127
    assert ((bright - 2 * usual).abs()[below] <= 1.5).all()
    assert (bright[~below] >= 253).all()
    assert (dark.mean() / usual.mean()).item() == pytest.approx(0.25, rel=0.05)


def test_control_needs_a_device_that_can() -> None:
    lab = LightOnOPU(Lab(M), N, M, mean_reading=20.0)
    with pytest.raises(TypeError, match=r"LightOnOPU .*`measure_at`"):
        DeviceAccess(lab, exposure_control=True)
    access = DeviceAccess(lab)
    assert (access.measure(inputs(4)) == inputs(4).sum(1, keepdim=True)).all()
    assert (access.top, access.frames, access.mean_reading, access.fingerprint) == (255, 4, 20.0, "lighton")
    assert (access.in_features, access.out_features) == (N, M)


@pytest.mark.parametrize(("bits", "top"), [(8, 255), (4, 15), (1, 1), (None, None)])
def test_the_top_is_the_cameras(bits: int | None, top: int | None) -> None:
    device = opu(Camera(bits=bits))
    assert DeviceAccess(device).top == top
    if top is not None:
        assert int(device.measure(inputs(200)).max()) == top


def test_an_access_shows_no_secret() -> None:
    device = SimulatedOPU.create(N, M, seed=SECRET)
    access = DeviceAccess(device, budget=10, exposure_control=True)
    access.measure(inputs(3))
    assert device.fingerprint in repr(access)
    assert "frames=3, budget=10" in repr(access)
    for shown in (repr(access), *map(repr, vars(access).values())):
        assert not any(secret in shown for secret in (str(SECRET), f"{SECRET:x}"))
    assert not hasattr(access, "matrix")
    with pytest.raises(TypeError):
        true_matrix(access)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"budget": 0}, {"budget": -3}, {"frame_rate": 0.0}, {"frame_rate": float("inf")}])
def test_limits_that_are_none_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
        DeviceAccess(opu(), **options)  # type: ignore[arg-type]


def test_bad_bits_are_refused_by_the_device() -> None:
    access = DeviceAccess(opu(), exposure_control=True)
    for exposure in (1.0, 2.0):
        with pytest.raises(TypeError, match="binarise"):
            access.measure(inputs(3).float(), exposure=exposure)
        with pytest.raises(ValueError, match="columns"):
            access.measure(inputs(3)[:, 1:], exposure=exposure)


def test_random_inputs_are_half_on() -> None:
    bits = half_density(400, 50, torch.Generator().manual_seed(3))
    assert (bits.dtype, bits.shape) == (torch.uint8, (400, 50))
    assert set(bits.unique().tolist()) == {0, 1}
    assert bits.double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(bits, half_density(400, 50, torch.Generator().manual_seed(3)))
    assert not torch.equal(bits, half_density(400, 50, torch.Generator().manual_seed(4)))


CAMERAS = [Camera(), Camera(bits=4), Camera(bits=None), Camera(read_noise=3.0), Camera(shot_noise=300.0)]


@pytest.mark.parametrize("camera", CAMERAS)
def test_exposure_1_is_the_usual_measurement(camera: Camera) -> None:
    assert torch.equal(opu(camera).measure_at(inputs(20), 1.0), opu(camera).measure(inputs(20)))
    # Control: this would be seen.
    assert not torch.equal(opu(camera).measure_at(inputs(20), 1.3), opu(camera).measure(inputs(20)))


def test_twice_the_exposure_is_twice_the_light() -> None:
    device = opu(Camera(bits=None))
    once, twice = device.measure(inputs(50)), device.measure_at(inputs(50), 2.0)
    torch.testing.assert_close(twice, 2 * once)
    light = (inputs(50).to(torch.complex64) @ true_matrix(device).T).abs().square()
    eight = SimulatedOPU.create(N, M, seed=1)
    rounded = (2.5 * light + 0.5).floor().clamp(0, 255)
    assert (eight.measure_at(inputs(50), 2.5).double() - rounded).abs().max() <= 1
    assert (eight.measure_at(inputs(50), 2.5).double() - rounded).abs().mean() < 0.01


def test_noise_belongs_to_the_frame_and_not_to_the_exposure() -> None:
    """Read noise is that of frame k, whichever way it was taken, and of the same size."""
    camera = Camera(bits=None, read_noise=3.0)
    bits = inputs(12)
    clean = opu(Camera(bits=None))
    usual = opu(camera).measure(bits) - clean.measure(bits)
    device = opu(camera)
    first, second = device.measure(bits[:5]), device.measure_at(bits[5:], 2.0)
    mixed = torch.cat([first - clean.measure(bits[:5]), second - clean.measure_at(bits[5:], 2.0)])
    torch.testing.assert_close(mixed, usual, rtol=0, atol=1e-3)
    assert usual.std().item() == pytest.approx(3.0, rel=0.15)
    # Control: the noise of other frames is another.
    assert (device.measure(bits) - clean.measure(bits) - usual).abs().mean() > 1


@pytest.mark.parametrize("camera", [Camera(), Camera(read_noise=1.0)])
@pytest.mark.parametrize("exposure", [0.0, -1.0, float("inf"), float("nan")])
def test_no_light_and_endless_light_are_refused(camera: Camera, exposure: float) -> None:
    device = opu(camera)
    with pytest.raises(ValueError, match="`exposure`"):
        device.measure_at(inputs(2), exposure)
    # No frame of noise was used up by the refusal.
    assert torch.equal(device.measure(inputs(2)), opu(camera).measure(inputs(2)))
