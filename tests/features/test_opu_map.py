"""scikit-learn's interface to a device, and what its pickles have of the secret."""

import copy
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from groundglass.compat.lightonml.encoding.base import BinaryThresholdEncoder
from groundglass.features import BitPlanes, OPUMap, Thermometer, Threshold, optical_kernel
from groundglass.optics import Camera, DeviceStore, LightOnOPU, SimulatedOPU
from tests.service.serving import bench

X = np.random.default_rng(0).normal(size=(30, 4))


def test_scikit_learns_own_checks_pass() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the checks that it skips
        found = check_estimator(OPUMap(n_components=8, encoder=Threshold()), on_fail=None)
    assert [one["check_name"] for one in found if one["status"] not in ("passed", "skipped")] == []
    assert len([one for one in found if one["status"] == "passed"]) > 40


def test_features_are_readings_over_their_mean_and_root_m() -> None:
    device = SimulatedOPU.create(28, 50, seed=0)
    features = OPUMap(device=device).fit(X).transform(X)
    bits = Thermometer().fit(X).encode(X)
    assert np.allclose(features, device.measure(bits) / device.mean_reading / 50**0.5, rtol=1e-12)
    fewer = OPUMap(20, device=device).fit(X)
    assert np.allclose(fewer.transform(X), device.measure(bits)[:, :20] / device.mean_reading / 20**0.5, rtol=1e-12)
    assert list(fewer.get_feature_names_out()) == [f"opumap{i}" for i in range(20)]


def test_planes_are_measured_one_by_one_and_mixed() -> None:
    device = SimulatedOPU.create(4, 30, seed=0)
    planes = BitPlanes(n_bits=3, signed=True)
    features = OPUMap(encoder=planes, device=device).fit_transform(X)
    fitted = planes.fit(X)
    weights = fitted.scale * np.array([4, 2, 1, -4, -2, -1])  # type: ignore[operator]
    each = device.measure(fitted.encode(X)).reshape(30, 6, 30)
    expected = (each * weights[:, None]).sum(1) / device.mean_reading / 30**0.5
    assert np.allclose(features, expected, rtol=1e-9)


@pytest.mark.parametrize("encoder", [None, BitPlanes(n_bits=3, signed=True)], ids=["thermometer", "planes"])
def test_rows_taken_a_few_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch, encoder: Any) -> None:
    fitted = OPUMap(10, encoder=encoder, random_state=0).fit(X)
    whole = fitted.transform(X)
    monkeypatch.setattr("groundglass.features.opu_map.rows_at_a_time", lambda n, m: 7)
    assert np.array_equal(fitted.transform(X), whole)


def test_float32_stays_float32() -> None:
    fitted = OPUMap(10, random_state=0).fit(X)
    assert fitted.transform(X.astype(np.float32)).dtype == np.float32
    assert fitted.transform(X.round().astype(int)).dtype == np.float64


def test_random_state_repeats_and_its_absence_does_not() -> None:
    one, two = (OPUMap(10, random_state=3).fit(X) for _ in range(2))
    assert one.device_.public
    assert np.array_equal(one.transform(X), two.transform(X))
    drawn = [OPUMap(10, random_state=np.random.RandomState(5)).fit(X) for _ in range(2)]
    assert np.array_equal(drawn[0].transform(X), drawn[1].transform(X))
    fresh = [OPUMap(10).fit(X) for _ in range(2)]
    assert not fresh[0].device_.public
    assert fresh[0].device_.fingerprint != fresh[1].device_.fingerprint


def test_a_public_device_is_pickled_by_its_seed() -> None:
    fitted = OPUMap(10, random_state=3, camera=Camera(bits=4)).fit(X)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.transform(X), fitted.transform(X))
    fitted.set_params(random_state=4)  # for the next fit
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).transform(X), fitted.transform(X))


