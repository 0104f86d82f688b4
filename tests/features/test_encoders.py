"""Bits of numbers: known codes, inverses, and planes that mix exactly through anything linear."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from groundglass.core import NonFiniteError
from groundglass.features import BitPlanes, Encoder, Thermometer, Threshold

ENCODERS: list[Encoder] = [
    Threshold(),
    Thermometer(),
    Thermometer(levels=4, spaced="evenly"),
    Thermometer(levels=5, shared=True),
    BitPlanes(signed=True),
]


def numbers(rows: int = 40, n: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, n)).cumsum(1)


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_arrays_tensors_and_single_rows_give_the_same_bits(encoder: Encoder) -> None:
    x = numbers()
    fitted = encoder.fit(x)
    bits = fitted.encode(x)
    assert bits.dtype == np.uint8
    assert bits.shape == (len(x) * fitted.vectors, fitted.width(5))
    assert set(np.unique(bits)) == {0, 1}
    as_tensor = fitted.encode(torch.from_numpy(x))
    assert np.array_equal(as_tensor.numpy(), bits)
    assert np.array_equal(np.concatenate([fitted.encode(x[i : i + 1]) for i in range(len(x))]), bits)
    again = encoder.fit(torch.from_numpy(x))
    assert np.array_equal(again.encode(x), bits)


@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_what_is_no_number_is_refused_and_so_is_an_encoder_that_saw_nothing(encoder: Encoder) -> None:
    x = numbers()
    with pytest.raises(ValueError, match="fit"):
        encoder.encode(x)
    fitted = encoder.fit(x)
    assert fitted.fit(10 * x) is fitted
    wrong: Any
    for wrong in (np.full((2, 5), np.nan), torch.full((2, 5), torch.inf)):
        with pytest.raises(NonFiniteError):
            fitted.encode(wrong)
        with pytest.raises(NonFiniteError):
            encoder.fit(wrong)
    with pytest.raises(TypeError):
        fitted.encode(x + 1j)
    with pytest.raises(TypeError):
        fitted.encode([[1.0, 2.0]])  # type: ignore[type-var]
    with pytest.raises(ValueError, match="x must be"):
        encoder.fit(x[0])


def test_a_threshold_is_the_median_of_its_feature() -> None:
    x = np.array([[0, 10.0], [1, 30], [2, 20], [9, 40]])
    fitted = Threshold().fit(x)
    assert fitted.at.tolist() == [1.5, 25]
    assert fitted.encode(x).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert Threshold(9).encode(x).tolist() == [[0, 1], [0, 1], [0, 1], [0, 1]]
    with pytest.raises(TypeError, match="no inverse"):
        fitted.decode(fitted.encode(x))
    with pytest.raises(ValueError, match="2"):
        fitted.encode(x[:, :1])


def test_a_threshold_is_the_same_for_numbers_of_any_width() -> None:
    just_above = np.float32(0.1)  # 0.1 + 1.5e-9
    for x in (np.full((1, 1), just_above), torch.full((1, 1), float(just_above), dtype=torch.float32)):
        assert Threshold(0.1).encode(x).tolist() == [[1]]
        assert Thermometer(at=[0.1, 0.2]).encode(x).tolist() == [[1, 0]]


def test_a_thermometers_code_is_known() -> None:
    fitted = Thermometer(at=[0, 1, 2])
    assert fitted.levels == 4
    assert fitted.encode(np.array([[-1.0, 0.5], [1.5, 9]])).tolist() == [[0, 0, 0, 1, 0, 0], [1, 1, 0, 1, 1, 1]]
    assert fitted.decode(fitted.encode(np.array([[-1.0, 0.5], [1.5, 9]]))).tolist() == [[-0.5, 0.5], [1.5, 2.5]]
    own = Thermometer(at=[[0, 1], [10, 20]])
    assert own.encode(np.array([[0.5, 15]])).tolist() == [[1, 0, 1, 0]]
    assert own.decode(own.encode(np.array([[0.5, 25]]))).tolist() == [[0.5, 25]]


def test_quantiles_and_even_steps() -> None:
    x = np.array([0, 1, 2, 3, 100.0])[:, None]
    assert Thermometer(levels=4).fit(x).at.tolist() == [[1, 2, 3]]
    assert Thermometer(levels=4, spaced="evenly").fit(x).at.tolist() == [[25, 50, 75]]
    both = np.hstack([x, x + 1000])
    assert Thermometer(levels=2, spaced="evenly", shared=True).fit(both).at.tolist() == [550]


def test_bits_that_no_number_has_are_refused() -> None:
    code = Thermometer(at=[0, 1])
    for wrong in ([[0, 1]], [[1, 0, 1]], [[2, 0]]):
        with pytest.raises(ValueError, match="bits"):
            code.decode(np.array(wrong))
    with pytest.raises(ValueError, match="0 or 1"):
        BitPlanes(n_bits=2, scale=1).decode(np.array([[2], [0]]))
    with pytest.raises(ValueError, match="all planes"):
        BitPlanes(n_bits=2, scale=1).mix(np.ones((3, 4)))
    with pytest.raises(TypeError, match="two thresholds"):
        Thermometer(at=[0]).decode(np.array([[1]]))


@given(arrays(np.int64, (4, 3), elements=st.integers(0, 7)))
@settings(deadline=None)
def test_a_thermometer_of_integers_is_inverted(x: np.ndarray) -> None:
    code = Thermometer(at=np.arange(7) + 0.5)
    assert np.array_equal(code.decode(code.encode(x)), x)
    assert np.array_equal(code.encode(x).reshape(4, 3, 7).sum(2), x)


@given(arrays(np.int64, (4, 3), elements=st.integers(-(2**20), 2**20)))
@settings(deadline=None)
def test_planes_of_integers_are_inverted_and_mix_exactly_through_anything_linear(x: np.ndarray) -> None:
    planes = BitPlanes(n_bits=21, signed=True).fit(x)
    assert planes.scale == 1
    bits = planes.encode(x)
    assert np.array_equal(planes.decode(bits), x)
    linear = np.random.default_rng(1).integers(-9, 10, (3, 6))
    assert np.array_equal(planes.mix(bits.astype(np.int64) @ linear), x @ linear)


def test_planes_do_not_mix_exactly_through_what_a_camera_sees() -> None:
    planes = BitPlanes(n_bits=3, scale=1)
    x = np.array([[3, 5]])
    light = (planes.encode(x).astype(np.int64) @ [[1], [1]]) ** 2
    assert planes.mix(light).item() == 4 * 1 + 2 * 1 + 1 * 4 != (3 + 5) ** 2  # 011 and 101: one, one, and two bits on


def test_planes_are_the_binary_digits() -> None:
    """LightOn's tutorial on bit planes has this example, with the lowest digit first."""
    sample = np.array([[204, 180, 73], [133, 11, 39]], dtype=np.uint8)
    bits = BitPlanes().fit(sample).encode(sample)
    assert bits.shape == (16, 3)
    assert ["".join(map(str, digits)) for digits in bits[8:].T] == ["10000101", "00001011", "00100111"]


