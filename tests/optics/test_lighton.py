"""The adapter: what it hands over, what it accepts back. That it is a device is tested with all of them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from groundglass.core import DamagedFileError, generator, uniform
from groundglass.models import ModelSpec, build, load_model, save_model
from groundglass.optics import LightOnOPU


class Lab:
    """An OPU object that notes what it is given; its reading is the number of ones, on every pixel."""

    def __init__(self, pixels: int = 5) -> None:
        self.pixels = pixels
        self.calls: list[int] = []

    def transform(self, bits: "np.ndarray | Tensor") -> "np.ndarray | Tensor":
        self.calls.append(len(bits))
        if isinstance(bits, Tensor):
            return bits.sum(1, keepdim=True).expand(-1, self.pixels).to(torch.uint8)
        assert bits.flags.c_contiguous
        return np.repeat(bits.sum(1, keepdims=True), self.pixels, 1).astype(np.uint8)


def ones(rows: int) -> Tensor:
    return torch.ones(rows, 8, dtype=torch.uint8)


@pytest.mark.parametrize("arrays", ["numpy", "torch"])
def test_batches_are_handed_over_in_pieces_and_in_order(arrays: str) -> None:
    lab = Lab()
    device = LightOnOPU(lab, 8, 5, mean_reading=4.0, arrays=arrays, rows_per_call=10)
    bits = (torch.arange(8) < torch.arange(25)[:, None] % 9).to(torch.uint8)
    assert (device.measure(bits) == bits.sum(1, keepdim=True)).all()
    assert lab.calls == [10, 10, 5]
    assert device.measure(bits[:0]).shape == (0, 5)
    assert lab.calls == [10, 10, 5]


def test_calibration_measures_the_mean_reading() -> None:
    lab = Lab()
    assert LightOnOPU(lab, 8, 5, mean_reading=3.5).mean_reading == 3.5
    assert not lab.calls, "a mean reading that was kept needs no measurement"
    device = LightOnOPU.calibrate(lab, 8, 5, fingerprint="bench 2", frames=2000)
    assert device.mean_reading == pytest.approx(4, rel=0.03)
    assert device.fingerprint == "bench 2"
    assert LightOnOPU.calibrate(Lab(), 8, 5, density=1.0).mean_reading == 8
    assert LightOnOPU.calibrate(Lab(), 8, 5).mean_reading == LightOnOPU.calibrate(Lab(), 8, 5).mean_reading


def test_a_dark_device_is_refused() -> None:
    class Dark(Lab):
        def transform(self, bits: "np.ndarray | Tensor") -> np.ndarray:
            return np.zeros((len(bits), 5), dtype=np.uint8)

    with pytest.raises(ValueError, match="exposure"):
        LightOnOPU.calibrate(Dark(), 8, 5)
    with pytest.raises(ValueError, match="exposure"):
        LightOnOPU(Dark(), 8, 5, mean_reading=0.0)


@pytest.mark.parametrize(
    "answer",
    [
        lambda bits: np.zeros((len(bits), 6), dtype=np.uint8),
        lambda bits: np.zeros((len(bits) + 1, 5), dtype=np.uint8),
        lambda bits: np.zeros((len(bits), 5), dtype=np.float32),
        lambda bits: torch.zeros(len(bits), 5, dtype=torch.int64),
        lambda bits: np.zeros(5, dtype=np.uint8),
    ],
)
def test_an_answer_that_is_no_readings_is_refused(answer: object) -> None:
    lab = Lab()
    lab.transform = answer  # type: ignore[method-assign,assignment]
    with pytest.raises(RuntimeError, match=r"not \[3, 5\]"):
        LightOnOPU(lab, 8, 5, mean_reading=1.0).measure(ones(3))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="transform"):
        LightOnOPU(object(), 8, 5, mean_reading=1.0)  # type: ignore[arg-type]
    fitted = Lab()
    fitted.n_components = 6  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="n_components of the OPU, 6"):
        LightOnOPU(fitted, 8, 5, mean_reading=1.0)
    for options in ({"fingerprint": ""}, {"fingerprint": "lab/2"}, {"fingerprint": "a" * 65}, {"rows_per_call": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            LightOnOPU(Lab(), 8, 5, mean_reading=1.0, **options)  # type: ignore[arg-type]


def test_a_saved_device_is_the_same_over_the_same_apparatus_and_takes_no_frame(tmp_path: Path) -> None:
    lab = Lab()
    device = LightOnOPU.calibrate(lab, 8, 5, fingerprint="lab-2", arrays="torch", rows_per_call=10)
    path = tmp_path / "models" / "lab-2.json"
    device.save(path)
    device.save(path)  # it is there, and the same
    lab.calls.clear()
    again = LightOnOPU.load(path, lab)
    assert (again.fingerprint, again.mean_reading) == ("lab-2", device.mean_reading)
    assert (again.in_features, again.out_features) == (8, 5)
    assert not lab.calls
    again.measure(ones(25))
    assert lab.calls == [10, 10, 5]


def test_another_calibration_never_takes_the_place_of_one(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    LightOnOPU(Lab(), 8, 5, mean_reading=4.0).save(path)
    kept = path.read_bytes()
    for other in (
        LightOnOPU(Lab(), 8, 5, mean_reading=4.1),
        LightOnOPU(Lab(), 8, 5, mean_reading=4.0, fingerprint="b"),
    ):
        with pytest.raises(FileExistsError, match=r"lab\.json"):
            other.save(path)
    assert path.read_bytes() == kept
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="another name"):
        LightOnOPU(Lab(), 8, 5, mean_reading=4.0).save(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_altered_file_and_another_apparatus_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    LightOnOPU(Lab(), 8, 5, mean_reading=4.0).save(path)
    other = Lab(pixels=6)
    other.n_components = 6  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="n_components of the OPU, 6"):
        LightOnOPU.load(path, other)
    path.write_text(path.read_text().replace("4.0", "5.0"))
    with pytest.raises(DamagedFileError, match=r"lab\.json"):
        LightOnOPU.load(path, Lab())
    with pytest.raises(FileNotFoundError):
        LightOnOPU.load(tmp_path / "none.json", Lab())


def test_a_model_finds_the_device_that_is_saved_beside_it(tmp_path: Path) -> None:
    spec = ModelSpec(width=0.03, classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, device_in=8, device_out=5)
    device = LightOnOPU.calibrate(Lab(), 8, 5, fingerprint="lab-2")
    network = build(spec, device=device, seed=1).eval()
    images = uniform(4, 3, 32, 32, generator=generator(0, "images"))
    expected = network(images)
    save_model(tmp_path / "model.safetensors", network, spec)
    device.save(tmp_path / "lab-2.json")

    def find(name: str) -> LightOnOPU:
        return LightOnOPU.load(tmp_path / f"{name}.json", Lab())

    assert torch.equal(load_model(tmp_path / "model.safetensors", find_device=find)(images), expected)
    off = LightOnOPU(Lab(), 8, 5, mean_reading=2 * device.mean_reading, fingerprint="lab-2")
    wrong = load_model(tmp_path / "model.safetensors", find_device=lambda _: off)
    assert not torch.allclose(wrong(images), expected), "the mean reading matters"


def test_the_answer_is_a_copy() -> None:
    """A driver that uses one buffer for all frames must not change readings that were handed out."""

    class OneBuffer(Lab):
        buffer = np.zeros((2, 5), dtype=np.uint8)

        def transform(self, bits: "np.ndarray | Tensor") -> np.ndarray:
            self.buffer[:] = np.asarray(bits).sum(1, keepdims=True)
            return self.buffer

    device = LightOnOPU(OneBuffer(), 8, 5, mean_reading=1.0)
    bright = device.measure(ones(2))
    device.measure(0 * ones(2))
    assert (bright == 8).all()
    wide = LightOnOPU(OneBuffer(), 8, 5, mean_reading=1.0, rows_per_call=2).measure(torch.cat([ones(2), 0 * ones(2)]))
    assert wide[:, 0].tolist() == [8, 8, 0, 0]


def test_nothing_of_lightons_library_is_imported() -> None:
    assert not any(name.startswith("lightonml") for name in sys.modules)