def test_a_secret_device_is_in_no_pickle_and_its_file_is_named(tmp_path: Path) -> None:
    fitted = OPUMap(10).fit(X)
    expected = fitted.transform(X)
    for dump in (pickle.dumps, joblib.hash, lambda one: joblib.dump(one, tmp_path / "x.joblib")):
        with pytest.raises((TypeError, pickle.PicklingError), match="save_device"):
            dump(fitted)
    assert np.array_equal(copy.deepcopy(fitted).transform(X), expected)
    file = tmp_path / "secret.device"
    fitted.save_device(file)
    kept = pickle.dumps(fitted)
    assert str(file).encode() in kept
    assert np.array_equal(pickle.loads(kept).transform(X), expected)
    (tmp_path / "secret.device").rename(tmp_path / "elsewhere.device")
    with pytest.raises(FileNotFoundError):
        pickle.loads(kept)
    SimulatedOPU.create(28, 10, seed=1).save(file)
    with pytest.raises(ValueError, match="fit again"):
        pickle.loads(kept)


def test_nothing_of_a_secret_device_is_in_what_is_shown(tmp_path: Path) -> None:
    fitted = OPUMap(10).fit(X)
    fitted.save_device(tmp_path / "secret.device")
    seed = fitted.device_._medium.seed.reveal()
    number = str(int(seed, 16))
    shown = [repr(fitted), fitted._repr_html_(), str(fitted.get_params()), str(vars(fitted))]
    shown += [repr(clone(fitted)), repr(pickle.dumps(fitted))]
    assert not any(seed in text or number in text for text in shown)
    assert int(seed, 16).to_bytes(16, "little") not in pickle.dumps(fitted)


def test_a_device_file_is_a_device(tmp_path: Path) -> None:
    SimulatedOPU.create(28, 10).save(tmp_path / "secret.device")
    one, two = (OPUMap(device=tmp_path / "secret.device").fit(X) for _ in range(2))
    assert np.array_equal(one.transform(X), two.transform(X))
    assert np.array_equal(pickle.loads(pickle.dumps(one)).transform(X), one.transform(X))
    with pytest.raises(TypeError, match="device file"):
        OPUMap(device=apparatus()).fit(X).save_device(tmp_path / "other")


class Apparatus:
    """What LightOn's object is to us."""

    def transform(self, bits: Any) -> Any:
        return (np.asarray(bits) @ np.arange(28 * 10).reshape(28, 10) % 256).astype(np.uint8)


def apparatus() -> LightOnOPU:
    return LightOnOPU(Apparatus(), 28, 10, mean_reading=100.0)


def test_a_real_device_is_used_shared_by_clones_and_not_pickled() -> None:
    device = apparatus()
    fitted = OPUMap(device=device).fit(X)
    assert clone(fitted).fit(X).device_ is device
    assert np.array_equal(clone(fitted).fit_transform(X), fitted.transform(X))
    with pytest.raises(TypeError, match="apparatus"):
        pickle.dumps(fitted)
    again = OPUMap(random_state=0).fit(X).set_params(device=device).fit(X)
    with pytest.raises(TypeError, match="apparatus"):
        pickle.dumps(again)


def test_a_remote_device_is_used_and_found_again_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimulatedOPU.create(28, 10, seed=0)
    expected = OPUMap(device=device).fit_transform(X)
    with bench() as service:
        service.serve("opu", device)
        monkeypatch.setenv("GROUNDGLASS_DEVICE_TOKEN", token := service.token())
        remote = service.client("opu", token)
        fitted = OPUMap(device=remote).fit(X)
        assert np.array_equal(clone(fitted).fit(X).transform(X), expected)
        with pytest.raises(TypeError, match="token"):
            pickle.dumps(fitted)
        store = DeviceStore(tmp_path)
        store.keep(remote)
        fitted = OPUMap(device=store.path(remote.fingerprint)).fit(X)
        kept = pickle.dumps(fitted)
        assert token.encode() not in kept
        assert np.array_equal(pickle.loads(kept).transform(X), expected)


class Least:
    """What the protocol asks, and no more: tensors alone."""

    in_features, out_features, fingerprint, mean_reading = 28, 10, "least", 2.0

    def measure(self, bits: Any) -> Any:
        assert isinstance(bits, torch.Tensor)
        assert bits.dtype == torch.uint8
        return bits[:, :10]


