"""LightOn's encoders: codes that follow from their documentation."""

import numpy as np
import pytest
import torch

from groundglass.compat.lightonml.encoding import base
from groundglass.features import BitPlanes

SAMPLE = np.array([[204, 180, 73], [133, 11, 39]], dtype=np.uint8)


def test_the_tutorial_on_bit_planes() -> None:
    """Its printed output, lowest digit first; `n_bits=8` was the default then."""
    encoded = base.SeparatedBitPlanEncoder(n_bits=8).transform(SAMPLE)
    expected = """001 000 110 101 010 010 101 110 111 011 101 010 000 001 000 100"""
    assert ["".join(map(str, row)) for row in encoded] == expected.split()
    decoded = base.MixingBitPlanDecoder(decoding_decay=2).transform(encoded)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded, SAMPLE)
    some = base.SeparatedBitPlanEncoder(n_bits=2, starting_bit=6)
    assert np.array_equal(some.transform(SAMPLE), encoded.reshape(2, 8, 3)[:, 6:].reshape(4, 3))
    assert some.get_params() == {"n_bits": 2}


def test_planes_of_floats_mix_exactly_through_anything_linear() -> None:
    x = np.random.default_rng(0).normal(size=(5, 7))
    linear = np.random.default_rng(1).normal(size=(7, 4))
    encoder = base.SeparatedBitPlanEncoder()
    bits = encoder.transform(x)
    assert bits.shape == (5 * 6 * 2, 7)
    decoder = base.SeparatedBitPlanDecoder(**encoder.get_params())
    grid = decoder.transform(bits)
    step = max(x.max(), -x.min()) / 63
    assert abs(grid - x).max() <= step / 2 * (1 + 1e-9)
    assert np.allclose(decoder.transform(bits @ linear), grid @ linear, rtol=1e-12)
    assert grid.max() == pytest.approx(x.max())
    assert grid.min() == pytest.approx(x.min())


@pytest.mark.parametrize(("low", "high", "planes"), [(0.0, 1.0, 6), (-1.0, 0.0, 6), (-1.0, 1.0, 12), (0.0, 0.0, 6)])
def test_there_are_planes_for_each_sign_that_occurs(low: float, high: float, planes: int) -> None:
    x = np.random.default_rng(0).uniform(low, high, (4, 9))
    encoder = base.SeparatedBitPlanEncoder()
    bits = encoder.transform(x)
    assert len(bits) == 4 * planes
    back = base.SeparatedBitPlanDecoder(**encoder.get_params()).transform(bits)
    assert np.allclose(back, x, atol=1 / 63)


def test_integers_lose_nothing_where_they_fit() -> None:
    for precision, x in ((6, np.array([[3, -50], [63, 0]])), (4, np.array([[3, 5], [15, 0]], dtype=np.uint16))):
        encoder = base.SeparatedBitPlanEncoder(precision)
        bits = encoder.transform(x)
        assert np.array_equal(base.SeparatedBitPlanDecoder(**encoder.get_params()).transform(bits), x)
    positive = base.SeparatedBitPlanEncoder(precision=8)
    assert np.array_equal(positive.transform(SAMPLE), BitPlanes(scale=1).encode(SAMPLE))


def test_thresholds() -> None:
    x = np.array([[1.0, 10], [2, 20], [4, 60]])
    median = base.BinaryThresholdEncoder()
    with pytest.raises(RuntimeError, match="fit"):
        median.transform(x)
    assert median.fit_transform(x).tolist() == [[0, 0], [0, 0], [1, 1]]
    assert base.BinaryThresholdEncoder(3, greater_is_one=False).transform(x).tolist() == [[1, 0], [1, 0], [0, 0]]
    with pytest.raises(ValueError, match="threshold_enc"):
        base.BinaryThresholdEncoder("mean")
    with pytest.warns(RuntimeWarning, match="outside"):
        base.BinaryThresholdEncoder(100).fit(x)
    images = np.random.default_rng(0).integers(0, 255, (6, 4, 5))
    assert base.BinaryThresholdEncoder().fit_transform(images).shape == (6, 4, 5)


