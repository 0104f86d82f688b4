"""LightOn's OPU on our devices: shapes, types, states and errors of its interface, and the readings of the device behind."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from groundglass.compat import lightonml
from groundglass.compat.lightonml import OPU
from groundglass.compat.lightonml.context import ContextArray
from groundglass.compat.lightonml.internal.simulated_device import SimulatedOpuDevice
from groundglass.compat.lightonml.internal.types import InputRoiStrategy
from groundglass.optics import Camera, LightOnOPU, SimulatedOPU, true_matrix
from tests.service.serving import remote

RANDOM = np.random.default_rng(0)


def bits(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 2, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def opu() -> OPU:
    return OPU(n_components=24)


def test_readings_are_those_of_the_device() -> None:
    device = SimulatedOPU.create(40, 30, seed=1)
    opu = OPU(30, opu_device=device)
    x = bits(5, 40)
    assert np.array_equal(opu.fit_transform1d(x), device.measure(x))
    fewer = OPU(20, opu_device=device)
    short = np.pad(x[:, :33], ((0, 0), (0, 7)))
    assert np.array_equal(fewer.fit_transform1d(x[:, :33]), device.measure(short)[:, :20])
    assert (fewer.max_n_features, fewer.max_n_components) == (40, 30)


@pytest.mark.parametrize("shape", [(50,), (1, 50), (7, 50), (3, 4, 50), (1, 1, 50)])
def test_shapes_of_vectors(opu: OPU, shape: tuple[int, ...]) -> None:
    x = bits(*shape)
    out = opu.fit_transform1d(x)
    assert out.shape == (*shape[:-1], 24)
    assert out.dtype == np.uint8
    flat = opu.transform(x.reshape(-1, 50))
    assert np.array_equal(flat.reshape(out.shape), out)
    packed = opu.fit_transform1d(np.packbits(x, axis=-1), packed=True)
    assert packed.shape == out.shape  # of 56 features: another matrix


@pytest.mark.parametrize("batch", [(), (1,), (6,), (2, 3)])
def test_shapes_of_matrices(opu: OPU, batch: tuple[int, ...]) -> None:
    x = bits(*batch, 5, 8)
    out = opu.fit_transform2d(x)
    assert out.shape == (*batch, 24)
    flat = x.reshape(*batch, 40)
    assert np.array_equal(opu.fit_transform1d(flat), out)
    assert np.array_equal(opu.fit_transform2d(np.packbits(flat, axis=-1), packed=True, n_2d_features=(5, 8)), out)
    assert np.array_equal(opu.fit_transform1d(np.packbits(flat, axis=-1), packed=True), out)


def test_what_comes_is_of_the_library_of_what_goes_in(opu: OPU) -> None:
    x = bits(6, 50)
    out = opu.fit_transform1d(x)
    assert type(out) is ContextArray
    assert type(np.array(out)) is np.ndarray
    for same in (x.astype(bool), x.astype(float), x.astype(np.int32)):
        assert np.array_equal(opu.transform(same), out)
    tensor = opu.transform(torch.from_numpy(x))
    assert type(tensor) is torch.Tensor
    assert tensor.dtype == torch.uint8
    assert np.array_equal(tensor, out)


def test_a_context_says_how_it_was_taken(opu: OPU) -> None:
    out = opu.fit_transform1d(bits(3, 64))
    told = out.context.as_dict()
    assert list(told) == [
        "exposure_us",
        "frametime_us",
        "output_roi",
        "start",
        "gain_dB",
        "end",
        "input_roi",
        "n_ones",
        "fmt_type",
        "fmt_factor",
    ]
    assert (told["exposure_us"], told["frametime_us"], told["fmt_type"]) == (400, 500, "lined")
    assert 20 < told["n_ones"] < 44
    assert told["start"] <= told["end"]
    assert out[1:].context is out.context
    assert out.context.as_flat_dict()["output_roi_shape_0"] == 2040
    assert opu.fit_transform2d(bits(3, 8, 8)).context.fmt_type.name == "macro_2d"


def test_before_fit_and_when_closed_there_is_lightons_error() -> None:
    opu = OPU(n_components=8, open_at_init=False)
    with pytest.raises(AssertionError, match="Call fit1d or fit2d before transform"):
        opu.transform(bits(2, 10))
    opu.fit1d(n_features=10)
    with pytest.raises(AssertionError, match="isn't active"):
        opu.transform(bits(2, 10))
    with opu as same:
        assert same is opu
        opu.transform(bits(2, 10))
    assert not opu.device.active
    opu.open()
    with opu:
        pass
    assert opu.device.active  # it was open before
    opu.close()
    with pytest.raises(AssertionError, match="isn't active"):
        opu.linear_transform(bits(2, 10))


def test_online_takes_single_vectors(opu: OPU) -> None:
    opu.fit1d(n_features=30, online=True)
    x = bits(4, 30)
    one_by_one = np.stack([opu.transform(one) for one in x])
    with pytest.raises(AssertionError, match="single vectors"):
        opu.transform(x)
    opu.fit1d(x)
    assert np.array_equal(opu.transform(x), one_by_one)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda opu: opu.fit1d(), AssertionError),
        (lambda opu: opu.fit1d(bits(2, 8), n_features=8), AssertionError),
        (lambda opu: opu.fit2d(bits(8)), AssertionError),
        (lambda opu: opu.fit2d(bits(2, 8), packed=True), ValueError),
        (lambda opu: opu.fit1d(n_features=2_000_000), ValueError),
        (lambda opu: opu.fit1d(n_features=8, speed=1), TypeError),
        (lambda opu: opu.fit_transform1d(bits(2, 8) * 2), ValueError),
        (lambda opu: opu.fit_transform1d(RANDOM.normal(size=(2, 8))), ValueError),
        (lambda opu: opu.fit_transform1d(bits(2, 8).astype(np.int64), packed=True), ValueError),
        (lambda opu: opu.fit_transform1d(bits(2, 2, 2, 8)), ValueError),
        (lambda opu: (opu.fit1d(n_features=8), opu.transform(bits(2, 9))), ValueError),
        (lambda opu: opu.transform1d(bits(2, 8)), RuntimeError),
        (lambda opu: setattr(opu, "n_components", 0), ValueError),
        (lambda opu: setattr(opu, "n_components", 10**8), ValueError),
        (lambda opu: setattr(opu, "max_n_features", 10), AttributeError),
        (lambda opu: setattr(opu, "rescale", "std"), KeyError),
        (lambda opu: OPU(8, opu_device=opu.device, simulated=True), ValueError),
        (lambda opu: OPU(8, opu_device=object()), TypeError),
        (lambda opu: OPU(8, opu_device=SimulatedOPU), TypeError),
        (lambda opu: OPU(8, config_file="/etc/lighton/opu.json"), ValueError),
        (lambda opu: OPU(41, opu_device=SimulatedOPU.create(4, 40, seed=0)), ValueError),
    ],
)
def test_what_cannot_be_is_refused(opu: OPU, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(opu)


def test_no_batch_at_all(opu: OPU) -> None:
    opu.fit1d(n_features=8)
    assert opu.transform(bits(0, 8)).shape == (0, 24)


def test_the_matrix_stays_while_the_object_lives_and_no_longer() -> None:
    x = bits(3, 50)
    opu = OPU(n_components=24)
    first = opu.fit_transform1d(x)
    opu.fit_transform1d(bits(3, 60))
    assert np.array_equal(opu.fit_transform1d(x), first)
    assert np.array_equal(copy.deepcopy(opu).transform(x), first)
    assert not np.array_equal(OPU(n_components=24).fit_transform1d(x), first)
    for hidden in (opu, opu.device):
        with pytest.raises(TypeError, match="secret"):
            pickle.dumps(hidden)


def test_a_simulated_opu_gives_floats_of_a_matrix_that_everybody_may_know() -> None:
    x = bits(4, 30)
    opu = OPU(n_components=200, max_n_features=30, simulated=True)
    out = opu.fit_transform1d(x)
    assert out.dtype == np.float32
    matrix = opu.device.random_matrix
    assert matrix is not None
    assert matrix.shape == (30, 200)
    assert np.allclose(abs(x @ matrix) ** 2, out, rtol=1e-4, atol=1e-5)
    assert np.var(matrix.real) == pytest.approx(1 / 30, rel=0.1)
    again = OPU(n_components=200, max_n_features=30, simulated=True)
    assert np.array_equal(again.fit_transform1d(x), out)
    kept = pickle.loads(pickle.dumps(opu))
    assert np.array_equal(kept.transform(x), out)
    fewer = opu.fit_transform1d(x[:, :20])
    assert np.allclose(abs(x[:, :20] @ matrix[:20]) ** 2, fewer, rtol=1e-4, atol=1e-5)
    opu.max_n_features, opu.n_components = 35, 100
    assert opu.device.random_matrix.shape == (35, 100)
    with pytest.raises(ValueError, match="35"):
        opu.fit1d(n_features=36)


def test_a_simulated_device_may_be_made_first() -> None:
    device = SimulatedOpuDevice()
    assert device.random_matrix is None
    device.build_random_matrix(20, 10, seed=4)
    opu = OPU(10, opu_device=device, max_n_features=20)
    assert opu.fit_transform1d(bits(20)).shape == (10,)
    other = OPU(10, max_n_features=20, simulated=True)
    assert not np.array_equal(other.device.random_matrix, device.random_matrix)
    again = pickle.loads(pickle.dumps(device))
    assert np.array_equal(again.random_matrix, device.random_matrix)


def test_exposure_is_a_setting_of_a_transform(opu: OPU) -> None:
    x = bits(50, 64)
    dark = opu.fit_transform1d(x, exposure_us=100)
    full = opu.fit_transform1d(x, frametime_us=800)
    assert dark.context.exposure_us == 100
    assert full.context.frametime_us == 800
    assert dark.mean() == pytest.approx(full.mean() / 4, rel=0.03)
    assert opu.fit_transform1d(x, n_components=7).shape == (50, 7)


class Apparatus:
    def transform(self, given: Any) -> Any:
        return (np.asarray(given) @ np.arange(8 * 10).reshape(8, 10) % 256).astype(np.uint8)


def test_a_real_one_goes_in_as_our_adapter() -> None:
    opu = OPU(10, opu_device=LightOnOPU(Apparatus(), 8, 10, mean_reading=99.0))
    x = bits(5, 8)
    assert np.array_equal(opu.fit_transform1d(x), Apparatus().transform(x))
    with pytest.raises(ValueError, match="exposure"):
        opu.fit_transform1d(x, exposure_us=100)


def test_a_remote_one_goes_in_as_it_is() -> None:
    device = SimulatedOPU.create(40, 10, seed=0)
    opu = OPU(10, opu_device=remote(device))
    x = bits(5, 40)
    assert np.array_equal(opu.fit_transform1d(x), device.measure(x))
    assert np.array_equal(copy.deepcopy(opu).transform(x), device.measure(x))
    with pytest.raises(TypeError, match="token"):
        pickle.dumps(opu)


@pytest.mark.parametrize("rescale", ["variance", "norm", "none"])
def test_the_linear_transform_of_a_simulated_opu_is_that_of_its_matrix(rescale: str) -> None:
    opu = OPU(n_components=3000, max_n_features=60, simulated=True, rescale=rescale)
    x = bits(5, 60)
    opu.fit1d(x)
    out = opu.linear_transform(x)
    assert type(out) is ContextArray
    assert out.dtype == np.float32
    matrix = opu.device.random_matrix
    assert matrix is not None
    unit = x @ matrix.real * 60**0.5
    assert np.allclose(out, unit / {"variance": 60**0.5, "norm": 3000**0.5, "none": 1}[rescale], rtol=1e-4, atol=1e-4)
    norms = (np.linalg.norm(out, axis=1) / np.linalg.norm(x, axis=1)).mean()
    assert norms == pytest.approx({"variance": 50**0.5, "norm": 1, "none": 3000**0.5}[rescale], rel=0.05)


@pytest.mark.parametrize("matrix", ["complex", "real"])
def test_the_linear_transform_of_any_device_is_one_of_gaussian_entries(matrix: Any) -> None:
    """By phase retrieval: additive, and of unit variance for unit inputs. The matrix is the device's, rows turned by a phase."""
    device = SimulatedOPU.create(64, 40, seed=0, matrix=matrix)
    opu = OPU(40, opu_device=device)
    opu.fit1d(n_features=60)
    x = bits(12, 60)
    out = opu.linear_transform(x)
    assert out.dtype == np.float32
    one_by_one = np.stack([opu.linear_transform(each) for each in np.eye(60, dtype=np.uint8)])
    assert np.linalg.norm(x @ one_by_one - out) < 0.1 * np.linalg.norm(out)
    assert one_by_one.var() == pytest.approx(1 / 60, rel=0.15)
    fields = true_matrix(device).numpy()[:, :60].T
    for found, field in zip(one_by_one.T, fields.T, strict=True):
        parts = np.stack([field.real, field.imag], 1)
        fitted = parts @ np.linalg.lstsq(parts, found, rcond=None)[0]
        assert np.linalg.norm(fitted - found) < 0.25 * np.linalg.norm(found)
    opu.rescale = "none"
    assert np.allclose(opu.linear_transform(x), out * 60**0.5, rtol=1e-5)


def test_enums_and_levels_are_there() -> None:
    assert OPU(4, input_roi_strategy=InputRoiStrategy.small).input_roi_strategy.name == "small"
    before = lightonml.get_verbose_level()
    lightonml.set_verbose_level(2)
    assert lightonml.get_verbose_level() == 2
    lightonml.set_verbose_level(before)
    assert "lightonml" in OPU(4).version()
    with pytest.raises(AttributeError, match=r"projections\.sklearn"):
        lightonml.retrieval  # noqa: B018
    with pytest.raises(ImportError, match=r"sklearn\.datasets"):
        from groundglass.compat.lightonml.datasets import MNIST  # noqa: F401
    with pytest.raises(ImportError, match="torch"):
        from groundglass.compat.lightonml.encoding.models import EncoderDecoder  # noqa: F401
    assert OPU(4, opu_device=SimulatedOPU.create(4, 4, seed=0, camera=Camera(bits=2))).max_n_components == 4


def test_a_sparse_matrix_is_told_what_to_become() -> None:
    opu = OPU(4)
    opu.fit1d(n_features=8)
    with pytest.raises(ValueError, match="toarray"):
        opu.transform(csr_matrix(bits(2, 8)))