def test_any_object_that_keeps_to_the_protocol_is_a_device() -> None:
    features = OPUMap(device=Least()).fit_transform(X)
    assert np.allclose(features * 2 * 10**0.5, Thermometer().fit(X).encode(X)[:, :10])


def test_what_does_not_fit_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="28 bits"):
        OPUMap(device=SimulatedOPU.create(4, 10, seed=0)).fit(X)
    with pytest.raises(ValueError, match="at most 10"):
        OPUMap(11, device=apparatus()).fit(X)
    with pytest.raises(ValueError, match="n_components"):
        OPUMap(0).fit(X)
    with pytest.raises(NotFittedError):
        OPUMap().transform(X)


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("encoder", Thermometer, TypeError),
        ("encoder", "thermometer", TypeError),
        ("encoder", BinaryThresholdEncoder(), TypeError),
        ("encoder", Threshold([0.0, 0.0, 0.0]), ValueError),
        ("encoder", Thermometer().fit(X[:, :3]), ValueError),
        ("camera", 8, TypeError),
        ("random_state", -1, ValueError),
        ("device", SimulatedOPU, TypeError),
        ("device", 3, TypeError),
    ],
)
def test_a_setting_of_another_kind_is_refused_at_fit(setting: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"`{setting}`|thresholds"):
        OPUMap(10, **{setting: value}).fit(X)


@pytest.mark.parametrize("ignored", [{"camera": Camera(bits=4)}, {"kind": "structured"}])
def test_settings_of_a_simulated_device_are_not_ignored_beside_one_that_is_given(ignored: Any) -> None:
    with pytest.raises(ValueError, match="leave them out"):
        OPUMap(device=SimulatedOPU.create(28, 10, seed=0), **ignored).fit(X)


def test_rows_may_lie_in_memory_as_they_like(recwarn: pytest.WarningsRecorder) -> None:
    features = OPUMap(10, random_state=0).fit(X)
    expected = features.transform(X)
    still = X.copy()
    still.flags.writeable = False
    for rows in (X[::-1][::-1], np.asfortranarray(X), still, X.astype(">f8")):
        assert np.array_equal(features.transform(rows), expected)
    assert np.array_equal(features.transform(X[::-1]), expected[::-1])
    assert not recwarn.list


def test_a_grid_search_over_encoders_in_a_pipeline() -> None:
    digits, labels = load_digits(n_class=4, return_X_y=True)
    model = make_pipeline(OPUMap(100, random_state=0), RidgeClassifier())
    grid = {"opumap__encoder": [Threshold(8), Thermometer(levels=4, spaced="evenly")], "ridgeclassifier__alpha": [0.1]}
    search = GridSearchCV(model, grid, cv=2).fit(digits[:300], labels[:300])
    assert search.score(digits[300:], labels[300:]) > 0.9


def test_digits_are_learned_nearly_as_well_as_with_the_exact_kernel() -> None:
    """RidgeClassifier on features, and on all of the exact kernel; chance is 10%."""
    digits, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(digits[:500], labels[:500], random_state=0)
    encoder = Thermometer(levels=5, spaced="evenly").fit(train)
    left, right = encoder.encode(train), encoder.encode(test)
    exact = Nystroem(kernel="precomputed", n_components=len(train)).fit(optical_kernel(left, left))
    model = RidgeClassifier(0.1)
    best = model.fit(exact.transform(optical_kernel(left, left)), train_labels).score(
        exact.transform(optical_kernel(right, left)), test_labels
    )
    features = OPUMap(600, encoder=encoder, random_state=0)
    found = model.fit(features.fit_transform(train), train_labels).score(features.transform(test), test_labels)
    assert best > 0.9
    assert abs(found - best) < 0.06


def test_without_scikit_learn_the_error_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    import groundglass.features as features

    monkeypatch.delitem(vars(features), "OPUMap", raising=False)
    for name in [name for name in sys.modules if name == "groundglass.features.opu_map" or name.startswith("sklearn")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ValueError, match=r'pip install "groundglass\[sklearn\]"'):
        features.OPUMap  # noqa: B018
