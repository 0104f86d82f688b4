import stat
from dataclasses import replace

import numpy as np
import pytest
import torch

from groundglass.adaptive.channel import blurred
from groundglass.optics import DeviceStore, true_matrix
from groundglass.optics.retrieval import row_errors
from groundglass.results.kinds import ATTACK, DEVICE, RETRIEVE
from tests.results.examples import made
from tests.studies.contract import Contract
from tests.studies.tiny import SIZES

pytestmark = pytest.mark.slow

STUDY = "retrieval"
N, M = SIZES


def priced(told, failed, purpose="price"):
    return made(RETRIEVE, {"purpose": purpose}, {"told_share": told, "failed_share": failed})


def attack(rule, left, *inputs):
    return made(ATTACK, {"rule": rule, "eps": 0.1}, {"n_images": 100, "robust_accuracy": left}, inputs=inputs)


GOOD, BAD = priced(0.0, 0.0), priced(0.5, 0.5)
TOLD = (
    ([priced(0.14, 0.1), priced(1.0, 0.0, "noise")], [priced(0.16, 0.1)]),
    (
        [GOOD, BAD, attack("bpda-drawn", 0.5), attack("bpda-retrieved", 0.9, BAD.key), attack("dfa", 0.9)],
        [GOOD, BAD, attack("bpda-drawn", 0.5), attack("bpda-retrieved", 0.53, GOOD.key)],
    ),
)


class TestContract(Contract):
    study, stop_at = STUDY, "16 N frames"
    told = TOLD
    refused = (({"queries": (3,)}, r"must be at least 6\.00 N"), ({"blurs": (1.5,)}, "of which sqrt"))


def of(finished, purpose):
    return [entry for entry in finished.entries(RETRIEVE) if entry.config.purpose == purpose]


def test_the_networks_own_matrix_is_retrieved_and_the_error_told_is_true(finished):
    priced = of(finished, "price")
    assert [e.config.frames for e in priced] == [8 * N, 16 * N]
    own = next(e.result for e in finished.entries(DEVICE) if e.config.out_features == M)
    device = DeviceStore(finished.folder / "devices").find(own.fingerprint)
    for entry in priced:
        config, result, arrays = entry.config, entry.result, entry.arrays()
        path = finished.folder / result.matrix
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not (path.parent / "readings.npy").exists()
        errors = row_errors(torch.from_numpy(np.load(path)), true_matrix(device))
        assert result.error.median == pytest.approx(float(np.median(errors)), rel=1e-3)
        assert result.failed_share == pytest.approx(float((errors > 0.1).float().mean()))
        assert result.frames <= config.frames
        assert result.device_seconds == pytest.approx(result.frames / 2000)
        assert arrays["error"] == pytest.approx(errors.numpy(), rel=1e-3)
        assert arrays["held_out"].shape == (M,)
    few, many = (entry.result for entry in priced)
    assert many.error.median < few.error.median < 0.05
    assert many.failed_share == 0


def test_a_period_with_too_few_frames_has_no_retrieval(finished):
    (kept,) = of(finished, "period")
    assert (kept.config.period, kept.config.frames) == (0.2, 400)


def test_each_sweep_varies_one_thing(finished):
    assert {e.config.in_features for e in of(finished, "queries")} == {32}
    for purpose, field, values in (
        ("noise", "read_noise", [0.0, 4.0]),
        ("bits", "bits", [8, 4]),
        ("exposure", "saturation", [0.01, 0.1]),
    ):
        found = of(finished, purpose)
        assert [getattr(e.config.camera, field) for e in found] == values
        assert {(e.config.in_features, e.config.rows, e.result.rows) for e in found} == {(48, None, 24)}
        one, other = (replace(e.config.camera, **{field: 1}) for e in found)
        assert one == other
    clean, noisy = (entry.result for entry in of(finished, "noise"))
    assert noisy.error.median > 3 * clean.error.median
    assert noisy.held_out.noise == pytest.approx(4, rel=0.3)


def test_the_three_methods_stand_side_by_side(finished):
    found = of(finished, "method")
    assert [e.config.method for e in found] == ["fixed-exposure", "multilateration", "closed-form", "closed-form"]
    assert [e.config.exposure_control for e in found] == [False, False, True, True]
    assert found[3].result.frames < 6 * N < found[2].result.frames
    assert all(e.result.error.median < 0.1 for e in found)


def test_attackers_with_and_without_the_retrieved_matrix(finished):
    attacks = finished.entries(ATTACK)
    without = {"bp", "bpda-drawn", "bpda-fit-linear", "dfa", "exact"}
    assert {e.config.rule for e in attacks} == without | {"bpda-retrieved", "exact-blurred"}
    retrieved = {e.key: e for e in finished.entries(RETRIEVE)}
    used = [(e, retrieved[key]) for e in attacks for key in e.inputs if key in retrieved]
    assert [source.config.purpose for _, source in used] == ["price", "price", "period"]
    (blurry,) = (e for e in attacks if e.config.rule == "exact-blurred")
    assert blurry.config.matrix_error == 0.3
    # The identity of the attacks of other studies is what it was.
    assert all("matrix_error" not in e.record.config for e in attacks if e is not blurry)
    # With a matrix that is right to a per cent an attack takes the way that it takes with the true one.
    exact = next(e.result.robust_accuracy for e in attacks if e.config.rule == "exact")
    best = next(e.result.robust_accuracy for e, source in used if "16 N" in source.name)
    assert abs(best - exact) <= 2 / 20


@pytest.mark.parametrize("error", [0.05, 0.6, 1.25])
def test_a_blurred_matrix_is_as_far_off_as_it_says_and_as_long_as_the_true_one(error):
    matrix = torch.view_as_complex(torch.randn(20, 2000, 2, generator=torch.Generator().manual_seed(0)))
    found = blurred(matrix, error, seed=1)
    assert row_errors(found, matrix).numpy() == pytest.approx(error, rel=0.1)
    assert (found.abs().square().sum(1) / matrix.abs().square().sum(1)).numpy() == pytest.approx(1, rel=0.15)