def test_planes_of_floats_are_as_near_as_half_a_step() -> None:
    x = numbers()
    planes = BitPlanes(n_bits=6, signed=True).fit(x)
    back = planes.decode(planes.encode(torch.from_numpy(x))).numpy()
    assert planes.scale is not None
    assert abs(back - x).max() <= planes.scale / 2 * (1 + 1e-12)
    assert np.array_equal(planes.decode(planes.encode(back)), back)
    assert planes.decode(planes.encode(np.array([[1e9, -1e9]]))).tolist() == [[63 * planes.scale, -63 * planes.scale]]
    with pytest.raises(ValueError, match="signed"):
        BitPlanes().fit(x)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: BitPlanes(n_bits=0),
        lambda: BitPlanes(scale=0),
        lambda: Thermometer(levels=1),
        lambda: Thermometer(at=[1, 0]),
        lambda: Thermometer(spaced="log"),  # type: ignore[arg-type]
        lambda: Threshold(at=[[1, 2]]),
        lambda: Threshold(at=float("nan")),
        lambda: Threshold(at="median"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        wrong()


@pytest.mark.parametrize("encoder", [Threshold(), Threshold(0), Thermometer(4), BitPlanes()])
def test_numbers_never_wrap_around_and_every_float_is_taken(encoder: Encoder) -> None:
    rows = np.array([[0.5, 3.0], [1.0, 2.0], [0.25, 7.0]])
    expected = encoder.fit(rows).encode(rows)
    assert np.array_equal(encoder.fit(rows.astype(np.longdouble)).encode(rows.astype(np.longdouble)), expected)
    short = torch.from_numpy(rows).bfloat16()
    assert np.array_equal(encoder.fit(short).encode(short), expected)
    with pytest.raises(ValueError, match="floats"):
        encoder.fit(rows).encode(np.array([[1, 2**64 - 1]], dtype=np.uint64))