def test_several_thresholds_are_one_after_the_other() -> None:
    x = np.array([[0.0, 100], [8, 500]])
    several = base.MultiThresholdEncoder(thresholds=[1, 200])
    assert several.n_bins == 3
    assert several.transform(x).tolist() == [[0, 1, 0, 0], [1, 1, 0, 1]]
    even = base.MultiThresholdEncoder(n_bins=4).fit(x)
    assert even.thresholds.tolist() == [125, 250, 375]
    own = base.MultiThresholdEncoder(n_bins=2, columnwise=True).fit(x)
    assert own.thresholds.tolist() == [[4], [300]]
    assert own.transform(x).tolist() == [[0, 0], [1, 1]]
    quartiles = base.MultiThresholdEncoder("quantiles", n_bins=4).fit(np.arange(9.0)[:, None])
    assert quartiles.thresholds.tolist() == [2, 4, 6]
    for wrong in ({"thresholds": "log"}, {"thresholds": [1, 2], "columnwise": True}):
        with pytest.raises(ValueError, match="thresholds"):
            base.MultiThresholdEncoder(**wrong)  # type: ignore[arg-type]


def test_digits_are_repeated_by_their_worth() -> None:
    encoder = base.SequentialBaseTwoEncoder(8).fit(np.array([[0, 7]]))
    assert encoder.transform(np.array([[5], [2]])).tolist() == [[1, 1, 1, 1, 0, 0, 1], [0, 0, 0, 0, 1, 1, 0]]
    assert encoder.transform(np.array([[100], [-3]])).sum(1).tolist() == [7, 0]
    for wrong in (6, 0, 8.0):
        with pytest.raises(AssertionError):
            base.SequentialBaseTwoEncoder(wrong)  # type: ignore[arg-type]


def test_planes_side_by_side() -> None:
    encoded = base.ConcatenatedBitPlanEncoder().transform(SAMPLE)
    assert np.array_equal(encoded, np.unpackbits(SAMPLE, axis=1))
    high = base.ConcatenatedBitPlanEncoder(n_bits=3).transform(SAMPLE)
    assert "".join(map(str, high[0])) == "110101010"
    wide = base.ConcatenatedBitPlanEncoder(n_bits=16).transform(np.array([[1, 256]], dtype="<u2"))
    assert "".join(map(str, wide[0])) == "0000000100000000" + "0000000000000001"  # byte by byte, as stored
    with pytest.raises(ValueError, match="bitwidth"):
        base.ConcatenatedBitPlanEncoder(n_bits=9).transform(SAMPLE)
    planes = np.arange(8.0).reshape(4, 2)
    assert base.ConcatenatingBitPlanDecoder(n_bits=2).transform(planes).tolist() == [[0, 1, 1, 1.5], [4, 5, 3, 3.5]]
    with pytest.raises(ValueError, match="same number of bits"):
        base.ConcatenatingBitPlanDecoder(n_bits=3).transform(planes)


def test_bits_of_floats() -> None:
    x = np.array([[-1.5, 2.0]], dtype=np.float32)  # 1 01111111 100..., 0 10000000 000...
    planes = base.Float32Encoder(exp_bits=2, mantissa_bits=1).transform(x)
    assert planes.tolist() == [[1, 0], [0, 1], [1, 0], [1, 0]]
    side_by_side = base.ConcatenatedFloat32Encoder(exp_bits=2, mantissa_bits=1).transform(x)
    assert side_by_side.tolist() == [[1, 0, 1, 1, 0, 1, 0, 0]]
    assert base.Float32Encoder().transform(x).shape == (32, 2)
    with pytest.raises(ValueError, match="exp_bits"):
        base.Float32Encoder(exp_bits=9)
    with pytest.raises(ValueError, match="float32"):
        base.Float32Encoder().transform(x.astype(np.float64))


@pytest.mark.parametrize(
    "encoder",
    [
        base.BinaryThresholdEncoder(),
        base.MultiThresholdEncoder(n_bins=3),
        base.SequentialBaseTwoEncoder(4),
        base.SeparatedBitPlanEncoder(),
        base.ConcatenatedFloat32Encoder(),
        base.NoEncoding(),
    ],
    ids=lambda one: type(one).__name__,
)
def test_of_a_tensor_they_are_tensors(encoder: base.BaseTransformer) -> None:
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    of_array = encoder.fit_transform(x)
    of_tensor = encoder.transform(torch.from_numpy(x))
    assert isinstance(of_tensor, torch.Tensor)
    assert np.array_equal(of_tensor.numpy(), of_array)
