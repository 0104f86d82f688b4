"""The call patterns of LightOn's documentation, with one import changed and fewer numbers. Their sense, not their text."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, ShuffleSplit, train_test_split
from sklearn.pipeline import Pipeline

from groundglass.compat.lightonml import OPU
from groundglass.compat.lightonml.encoding import base
from groundglass.compat.lightonml.encoding.base import (
    BinaryThresholdEncoder,
    Float32Encoder,
    MixingBitPlanDecoder,
    NoDecoding,
)
from groundglass.compat.lightonml.projections.sklearn import OPUMap
from groundglass.compat.lightonml.projections.torch import OPUMap as TorchMap


def random_bits(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, size=shape, dtype=np.uint8)


def test_get_started() -> None:
    data = random_bits(30, 100)
    opu = OPU(n_components=80)
    with pytest.raises(AssertionError, match="Call fit1d or fit2d before transform"):
        opu.transform(data)
    opu.fit1d(data)
    y = opu.transform(data)
    assert y.context.as_dict()["frametime_us"] == 500
    assert np.array_equal(opu.fit_transform1d(torch.from_numpy(data)).numpy(), y)
    opu.fit2d(random_bits(30, 9, 9))
    assert opu.transform(random_bits(30, 9, 9)).shape == (30, 80)
    opu.close()

    mapped = OPUMap(n_components=80)
    out = mapped.fit_transform(data)
    assert type(out) is np.ndarray
    assert out.shape == (30, 80)
    mapped.close()
    module = TorchMap(n_components=80)
    assert module(torch.from_numpy(data)).dtype == torch.uint8
    module.close()
    assert OPU(n_components=10, max_n_features=100, simulated=True).fit_transform1d(data).shape == (30, 10)


def test_input_and_output() -> None:
    opu = OPU(n_components=20)
    flat = random_bits(20, 100).astype(bool)
    out = opu.fit_transform1d(flat)
    assert out.shape == (20, 20)
    opu.fit1d(n_features=flat.shape[1])
    assert np.array_equal(opu.transform(flat), out)
    assert np.array_equal(opu.fit_transform1d(flat[0]), out[0])
    assert opu.fit_transform1d(random_bits(3, 10, 30)).shape == (3, 10, 20)
    packed = np.packbits(flat, axis=1)
    assert opu.fit_transform1d(packed, packed=True).shape == (20, 20)
    images = random_bits(20, 13, 10)
    of_images = opu.fit_transform2d(images)
    packed = np.packbits(images.reshape(20, -1), axis=1)
    assert np.array_equal(opu.fit_transform2d(packed, packed=True, n_2d_features=(13, 10)), of_images)
    for fit, shape in ((opu.fit1d, 120), (opu.fit2d, (12, 10))):
        fit(n_features=shape, online=True)  # type: ignore[operator]
        for _ in range(2):
            single = opu.transform(random_bits(*np.atleast_1d(shape)))
        assert single.shape == (20,)


def test_saving_and_loading(tmp_path: Path) -> None:
    data = random_bits(30, 100)
    opu = OPU(n_components=50, max_n_features=100, simulated=True)
    opu.fit1d(data)
    before = opu.transform(data)
    (tmp_path / "opu.pkl").write_bytes(pickle.dumps(opu))
    opu = pickle.loads((tmp_path / "opu.pkl").read_bytes())
    assert np.array_equal(opu.transform(data), before)
    for mapping in (OPUMap(opu=opu, n_components=50), TorchMap(opu=opu, n_components=50)):
        assert not mapping.fitted
        mapping.fit(torch.from_numpy(data))
        mapping = pickle.loads(pickle.dumps(mapping))
        assert mapping.fitted
        given = data if isinstance(mapping, OPUMap) else torch.from_numpy(data)
        found = mapping.transform(given) if isinstance(mapping, OPUMap) else mapping(given)
        assert np.array_equal(np.asarray(found), before)
        mapping.close()


def test_kernels_and_random_features() -> None:
    images, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(images.reshape(-1, 8, 8), labels, random_state=0)
    encoder = BinaryThresholdEncoder(threshold_enc=8)
    mapping = OPUMap(n_components=600, ndims=2, simulated=True, max_n_features=64)
    train_features = mapping.fit_transform(encoder.transform(train)).astype("float32")
    test_features = mapping.transform(encoder.transform(test)).astype("float32")
    model = RidgeClassifier(alpha=10).fit(train_features, train_labels)
    assert model.score(test_features, test_labels) > 0.9


def test_a_pipeline_and_cross_validation() -> None:
    images, labels = load_digits(n_class=4, return_X_y=True)
    mapping = OPUMap(n_components=100, simulated=True, max_n_features=64, ndims=2)
    steps = [
        ("encoder", BinaryThresholdEncoder(threshold_enc=8)),
        ("mapping", mapping),
        ("decoding", NoDecoding()),
        ("classifier", RidgeClassifier()),
    ]
    pipe = Pipeline(steps=steps)
    pipe.fit(images.reshape(-1, 8, 8)[:400], labels[:400])
    assert pipe.score(images.reshape(-1, 8, 8)[400:], labels[400:]) > 0.9
    search = GridSearchCV(
        pipe, [{"classifier__alpha": [0.1, 1.0]}], scoring="accuracy", cv=ShuffleSplit(2, test_size=0.15), refit=False
    )
    search.fit(images.reshape(-1, 8, 8)[:400], labels[:400])
    assert max(search.cv_results_["mean_test_score"]) > 0.9


def test_transfer_learning() -> None:
    features = np.random.default_rng(0).normal(size=(40, 60)).astype("float32")
    bits = Float32Encoder(sign_bit=False, exp_bits=2, mantissa_bits=0).transform(features)
    mapped = OPUMap(n_components=30).transform(bits)
    decoder = MixingBitPlanDecoder(n_bits=2)
    decoder.fit(mapped)
    assert decoder.transform(mapped).shape == (40, 30)


def test_randomised_linear_algebra() -> None:
    """Trace and singular values by a linear transform of floats."""
    n, m = 60, 600
    opu = OPU(n_components=m, max_n_features=n, simulated=True)
    encoder, decoder = base.SeparatedBitPlanEncoder, base.SeparatedBitPlanDecoder
    random = np.random.default_rng(0)
    low_rank = random.uniform(size=(n, 4)) @ random.uniform(size=(4, n))

    opu.fit1d(low_rank)
    variance = opu.linear_transform(random.normal(size=(100, n)), encoder, decoder).var()
    assert variance == pytest.approx(1, rel=0.1)
    once = opu.linear_transform(low_rank, encoder, decoder)
    assert once.shape == (n, m)
    both = opu.linear_transform(once.T, encoder, decoder)
    assert both.trace() / m * n / variance == pytest.approx(np.trace(low_rank), rel=0.2)

    basis, _ = np.linalg.qr(opu.linear_transform(low_rank, encoder, decoder)[:, :10])
    for _ in range(2):
        basis, _ = np.linalg.qr(low_rank @ (low_rank.T @ basis))
    left, values, right = np.linalg.svd(basis.T @ low_rank, full_matrices=False)
    approximation = basis @ left[:, :4] @ np.diag(values[:4]) @ right[:4]
    assert np.linalg.norm(approximation - low_rank) < 1e-6 * np.linalg.norm(low_rank)


def test_online_change_detection() -> None:
    """NEWMA's use: one vector after another, features as float32."""
    data = random_bits(20, 80)
    opu = OPU(n_components=40)
    opu.fit1d(n_features=data.shape[1], online=True)
    averages = [np.zeros(40, "float32"), np.zeros(40, "float32")]
    for one in data:
        seen = opu.transform(one).astype("float32")
        averages = [(1 - rate) * old + rate * seen for rate, old in zip((0.05, 0.1), averages, strict=True)]
    assert np.linalg.norm(averages[0] - averages[1]) > 0
